"""The learning rate over a run, and which checkpoint is the best."""

import math

import pytest

from mopd.config import build_config
from mopd.learning.optimizer import learning_rate_at
from mopd.runs.records import best_step


def rates(schedule, steps=10, warmup=2):
    config = build_config({}, [f"optimizer.schedule='{schedule}'", f"optimizer.warmup_steps={warmup}"]).optimizer
    return [learning_rate_at(step, steps, config) / config.learning_rate for step in range(steps)]


@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear"])
def test_every_schedule_rises_linearly_first_and_learns_to_its_last_step(schedule):
    found = rates(schedule)
    assert found[:2] == [0.5, 1.0]
    assert min(found) > 0
    assert found[2:] == sorted(found[2:], reverse=True)


def test_schedules_fall_as_their_names_say():
    assert rates("constant")[2:] == [1.0] * 8
    assert rates("linear")[2:] == pytest.approx([1 - (n + 1) / 9 for n in range(8)])
    assert rates("cosine")[2:] == pytest.approx([(1 + math.cos(math.pi * (n + 1) / 9)) / 2 for n in range(8)])


def test_a_run_shorter_than_its_warm_up_only_rises():
    assert rates("cosine", steps=3, warmup=10) == pytest.approx([0.1, 0.2, 0.3])


def evaluation(step, mean, measured=1):
    return {"step": step, "mean_at_8": mean, "mean_at_8_interval": [0, 1], "measured": measured}


def test_the_best_step_is_of_training_and_of_those_measured_like_the_newest():
    assert best_step([]) is None
    assert best_step([evaluation(0, 0.9)]) is None
    assert best_step([evaluation(0, 0.9), evaluation(2, 0.3), evaluation(4, 0.5), evaluation(6, 0.4)]) == 4
    assert best_step([evaluation(2, 0.5), evaluation(4, 0.5)]) == 4
    assert best_step([evaluation(2, 0.9), evaluation(4, 0.5, measured=2)]) == 4
