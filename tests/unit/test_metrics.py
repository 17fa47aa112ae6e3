"""Metrics of a step: rollouts whose grader failed are in no mean and decide no group."""

import dataclasses

import pytest

from mopd.core.types import Context, LessonRecord, Peers
from mopd.training.metrics import group_metrics, lesson_metrics
from tests.builders import make_group, make_lesson

GROUPS = [
    make_group(["a", "b"], kinds=["correct", "correct"]),
    make_group(["a", "a", "c"], kinds=["wrong", "truncated", "error"]),
    make_group(["", "b"], kinds=["error", "error"]),
    make_group(["a", "b"], kinds=["correct", "wrong"]),
]


def test_groups_are_counted_by_what_their_judged_rollouts_say():
    metrics = group_metrics(GROUPS)
    assert metrics["groups/all_success_count"] == 1.0
    assert metrics["groups/all_failure_count"] == 1.0


def test_means_leave_out_failed_graders():
    metrics = group_metrics(GROUPS)
    assert metrics["reward/success_share"] == pytest.approx(3 / 6)
    assert metrics["reward/mean"] == pytest.approx(3 / 6)


def test_every_kind_of_verdict_is_counted_apart():
    metrics = group_metrics(GROUPS)
    counts = {kind: metrics[f"verdicts/{kind}_count"] for kind in ("correct", "wrong", "truncated", "error", "timeout")}
    assert counts == {"correct": 3.0, "wrong": 2.0, "truncated": 1.0, "error": 3.0, "timeout": 0.0}
    assert metrics["completion/empty_count"] == 1.0
    assert metrics["completion/distinct_share"] == pytest.approx((1 + 2 / 3 + 1 + 1) / 4)


def test_lessons_and_the_reasons_for_none_are_counted():
    context = Context(({"role": "user", "content": "x"},), (), tuple(range(7)), shortened_count=2, dropped_count=1)
    peers = Peers((1, 2), (0,), ("a", "b"), ("c",), shows_own_text=True)
    lesson = dataclasses.replace(make_lesson(), context_ids=context.token_ids)
    taught = LessonRecord(peers, context, lesson, None)
    none, of_grpo = (LessonRecord(Peers(), None, lesson, "no_success") for lesson in (None, make_lesson()))
    metrics = lesson_metrics([[taught, none, of_grpo, of_grpo], [taught]])
    assert metrics["lessons/count"] == 4.0
    assert (metrics["lessons/none_no_success_count"], metrics["lessons/grpo_alone_no_success_count"]) == (1.0, 2.0)
    assert (metrics["peers/successes_mean"], metrics["peers/failures_mean"]) == (2.0, 1.0)
    assert metrics["peers/own_text_count"] == 2.0
    assert (metrics["context/tokens_mean"], metrics["context/tokens_max"]) == (7.0, 7.0)
    assert (metrics["context/shortened_peers_count"], metrics["context/dropped_peers_count"]) == (4.0, 2.0)
