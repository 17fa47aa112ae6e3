"""Gradients of a step on SmolLM2-135M: TRL's in float32, and in bfloat16 no farther from these than TRL's own are."""

import copy
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import pytest
import torch

from made_lessons import make_groups, make_lessons
from mopd.config import build_config
from mopd.learning.optimizer import Update
from mopd.models.student import load_student
from tests.builders import as_teacher, make_learner

pytestmark = pytest.mark.slow

SMOLLM2 = Path(__file__).parents[2] / "models" / "SmolLM2-135M-Instruct"
GROUPS, ROLLOUTS, LONGEST, K = 8, 4, 48, 100


@dataclass
class Pair:
    """A student, a teacher that is not the student, and the lessons of some groups."""

    model: object
    teacher: object
    groups: list


@pytest.fixture(scope="module")
def loss_utils():
    return pytest.importorskip("trl.experimental.sdpo.loss_utils", reason="trl 1.16 is not installed")


@pytest.fixture(scope="module")
def pair():
    if not (SMOLLM2 / "config.json").is_file():
        pytest.skip("`make smollm2` has not been run")
    student = load_student(str(SMOLLM2), 0)
    teacher = copy.deepcopy(student.model)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in teacher.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter += 0.02 * parameter.std() * noise
    config = build_config({}, [])
    groups = [
        make_lessons(student, [group], config) for group in make_groups(student, GROUPS, ROLLOUTS, LONGEST, seed=0)
    ]
    return Pair(student.model, teacher, groups)


def ours(pair, lessons, dtype):
    """(loss, gradient) of the learner, at a pack size that takes several packs."""
    config = build_config({}, [f"divergence.k={K}", "optimizer.importance_cap=1.0", "compute.microbatch_tokens=100"])
    learner, teacher = make_learner(pair.model, config, dtype), as_teacher(pair.teacher, config, dtype)
    kept = []

    def keep(_rate, _most):
        kept.append(take_gradient(pair.model))
        return Update(False, 0.0)

    learner.optimizer.update = keep
    metrics = learner.learn([unweighted(lesson) for lesson in lessons], teacher, 0, lambda _: nullcontext()).metrics
    return metrics["objective/loss"], kept[0]


def unweighted(lesson):
    """So unlikely under the sampler that every token's weight is the cap, 1."""
    rollout = lesson.rollout
    return replace(lesson, rollout=replace(rollout, sampler_logprobs=(-1e3,) * len(rollout.token_ids)))


def theirs(pair, lessons, dtype, loss_utils):
    """(loss, gradient) as TRL computes them: padded rows, autocast, its own loss on logits in float32."""
    student = padded_logits(pair.model, [lesson.prompt_ids for lesson in lessons], lessons, dtype)
    with torch.no_grad():
        teacher = padded_logits(pair.teacher, [lesson.context_ids for lesson in lessons], lessons, dtype)
    loss = loss_utils.compute_topk_self_distillation_loss(
        student, teacher, distillation_topk=K, distillation_alpha=0.5, distillation_add_tail=True
    ).mean()
    loss.backward()
    return loss.item(), take_gradient(pair.model)


def padded_logits(model, prefixes, lessons, dtype):
    """Logits before every completion token, [tokens, vocabulary], of rows padded on the left and on the right."""
    completions = [lesson.rollout.token_ids for lesson in lessons]
    before, after = max(map(len, prefixes)), max(map(len, completions))
    ids = torch.zeros(len(lessons), before + after, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, (prefix, completion) in enumerate(zip(prefixes, completions, strict=True)):
        start, end = before - len(prefix), before + len(completion)
        ids[row, start:end] = torch.tensor(prefix + completion)
        mask[row, start:end] = 1
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=after + 1).logits[:, :-1]
    is_token = torch.arange(after) < torch.tensor([len(completion) for completion in completions])[:, None]
    return logits[is_token].float()


def take_gradient(model):
    """All parameters' gradients as one vector; none are left."""
    gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
    model.zero_grad(set_to_none=True)
    return gradient


def distance(one, other):
    """Relative to `other`, in the Euclidean norm."""
    return ((one - other).norm() / other.norm()).item()


def test_gradients_equal_trls_in_float32_and_are_no_farther_from_them_in_bfloat16(pair, loss_utils):
    ours_far, theirs_far = [], []
    for lessons in pair.groups:
        exact_loss, exact = theirs(pair, lessons, torch.float32, loss_utils)
        loss, gradient = ours(pair, lessons, torch.float32)
        assert loss == pytest.approx(exact_loss, abs=1e-6)
        assert distance(gradient, exact) < 5e-5
        ours_far.append(distance(ours(pair, lessons, torch.bfloat16)[1], exact))
        theirs_far.append(distance(theirs(pair, lessons, torch.bfloat16, loss_utils)[1], exact))
    print(f"from float32, mean of {GROUPS} groups: {fmean(ours_far):.4f} here, {fmean(theirs_far):.4f} TRL's way")
    assert fmean(ours_far) <= 1.05 * fmean(theirs_far)
