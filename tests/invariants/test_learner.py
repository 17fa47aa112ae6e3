"""The learner: one objective whatever the packs, own tokens only, and nothing moves when nothing should.

Models are in float64, but transformers' RMSNorm rounds to float32 inside: sums in another order agree to about 1e-7.
"""

import copy
from contextlib import nullcontext

import pytest
import torch

from mopd.config import build_config
from mopd.core.seeding import derive_rng
from mopd.core.types import Lesson, Rollout
from mopd.learning.optimizer import Update, learning_rate_at
from mopd.learning.teacher import Health
from mopd.method.divergence import jensen_shannon
from mopd.models.embedded import EMBEDDED
from mopd.models.student import as_student
from mopd.scoring import head, hidden_states, scorer
from mopd.scoring.rows import teacher_row
from tests.architectures import ARCHITECTURES
from tests.builders import as_teacher, make_learner, make_teacher


def clock(_):
    return nullcontext()


def make_lessons(count=7):
    """Lessons of uneven lengths, some with tokens that are not the student's own."""
    rng = derive_rng("lessons")
    lessons = []
    for index in range(count):
        length = rng.randint(1, 9)
        ids = tuple(rng.randrange(8, 18) for _ in range(length))
        own = tuple(True if j == 0 else rng.random() < 0.7 for j in range(length))
        rollout = Rollout(index, ids, own, tuple(-rng.random() * 3 for _ in ids), "text", False)
        prompt = tuple(rng.randrange(8, 18) for _ in range(rng.randint(2, 9)))
        context = prompt + tuple(rng.randrange(8, 18) for _ in range(rng.randint(1, 20)))
        domain = "ab"[index % 2]
        lessons.append(Lesson(f"p{index}", domain, rollout, prompt, context, rng.choice([-0.5, 0.25, 1.0])))
    return lessons


def model_and_teacher():
    student = EMBEDDED["digits"].build(seed=1)[0].double()
    return student, EMBEDDED["digits"].build(seed=2)[0].double()


def gradients(config, lessons):
    """The step's gradient before clipping, and its metrics."""
    model, teacher = model_and_teacher()
    learner = make_learner(model, config)
    kept = {}

    def keep(_rate, _most):
        kept.update({name: p.grad.clone() for name, p in model.named_parameters()})
        return Update(False, 0.0)

    learner.optimizer.update = keep
    learning = learner.learn(
        lessons, as_teacher(teacher, config) if config.objective.kind == "distill" else None, 0, clock
    )
    return kept, learning.metrics


@pytest.mark.parametrize("aggregation", ["token_mean", "rollout_mean", "domain_balanced"])
@pytest.mark.parametrize("kind", ["distill", "grpo", "sft"])
@pytest.mark.parametrize("budget", [1, 60])
def test_the_microbatch_size_changes_no_gradient(kind, aggregation, budget):
    settings = [f"objective.kind='{kind}'", f"objective.aggregation='{aggregation}'"]
    whole, whole_metrics = gradients(build_config({}, [*settings, "compute.microbatch_tokens=100000"]), make_lessons())
    packed, metrics = gradients(build_config({}, [*settings, f"compute.microbatch_tokens={budget}"]), make_lessons())
    assert sum(g.abs().sum() for g in whole.values()) > 0
    for name, gradient in whole.items():
        torch.testing.assert_close(packed[name], gradient, rtol=1e-4, atol=1e-8)
    assert metrics["objective/loss"] == pytest.approx(whole_metrics["objective/loss"], rel=1e-6)


@pytest.mark.parametrize("kind", ["distill", "grpo", "sft"])
@pytest.mark.parametrize("updates", [1, 2])
def test_how_many_logits_exist_at_a_time_changes_no_gradient(kind, updates, monkeypatch):
    settings = [f"objective.kind='{kind}'", f"optimizer.updates_per_step={updates}"]
    whole, whole_metrics = gradients(build_config({}, settings), make_lessons())
    seen = []
    own = head.head_logits
    monkeypatch.setattr(head, "head_logits", lambda model, hidden: seen.append(len(hidden)) or own(model, hidden))
    monkeypatch.setattr(head, "LOGITS_AT_ONCE", 3 * 18)
    parted, metrics = gradients(build_config({}, settings), make_lessons())
    assert max(seen) == 3
    assert len(seen) >= 5
    for name, gradient in whole.items():
        torch.testing.assert_close(parted[name], gradient, rtol=1e-9, atol=1e-12)
    for name, value in whole_metrics.items():
        assert metrics[name] == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("kind", ["ema", "live"])
@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gemma3"])
@pytest.mark.parametrize("budget", [1, 60])
def test_products_in_bfloat16_lose_no_gradient(architecture, kind, budget):
    torch.manual_seed(0)
    model = ARCHITECTURES[architecture](40)
    config = build_config({}, [f"teacher.kind='{kind}'", f"compute.microbatch_tokens={budget}"])
    found = {}
    for dtype in (torch.float32, torch.bfloat16):
        learner = make_learner(model, config, dtype)
        learner.optimizer.update = lambda _rate, _most: Update(False, 0.0)
        learner.learn(make_lessons(), make_teacher(model, config, dtype), 0, clock)
        found[dtype] = {name: p.grad for name, p in model.named_parameters()}
        model.zero_grad(set_to_none=True)
    for name, gradient in found[torch.float32].items():
        assert gradient.norm() > 0, name
        assert (found[torch.bfloat16][name] - gradient).norm() < 0.1 * gradient.norm(), name


def test_one_token_of_a_vocabulary_beyond_the_limit_is_a_part_of_its_own():
    model = EMBEDDED["digits"].build(seed=1)[0]
    assert head.loss_parts(model, 5) == [slice(0, 5)]
    assert head.loss_parts(model, 0) == []
    size = head.LOGITS_AT_ONCE
    try:
        head.LOGITS_AT_ONCE = 1
        assert head.loss_parts(model, 2) == [slice(0, 1), slice(1, 2)]
    finally:
        head.LOGITS_AT_ONCE = size


@pytest.mark.slow
def test_compiled_layers_change_no_gradient_and_their_seconds_are_counted():
    plain, plain_metrics = gradients(build_config({}, ["compute.microbatch_tokens=60"]), make_lessons())
    torch._dynamo.reset()  # so that there is something to compile
    settings = ["compute.microbatch_tokens=60", "compute.compile=true"]
    compiled, metrics = gradients(build_config({}, settings), make_lessons())
    for name, gradient in plain.items():
        torch.testing.assert_close(compiled[name], gradient, rtol=1e-4, atol=1e-8)
    assert metrics["objective/loss"] == pytest.approx(plain_metrics["objective/loss"], rel=1e-6)
    assert metrics["time/compile_s"] > 0
    assert "time/compile_s" not in plain_metrics


def test_compiled_layers_are_compiled_in_their_block_only():
    from mopd.scoring.compiling import LayerCompiler

    model, _ = model_and_teacher()
    layer = model.get_decoder().layers[0]
    with LayerCompiler().applied(model):
        assert "forward" in vars(layer)
    assert "forward" not in vars(layer)


@pytest.mark.parametrize("shares_prefixes", [True, False])
def test_long_sequences_keep_only_what_enters_their_layers(shares_prefixes, monkeypatch):
    """A sequence beyond the budget leaves fewer saved tensors, and the same gradient."""
    monkeypatch.setattr(scorer, "can_share_prefixes", lambda model: shares_prefixes)
    monkeypatch.setattr(hidden_states, "can_share_prefixes", lambda model: shares_prefixes)
    found = {}
    saved = {1: 0, 1000: 0}
    for budget in saved:

        def count(tensor, budget=budget):
            saved[budget] += tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            found[budget], _ = gradients(build_config({}, [f"compute.microbatch_tokens={budget}"]), make_lessons(1))
    assert saved[1] < 0.5 * saved[1000]
    for name, gradient in found[1000].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-9, atol=1e-12)


def test_the_order_of_lessons_changes_no_gradient():
    forward, _ = gradients(build_config({}, []), make_lessons())
    backward, _ = gradients(build_config({}, []), make_lessons()[::-1])
    for name, gradient in forward.items():
        torch.testing.assert_close(backward[name], gradient, rtol=1e-4, atol=1e-8)


def test_only_own_tokens_are_learned_from():
    """The learner's objective and gradient equal a plain loop over own tokens, one lesson at a time."""
    lessons = make_lessons()
    assert any(not all(lesson.rollout.is_own) for lesson in lessons)
    got, metrics = gradients(build_config({}, ["optimizer.importance_cap=1.0"]), lessons)

    model, teacher = model_and_teacher()
    losses = []
    for lesson in lessons:
        for j, own in enumerate(lesson.rollout.is_own):
            if own:
                written = lesson.rollout.token_ids[:j]
                s = model(torch.tensor([lesson.prompt_ids + written])).logits[0, -1].log_softmax(-1)
                with torch.no_grad():
                    t = teacher(torch.tensor([lesson.context_ids + written])).logits[0, -1].log_softmax(-1)
                gap = s[lesson.rollout.token_ids[j]].detach() - lesson.rollout.sampler_logprobs[j]
                losses.append(jensen_shannon(s, t) * gap.exp().clamp(max=1.0))
    objective = torch.stack(losses).mean()
    objective.backward()
    assert metrics["objective/loss"] == pytest.approx(objective.item(), rel=1e-6)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(got[name], parameter.grad, rtol=1e-4, atol=1e-8)


def test_tokens_that_are_not_own_still_condition_what_follows():
    lesson = make_lessons(1)[0]
    rollout = Rollout(0, (8, 9, 10, 11), (True, False, False, True), (-1.0,) * 4, "", False)
    other = Rollout(0, (8, 12, 13, 11), (True, False, False, True), (-1.0,) * 4, "", False)
    config = build_config({}, [])
    lessons = [Lesson("p", "d", r, lesson.prompt_ids, lesson.context_ids) for r in (rollout, other)]
    one, two = (gradients(config, [lesson])[1]["objective/loss"] for lesson in lessons)
    assert one != pytest.approx(two, rel=1e-6)


def test_no_lessons_compute_nothing_and_move_nothing():
    model, teacher = model_and_teacher()
    before = copy.deepcopy(model.state_dict())
    calls = []
    for module in (model, teacher):
        module.register_forward_pre_hook(lambda *_: calls.append(1))
    config = build_config({}, [])
    learning = make_learner(model, config).learn([], as_teacher(teacher, config), 0, clock)
    assert not learning.is_updated
    assert learning.metrics == {"update/skipped_empty_count": 1.0}
    assert not calls
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())


def test_a_non_finite_gradient_updates_nothing_and_is_counted():
    model, teacher = model_and_teacher()
    config = build_config({}, [])
    learner, teacher = make_learner(model, config), as_teacher(teacher, config)
    learner.learn(make_lessons(), teacher, 0, clock)
    before = copy.deepcopy(model.state_dict())
    moments = {name: value.clone() for name, value in learner.optimizer.state_tensors().items()}
    poison = model.get_decoder().layers[0].mlp.up_proj.weight.register_hook(lambda gradient: gradient * float("nan"))
    learning = learner.learn(make_lessons(), teacher, 1, clock)
    poison.remove()
    assert not learning.is_updated
    assert learning.metrics["update/skipped_nonfinite_count"] == 1.0
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())
    assert all(torch.equal(value, moments[name]) for name, value in learner.optimizer.state_tensors().items())
    assert learner.learn(make_lessons(), teacher, 2, clock).is_updated


def test_an_update_lowers_the_divergence_it_minimises():
    model, teacher = model_and_teacher()
    config = build_config({}, ["optimizer.learning_rate=1e-3", "optimizer.warmup_steps=0"])
    learner, teacher = make_learner(model, config), as_teacher(teacher, config)
    losses = [learner.learn(make_lessons(), teacher, step, clock).metrics["objective/loss"] for step in range(15)]
    assert losses[-1] < 0.5 * losses[0]


def test_a_reused_batch_is_weighted_against_its_first_update():
    model, teacher = model_and_teacher()
    config = build_config({}, ["optimizer.updates_per_step=3", "optimizer.learning_rate=1e-3"])
    learning = make_learner(model, config).learn(make_lessons(), as_teacher(teacher, config), 20, clock)
    assert learning.is_updated
    assert learning.metrics["objective/tokens_count"] == sum(x.rollout.own_token_count for x in make_lessons())


def test_a_live_teacher_is_read_again_before_each_update():
    """In the second update its predictions are those of the weights as they are then, hidden states and head alike."""
    model, _ = model_and_teacher()
    config = build_config(
        {},
        ["teacher.kind='live'", "optimizer.updates_per_step=2", "optimizer.learning_rate=1e-2", "peers.policy='first'"],
    )
    learner, teacher, lessons = make_learner(model, config), make_teacher(model, config), make_lessons(1)
    wanted, seen = [], []
    read = teacher.read

    def counted_read(given):
        row = teacher_row(given[0])
        with torch.no_grad():
            wanted.append(model(torch.tensor([row.token_ids])).logits[0, row.scored_from].log_softmax(-1))
        reading = read(given)
        return lambda pack: lambda part: seen.append(reading(pack)(part)) or seen[-1]

    teacher.read = counted_read
    learner.learn(lessons, teacher, 20, clock)
    assert len(wanted) == len(seen) == 2
    assert (wanted[0] - wanted[1]).abs().max() > 1e-3
    for ours, theirs in zip(seen, wanted, strict=True):
        torch.testing.assert_close(ours.whole(), theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["ema", "frozen"])
def test_other_teachers_are_read_once_a_step(kind):
    model, _ = model_and_teacher()
    config = build_config({}, [f"teacher.kind='{kind}'", "optimizer.updates_per_step=3"])
    teacher = make_teacher(model, config)
    reads, read = [], teacher.read
    teacher.read = lambda lessons: reads.append(1) or read(lessons)
    make_learner(model, config).learn(make_lessons(), teacher, 0, clock)
    assert len(reads) == 1


def test_the_learning_rate_rises_then_stays():
    config = build_config({}, ["optimizer.learning_rate=2e-5", "optimizer.warmup_steps=4"]).optimizer
    rates = [learning_rate_at(step, 6, config) for step in range(6)]
    assert rates == pytest.approx([0.5e-5, 1e-5, 1.5e-5, 2e-5, 2e-5, 2e-5])


def test_ema_frozen_and_live_teachers_follow_as_named():
    student = as_student(*EMBEDDED["digits"].build(seed=0)).model
    configs = {kind: build_config({}, [f"teacher.kind='{kind}'"]) for kind in ("ema", "frozen", "live")}
    teachers = {kind: make_teacher(student, config) for kind, config in configs.items()}
    start = {name: p.detach().clone() for name, p in student.named_parameters()}
    with torch.no_grad():
        for parameter in student.parameters():
            parameter += 1.0
    for teacher in teachers.values():
        teacher.follow(student, Health(0.5, 9.0))
    for name, parameter in student.named_parameters():
        torch.testing.assert_close(dict(teachers["ema"].model.named_parameters())[name], start[name] + 0.05)
        assert torch.equal(dict(teachers["frozen"].model.named_parameters())[name], start[name])
        assert torch.equal(dict(teachers["live"].model.named_parameters())[name], parameter)
    assert not any(p.requires_grad for p in teachers["ema"].model.parameters())
