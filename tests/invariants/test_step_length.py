"""An update is no longer than its loss allows, and what is said of it is what it did."""

import copy
import math

import pytest
import torch

from mopd.config import OptimizerConfig, build_config
from mopd.learning import update_meter
from mopd.learning.optimizer import AdamW
from mopd.models.embedded import EMBEDDED
from tests.builders import as_teacher, make_learner
from tests.invariants.test_learner import clock, make_lessons, model_and_teacher


def learn(monkeypatch, *settings, steps=1, measured=1):
    """The metrics of each of some steps, all lessons (or one in `measured`) scored again, and the model's weights."""
    monkeypatch.setattr(update_meter, "MEASURED", measured)
    config = build_config({}, ["optimizer.warmup_steps=0", "optimizer.weight_decay=0", *settings])
    model, teacher = model_and_teacher()
    learner = make_learner(model, config)
    lent = as_teacher(teacher, config) if config.objective.kind == "distill" else None
    if lent is not None:
        lent.changes_within_step = False  # a model of its own
    metrics = [learner.learn(make_lessons(), lent, step, clock).metrics for step in range(steps)]
    return metrics, [parameter.detach().clone() for parameter in model.parameters()]


@pytest.mark.parametrize("kind", ["distill", "grpo", "sft"])
@pytest.mark.parametrize("updates", [1, 2])
def test_a_short_update_lowers_the_loss_by_what_was_expected(kind, updates, monkeypatch):
    settings = [f"objective.kind='{kind}'", f"optimizer.updates_per_step={updates}", "optimizer.learning_rate=1e-6"]
    (metrics,), _ = learn(monkeypatch, *settings)
    assert metrics["update/expected_fall_nats"] > 0
    assert metrics["update/measured_fall_nats"] == pytest.approx(metrics["update/expected_fall_nats"], rel=0.02)
    assert metrics["update/share"] == 1


@pytest.mark.parametrize("divergence", ["jensen_shannon", "forward_kl", "reverse_kl"])
@pytest.mark.parametrize("rate", [1e-3, 1e-1, 1.0])
def test_no_update_expects_to_lower_a_loss_by_more_than_its_share(divergence, rate, monkeypatch):
    settings = [f"divergence.kind='{divergence}'", f"optimizer.learning_rate={rate}", "optimizer.fall_share=0.2"]
    metrics, _ = learn(monkeypatch, *settings, steps=4)
    losses = [row["objective/loss"] for row in metrics]
    for row in metrics:
        assert row["update/expected_fall_nats"] <= 0.2 * row["objective/loss"] * (1 + 1e-6)
        assert 0 < row["update/share"] <= 1
    assert max(losses) <= 1.05 * losses[0], "the learning rate destroys nothing"
    if rate >= 0.1:
        assert metrics[0]["update/share"] < 0.1


def test_without_the_bound_a_high_rate_does_destroy(monkeypatch):
    settings = ["optimizer.learning_rate=1.0", "optimizer.fall_share=0", "optimizer.drift_nats=1e6"]
    (metrics,), _ = learn(monkeypatch, *settings)
    assert metrics["update/expected_fall_nats"] > metrics["objective/loss"]
    assert metrics["update/measured_fall_nats"] < 0
    assert metrics["update/drift_nats"] > 1


@pytest.mark.parametrize("kind", ["distill", "grpo", "sft"])
def test_the_student_drifts_no_further_than_it_may(kind, monkeypatch):
    settings = [f"objective.kind='{kind}'", "optimizer.learning_rate=0.3", "optimizer.fall_share=0"]
    for most in (0.01, 0.1):
        metrics, _ = learn(monkeypatch, *settings, f"optimizer.drift_nats={most}", steps=3)
        assert all(0 < row["update/drift_nats"] <= most for row in metrics)
        assert metrics[0]["update/share"] < 1


@pytest.mark.parametrize("kind", ["distill", "grpo", "sft"])
@pytest.mark.parametrize("excess", [1.1, 2.0, 3.9, 30.0])
def test_an_update_that_drifts_too_far_is_not_much_shorter_than_it_may_be(kind, excess, monkeypatch):
    settings = [f"objective.kind='{kind}'", "optimizer.learning_rate=5e-4", "optimizer.fall_share=0"]
    (free,), _ = learn(monkeypatch, *settings, "optimizer.drift_nats=1e6")
    most = free["update/drift_nats"] / excess
    (bounded,), _ = learn(monkeypatch, *settings, f"optimizer.drift_nats={most}")
    assert 0.6 * most < bounded["update/drift_nats"] <= most


def test_bounds_that_nothing_reaches_change_no_bit(monkeypatch):
    settings = ["optimizer.learning_rate=1e-6"]
    bounds = ["optimizer.fall_share=1", "optimizer.drift_nats=1"]
    _, bounded = learn(monkeypatch, *settings, *bounds, steps=3, measured=8)
    _, free = learn(monkeypatch, *settings, steps=3)
    assert all(torch.equal(a, b) for a, b in zip(bounded, free, strict=True))


def test_toward_a_teacher_that_says_what_the_student_says_nothing_moves(monkeypatch):
    config = build_config({}, ["optimizer.warmup_steps=0", "optimizer.learning_rate=1e-3", "optimizer.fall_share=0.25"])
    model, _ = model_and_teacher()
    before = copy.deepcopy(model.state_dict())
    lessons = [lesson.__class__(**{**as_dict(lesson), "context_ids": lesson.prompt_ids}) for lesson in make_lessons()]
    learner = make_learner(model, config)
    metrics = learner.learn(lessons, as_teacher(copy.deepcopy(model), config), 0, clock).metrics
    assert metrics["objective/loss"] == pytest.approx(0, abs=1e-6)
    moved = max((model.state_dict()[name] - value).abs().max().item() for name, value in before.items())
    assert moved < 1e-4, "AdamW alone would have moved each weight by 1e-3"


def as_dict(lesson):
    return {name: getattr(lesson, name) for name in lesson.__dataclass_fields__}


def test_an_update_that_is_taken_back_ends_where_it_began_or_on_the_way():
    model = EMBEDDED["digits"].build(seed=1)[0]
    optimizer = AdamW(model, OptimizerConfig(learning_rate=1e-2))
    before = [parameter.detach().clone() for parameter in model.parameters()]
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    assert optimizer.update(1e-2, math.inf).share == 1
    after = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer.take_back(0.25)
    for old, new, now in zip(before, after, model.parameters(), strict=True):
        torch.testing.assert_close(now.detach(), old + 0.25 * (new - old), rtol=1e-5, atol=1e-7)
    optimizer.take_back(0.0)
    assert all(torch.equal(old, now) for old, now in zip(before, model.parameters(), strict=True))
