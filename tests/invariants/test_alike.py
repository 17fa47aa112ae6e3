"""Tokens that are alike are predicted once, and everything stays what it is without."""

import dataclasses

import pytest

from mopd.config import build_config
from mopd.core.seeding import derive_rng
from mopd.core.types import Lesson, Rollout
from mopd.learning import work
from mopd.learning.alike import alike_tokens, loss_tokens, scored_row
from mopd.scoring import head
from tests.invariants.test_learner import gradients

PROMPT = (8, 9, 10)
TEXTS = [(11, 12, 13, 14), (11, 12, 13, 14), (11, 12, 13, 14), (11, 12, 15), (11, 12), (16,), (16,), (11, 12, 13, 14)]


def make_group():
    """A group whose rollouts begin alike or are equal: with contexts of their own or not, tokens that do not count,
    and what weighs each token drawn apart."""
    rng = derive_rng("alike")
    lessons = []
    for index, ids in enumerate(TEXTS):
        own = tuple(not (index in (1, 3) and position == 1) for position in range(len(ids)))
        rollout = Rollout(index, ids, own, tuple(-3 * rng.random() for _ in ids), "text", index % 3 == 0)
        context = (*PROMPT, 17, 16) if index != 2 else (*PROMPT, 17, 15)
        failure = (*PROMPT, 17, 14) if index < 5 else None
        lessons.append(Lesson("p", "d", rollout, PROMPT, context, rng.choice([-0.5, 0.25, 1.0]), failure))
    return lessons


def test_every_token_is_scored_once_and_only_with_its_like():
    lessons = dict(enumerate(make_group()))
    scored = alike_tokens(lessons, apart=(3, 6))
    all_tokens = [token for found in scored.values() for alike in found for token in alike]
    expected = [token for index, lesson in lessons.items() for token in loss_tokens(index, lesson)]
    assert sorted((t.index, t.position) for t in all_tokens) == [(t.index, t.position) for t in expected]
    for index, found in scored.items():
        assert [alike[0].index for alike in found] == [index] * len(found)
        assert [alike[0].position for alike in found] == sorted(alike[0].position for alike in found)
        assert sum(scored_row(found).loss_mask) == len(found)
        for alike in found:
            texts = {token.lesson.rollout.token_ids[: token.position + 1] for token in alike}
            contexts = {(token.lesson.context_ids, token.lesson.failure_context_ids) for token in alike}
            assert len(texts) == len(contexts) == 1
    for index in (3, 6):
        assert [alike[0] for alike in scored[index]] == loss_tokens(index, lessons[index]), "what is measured is whole"
    assert 5 not in scored, "all of it is scored elsewhere"


ONE_EACH = ["peers.successes=1", "peers.failures=1"]
OBJECTIVES = [
    [],
    ["divergence.kind='sampled_reverse_kl'"],
    ["objective.kind='grpo'"],
    ["objective.kind='sft'"],
    ["objective.grpo_weight=0.3"],
    ["objective.contrast.form='advantage'", *ONE_EACH],
    ["objective.contrast.form='target'", *ONE_EACH],
]


@pytest.mark.parametrize("updates", [1, 2])
@pytest.mark.parametrize("budget", [1, 1000])
@pytest.mark.parametrize("objective", OBJECTIVES, ids=" ".join)
def test_a_prediction_for_all_that_are_alike_changes_no_gradient_and_no_metric(objective, budget, updates, monkeypatch):
    settings = [*objective, f"compute.microbatch_tokens={budget}", f"optimizer.updates_per_step={updates}"]
    lessons = make_group()
    if "contrast" not in str(objective):
        lessons = [dataclasses.replace(lesson, failure_context_ids=None) for lesson in lessons]
    if "grpo_weight" in str(objective):
        lessons[0] = dataclasses.replace(lessons[0], advantage=0.0)
        lessons[3] = dataclasses.replace(lessons[3], context_ids=None)
    shared, metrics = gradients(build_config({}, settings), lessons)
    monkeypatch.setattr(work, "alike_tokens", lambda lessons, apart: alike_tokens(lessons, lessons))
    alone, metrics_alone = gradients(build_config({}, settings), lessons)
    assert metrics.pop("objective/alike_tokens_count") > 4
    assert metrics_alone.pop("objective/alike_tokens_count") == 0
    assert metrics == pytest.approx(metrics_alone, rel=1e-6, abs=1e-9)
    for name, gradient in alone.items():
        assert (shared[name] - gradient).norm() <= 1e-6 * gradient.norm(), name


def test_the_head_is_computed_once_for_those_that_are_alike(monkeypatch):
    seen = []
    own = head.head_logits
    monkeypatch.setattr(head, "head_logits", lambda model, hidden: seen.append(len(hidden)) or own(model, hidden))
    _, metrics = gradients(build_config({}, ["objective.kind='grpo'"]), make_group())
    assert sum(seen) == metrics["objective/tokens_count"] - metrics["objective/alike_tokens_count"]
