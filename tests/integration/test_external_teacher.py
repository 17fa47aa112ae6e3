"""On-policy distillation: another model with the same token ids teaches, with peers or without, and never moves."""

import json
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mopd import load_config, resume, train
from mopd.config import ExternalTeacher, build_config
from mopd.core.errors import ConfigError, MopdError, RunError
from mopd.evaluation.preflighting import run_preflight
from mopd.learning.optimizer import Update
from mopd.learning.teacher import LocalTeacher
from mopd.models.external import load_external
from mopd.models.student import load_student
from mopd.models.weights import weights_digest
from mopd.runs.records import read_jsonl
from mopd.scoring.scorer import Scorer
from tests.architectures import make_model, make_tokenizer, save
from tests.builders import make_learner, make_scorer
from tests.integration.test_pretrained import config_for
from tests.invariants.test_learner import make_lessons
from tests.invariants.test_vocabulary import tokenizer_with_gaps

ALONE = ("peers.successes=0", "peers.failures=0", "teacher.kind='external'")


def save_teacher(tmp_path, name="llama", extra_rows=0, tokenizer=None, seed=5):
    """A folder with a model of another seed; the student's own tokenizer unless another is given."""
    folder = tmp_path / "teacher"
    make_model(name, extra_rows, seed=seed).save_pretrained(folder)
    (tokenizer or make_tokenizer()).save_pretrained(folder)
    return folder


def opd_config(tmp_path, *overrides, student="qwen3", teacher=None):
    """A run of a tiny student under a tiny teacher of another architecture, without peers."""
    folder = save(tmp_path / "model", student)
    teacher = teacher or save_teacher(tmp_path)
    return config_for(tmp_path, folder, *ALONE, f"teacher.model='{teacher}'", *overrides)


def opened(config):
    student = load_student(config.student, 0, config.compute)
    return student, load_external(config.external_teacher, student, config.compute)


def plain_gradients(student, teacher, lessons, temperature):
    """Loss and gradients of mean forward KL at the loss tokens, by transformers alone, row by row."""
    total, count = torch.zeros(()), sum(lesson.rollout.own_token_count for lesson in lessons)
    for lesson in lessons:
        rollout, sides = lesson.rollout, []
        for model, prefix in ((student, lesson.prompt_ids), (teacher, lesson.context_ids)):
            logits = model(torch.tensor([[*prefix, *rollout.token_ids]])).logits[0, len(prefix) - 1 : -1]
            sides.append((logits / temperature).log_softmax(-1)[torch.tensor(rollout.is_own)])
        total = total + (sides[1].exp() * (sides[1] - sides[0])).sum() / count
    total.backward()
    return total.item(), {name: parameter.grad.clone() for name, parameter in student.named_parameters()}


@pytest.mark.parametrize("name", ["llama", "gemma3", "qwen3_5"])
def test_loss_and_gradient_are_those_of_plain_transformers(name, tmp_path):
    overrides = ["divergence.kind=forward_kl", "divergence.support=full", "optimizer.importance_cap=1"]
    config = opd_config(tmp_path, *overrides, "sampling.temperature=0.7", teacher=save_teacher(tmp_path, name))
    student, external = opened(config)
    own = [
        replace(lesson.rollout, sampler_logprobs=(-50.0,) * len(lesson.rollout.token_ids)) for lesson in make_lessons()
    ]  # so improbable to the sampler that every importance weight is at its cap, 1
    lessons = [
        replace(lesson, rollout=rollout, context_ids=lesson.prompt_ids)
        for lesson, rollout in zip(make_lessons(), own, strict=True)
    ]
    wanted, gradients = plain_gradients(student.model, external.model, lessons, 0.7)
    student.model.zero_grad(set_to_none=True)
    learner, found = make_learner(student.model, config), {}

    def keep(_rate, _most):
        found.update({name: parameter.grad.clone() for name, parameter in student.model.named_parameters()})
        return Update(False, 0.0)

    learner.optimizer.update = keep
    teacher = LocalTeacher(external.model, config.teacher, make_scorer(config), 0.7)
    learning = learner.learn(lessons, teacher, 0, lambda _: nullcontext())
    assert learning.metrics["objective/loss"] == pytest.approx(wanted, rel=1e-5)
    for name_, gradient in gradients.items():
        torch.testing.assert_close(found[name_], gradient, rtol=1e-3, atol=1e-5 * float(gradient.abs().max()))
    assert all(parameter.grad is None for parameter in external.model.parameters())


def test_a_run_without_peers_makes_every_rollout_a_lesson_and_resumes_bit_equal(tmp_path):
    config = opd_config(tmp_path, "steps=4", "sampling.temperature=0.9")
    before = (Path(config.teacher.model) / "model.safetensors").read_bytes()
    train(config.model_copy(update={"run": str(tmp_path / "whole")}), quiet=True)
    short = config.model_copy(update={"run": str(tmp_path / "parts"), "steps": 2})
    train(short, quiet=True)
    resume(short.run, expected=short.model_copy(update={"steps": 4}), quiet=True)
    rows = [read_jsonl(tmp_path / name / "metrics.jsonl") for name in ("whole", "parts")]
    assert all(row["lessons/count"] == 8.0 and row["update/count"] == 1.0 for row in rows[0])
    kept = [[{k: v for k, v in r.items() if not k.startswith(("time/", "memory/"))} for r in found] for found in rows]
    assert kept[0] == kept[1]
    ends = [tmp_path / name / "checkpoints" / "step-4" for name in ("whole", "parts")]
    assert (ends[0] / "model.safetensors").read_bytes() == (ends[1] / "model.safetensors").read_bytes()
    assert not (ends[0] / "teacher.safetensors").exists()
    assert (Path(config.teacher.model) / "model.safetensors").read_bytes() == before


@pytest.mark.long
def test_a_student_converges_toward_its_teacher(tmp_path):
    overrides = ["steps=20", "optimizer.learning_rate=3e-3", "optimizer.warmup_steps=0", "optimizer.drift_nats=0"]
    config = opd_config(tmp_path, *overrides, "checkpoint.every=20", "evaluation.contexts_every=0", student="llama")
    train(config, quiet=True)
    losses = [row["objective/loss"] for row in read_jsonl(tmp_path / "run" / "metrics.jsonl")]
    assert sum(losses[-3:]) / 3 < 0.6 * sum(losses[:3]) / 3


def test_a_teacher_of_the_run_is_compared_when_the_run_goes_on(tmp_path):
    config = opd_config(tmp_path, "steps=1")
    train(config, quiet=True)
    recorded = json.loads((tmp_path / "run" / "inputs.json").read_text())["teacher"]
    assert recorded["digest"] == weights_digest(opened(config)[1].model)
    moved = shutil.move(config.teacher.model, tmp_path / "moved")
    longer = config.model_copy(update={"steps": 2, "teacher": ExternalTeacher(model=str(moved))})
    resume(config.run, expected=longer, quiet=True)  # elsewhere, but the same
    save_teacher(tmp_path, seed=6)
    other = longer.model_copy(update={"steps": 3, "teacher": config.teacher})
    with pytest.raises(RunError, match=r"weights of .* are others"):
        resume(config.run, expected=other, quiet=True)


def test_a_teacher_with_peers_reads_contexts(tmp_path):
    config = opd_config(tmp_path, "steps=1", "peers.successes=1", "peers.failures=1")
    train(config, quiet=True)
    rows = [rollout for group in read_jsonl(tmp_path / "run" / "groups.jsonl") for rollout in group["rollouts"]]
    shown = [row for row in rows if row["peers"]["failures"]]
    assert shown
    assert min(row["context_tokens"] for row in shown) > 40


# --- what is measured before the first step -------------------------------------------------------------------------


def test_the_preflight_sets_the_teacher_beside_the_student_and_warns(tmp_path, capsys):
    config = opd_config(tmp_path, "preflight.action='stop'", "preflight.contexts=6", "preflight.problems=4", "steps=1")
    found = run_preflight(config, quiet=True).found
    assert [reading.name for reading in found.readings] == ["no peers"]
    assert len(found.readings[0].outcomes) == len(found.alone.outcomes) == 6
    assert "the external teacher is right in 0 of 6 (no peers), the student in 0 of 6" in str(found.finding)
    assert not found.is_refused
    train(config, quiet=True)
    assert "warning: the external teacher is right in 0 of 6" in capsys.readouterr().err
    assert read_jsonl(tmp_path / "run" / "metrics.jsonl")[0]["lessons/count"] == 8.0


def test_the_recipe_of_an_external_teacher_may_be_to_read_the_problem_alone(tmp_path):
    found = run_preflight(opd_config(tmp_path, "peers.recipe='auto'", "preflight.action='warn'"), quiet=True).found
    assert found.recipe is not None
    assert found.recipe.count == 0


# --- what cannot teach ----------------------------------------------------------------------------------------------


def refused(tmp_path, match, *overrides, **how):
    config = opd_config(tmp_path, *overrides, **how)
    with pytest.raises(MopdError, match=match) as caught:
        train(config, quiet=True)
    assert not (tmp_path / "run").exists()
    return caught.value


def test_another_tokenizer_is_refused_by_a_token_that_differs(tmp_path):
    teacher = save_teacher(tmp_path, extra_rows=40, tokenizer=tokenizer_with_gaps())
    error = refused(tmp_path, r"id \d+ is 'A' to the student and no token to .*teacher; 20 of", teacher=teacher)
    assert "student's token ids" in error.must


def test_rows_without_a_token_are_cut_on_both_sides(tmp_path):
    student, external = opened(opd_config(tmp_path, teacher=save_teacher(tmp_path, extra_rows=24)))
    hidden = torch.randn(3, 32)
    widths = {Scorer().predict(one.model, hidden, 1.0).vocabulary for one in (student, external)}
    assert widths == {len(make_tokenizer())}


def test_a_teacher_whose_window_is_too_short_is_refused(tmp_path):
    refused(tmp_path, r"window of \d+ tokens \(its external teacher's\)", teacher=short_teacher(tmp_path))


def short_teacher(tmp_path):
    folder = save_teacher(tmp_path)
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "max_position_embeddings": 20}))
    return folder


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda folder: shutil.rmtree(folder), "teacher.model = .*teacher"),
        (lambda folder: (folder / "config.json").unlink(), "teacher.model = .*has no config.json"),
        (
            lambda folder: (folder / "config.json").write_text(
                json.dumps({**json.loads((folder / "config.json").read_text()), "quantization_config": "awq"})
            ),
            "teacher.model = .*quantization_config",
        ),
    ],
)
def test_a_teacher_that_cannot_be_opened_is_named(spoil, match, tmp_path):
    teacher = save_teacher(tmp_path)
    spoil(teacher)
    refused(tmp_path, match, teacher=teacher)


def test_a_teacher_of_the_students_own_weights_needs_something_to_read():
    with pytest.raises(ConfigError, match="nothing to teach"):
        build_config({}, ["peers.successes=0", "peers.failures=0"])
    assert build_config({}, [*ALONE, "teacher.model='x'"]).peers.require_success is False


def test_the_example_shows_no_peers_to_a_larger_model_of_the_family():
    config = load_config(Path(__file__).parents[2] / "configs" / "opd-mbpp.toml")
    assert config.external_teacher is not None
    assert "1.5B" in config.external_teacher.model
    assert config.peers.successes == config.peers.failures == 0


def test_a_teacher_in_half_precision_teaches_a_student_in_half_precision(tmp_path):
    config = opd_config(tmp_path, "steps=1", "compute.dtype='bfloat16'")
    external = opened(config)[1]
    # the dtype of the student's products, which load_student has from compute.dtype
    assert {parameter.dtype for parameter in external.model.parameters()} == {torch.bfloat16}
    train(config, quiet=True)
    assert read_jsonl(tmp_path / "run" / "metrics.jsonl")[0]["update/count"] == 1.0


MODELS = Path(__file__).parents[2] / "models"


@pytest.mark.long
@pytest.mark.skipif(not (MODELS / "Qwen2.5-Coder-1.5B-Instruct").is_dir(), reason="`make qwen-coder-1.5b` has not run")
def test_the_qwen_coders_have_the_same_token_ids():
    from transformers import AutoTokenizer

    names = [f"Qwen2.5-Coder-{size}-Instruct" for size in ("0.5B", "1.5B")]
    small, large = (AutoTokenizer.from_pretrained(MODELS / name).get_vocab() for name in names)
    assert small == large
