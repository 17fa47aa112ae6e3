"""The teacher `snapshot`: refreshed every n steps, only while the student is sound, and the same after a resume."""

import copy

import pytest
import torch

from mopd import train
from mopd.config import SnapshotTeacher
from mopd.learning.teacher import Health, LocalTeacher
from mopd.models.embedded import EMBEDDED
from mopd.runs.records import read_jsonl
from mopd.scoring.scorer import Scorer
from mopd.training.loop import resume


def make(every=3):
    student = EMBEDDED["digits"].build(seed=1)[0]
    return student, LocalTeacher(student, SnapshotTeacher(every=every), Scorer())


def follow(student, teacher, *steps):
    """What is told of steps of such (success, longest), each of which moves the student."""
    told = []
    for success, longest in steps:
        with torch.no_grad():
            for parameter in student.parameters():
                parameter.add_(0.01)
        told.append(teacher.follow(student, Health(success, longest)))
    return told


def is_equal(student, teacher):
    return all(torch.equal(a, b) for a, b in zip(student.parameters(), teacher.model.parameters(), strict=True))


def test_it_stays_between_refreshes_and_is_the_student_at_one():
    student, teacher = make()
    before = copy.deepcopy(teacher.model.state_dict())
    assert follow(student, teacher, (0.5, 10), (0.5, 10)) == [{}, {}]
    assert all(torch.equal(before[name], value) for name, value in teacher.model.state_dict().items())
    (told,) = follow(student, teacher, (0.5, 10))
    assert told == {"teacher/refreshed_count": 1.0, "teacher/refresh_refused_count": 0.0}
    assert is_equal(student, teacher)


@pytest.mark.parametrize("worse", [(0.4, 10), (0.5, 15), (0.9, 40)])
def test_a_student_that_is_worse_or_longer_is_not_taken_until_it_is_sound_again(worse):
    student, teacher = make()
    follow(student, teacher, *[(0.5, 10)] * 3)
    told = follow(student, teacher, *[worse] * 4)
    assert [row.get("teacher/refresh_refused_count") for row in told] == [None, None, 1.0, 1.0]
    assert not is_equal(student, teacher)
    told = follow(student, teacher, *[(0.6, 11)] * 3)
    assert sum(row.get("teacher/refreshed_count", 0.0) for row in told) == 1.0


def test_what_it_goes_on_with_can_be_written_and_read():
    student, teacher = make()
    follow(student, teacher, *[(0.5, 10)] * 4)
    _, again = make()
    again.restore(teacher.state)
    assert (again.seen, again.refreshed_at) == (teacher.seen, teacher.refreshed_at) != ([], None)


def test_a_resumed_run_refreshes_when_the_undisturbed_one_does(tiny_config, tmp_path):
    settings = {"teacher": SnapshotTeacher(every=3), "steps": 6}
    config = tiny_config.model_copy(update=settings | {"run": str(tmp_path / "whole")})
    train(config, quiet=True)
    short = config.model_copy(update={"run": str(tmp_path / "parts"), "steps": 4})
    train(short, quiet=True)
    resume(short.run, expected=short.model_copy(update={"steps": 6}), quiet=True)
    rows = [read_jsonl(tmp_path / name / "metrics.jsonl") for name in ("whole", "parts")]
    assert sum(row.get("teacher/refreshed_count", 0) for row in rows[0]) >= 1
    kept = [
        [{k: v for k, v in row.items() if not k.startswith(("time/", "memory/"))} for row in found] for found in rows
    ]
    assert kept[0] == kept[1]
    for name in ("teacher.safetensors", "model.safetensors"):
        whole, parts = ((tmp_path / run / "checkpoints" / "step-6" / name).read_bytes() for run in ("whole", "parts"))
        assert whole == parts
