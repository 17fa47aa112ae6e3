"""Lessons pause while the teacher is worse than the student, and only then."""

import dataclasses

import pytest

from mopd import load_config, train
from mopd.core.types import Lesson, LessonRecord, Peers
from mopd.runs.records import read_jsonl
from mopd.training.pausing import Pausing
from tests.builders import make_group
from tests.conftest import TINY


def cases(successes, count=24):
    """Records of contexts of groups in which so many of four rollouts succeed."""
    group = make_group(["1", "2", "3", "4"], [1] * successes + [0] * (4 - successes))
    return [(group, LessonRecord(Peers(), None, None, None))] * count


def after(*accuracies, successes=2, count=24):
    pausing = Pausing()
    for accuracy in accuracies:
        pausing.measured(accuracy, cases(successes, count))
    return pausing


@pytest.mark.parametrize(
    ("accuracies", "is_paused"),
    [
        ((), False),
        ((0.9,), False),
        ((0.5,), False),
        ((0.4,), False),  # within two standard errors
        ((0.1,), True),
        ((0.4, 0.35), True),  # twice is no chance
        ((0.1, 0.9), False),
        ((0.9, 0.1), True),
        ((0.1, 0.1, 0.9, 0.9), False),
    ],
)
def test_a_teacher_that_is_worse_by_more_than_chance_pauses_and_a_better_one_goes_on(accuracies, is_paused):
    assert after(*accuracies).is_paused is is_paused


def test_few_contexts_pause_nothing_that_many_would():
    assert after(0.25, count=100).is_paused
    assert not after(0.25, count=4).is_paused


def test_the_gap_is_to_the_success_of_the_same_groups():
    metrics = after().measured(0.75, cases(1))
    assert metrics["teacher/gap_share"] == pytest.approx(0.5)
    assert metrics["teacher/gap_error"] == pytest.approx(((0.75 * 0.25 + 0.25 * 0.75) / 24) ** 0.5)


def test_a_resumed_run_remembers():
    rows = [{"step": 0, "teacher/gap_share": -0.4, "teacher/gap_error": 0.1}, {"step": 1, "reward/mean": 0.0}]
    pausing = Pausing()
    pausing.recall(rows)
    assert pausing.is_paused


def test_what_pauses_are_lessons_from_the_teacher_alone():
    group = make_group(["12", "21"], [1, 0])
    lesson = Lesson("p", "d", group.rollouts[0], (1, 2), (1, 2, 3))
    taught, blended = (LessonRecord(Peers(), None, dataclasses.replace(lesson, advantage=a), None) for a in (0.0, 0.5))
    plain = LessonRecord(Peers(), None, dataclasses.replace(lesson, context_ids=None, advantage=0.5), None)
    none = LessonRecord(Peers(), None, None, "no_success")
    [[first, second, third, fourth]] = Pausing().without_teacher([[taught, blended, plain, none]])
    assert first.lesson is None
    assert first.reason == "teacher_paused"
    assert second.lesson.context_ids is None
    assert (second.lesson.advantage, second.reason) == (0.5, "teacher_paused")
    assert (third, fourth) == (plain, none)


@pytest.mark.parametrize("settings", [[], ["objective.contrast={}"]], ids=["one context", "contrast"])
def test_a_contrast_goes_on_teaching_a_student_that_is_better_than_its_readers(settings, tmp_path, monkeypatch):
    monkeypatch.setattr(Pausing, "is_paused", property(lambda self: True))
    own = ["peers.successes=1", "peers.failures=1", "preflight.action='off'", "lessons.pause=true", "steps=2"]
    train(load_config(TINY, [*own, *settings, f"run='{tmp_path / 'run'}'"]), quiet=True)
    rows = [*read_jsonl(tmp_path / "run" / "metrics.jsonl")]
    assert all(bool(row["lessons/count"]) is bool(settings) for row in rows)
    assert all(bool(row.get("lessons/none_teacher_paused_count")) is not bool(settings) for row in rows)
