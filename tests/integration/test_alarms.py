"""Alarms: a run that is being destroyed is stopped where it shows first, and sound ones are left alone."""

import random

import pytest

from mopd import train
from mopd.config import AlarmsConfig, OptimizerConfig
from mopd.core.errors import AlarmError
from mopd.core.statistics import share_error
from mopd.runs.records import read_jsonl
from mopd.training.alarms import Alarms
from mopd.training.loop import resume


def row(step, groups, cut):
    """Metrics of a step: the share of successes and of truncated rollouts of each group."""
    mean = lambda values: sum(values) / len(values)  # noqa: E731
    return {
        "step": step,
        "reward/success_share": mean(groups),
        "reward/success_error": share_error(groups),
        "completion/truncated_share": mean(cut),
        "completion/truncated_error": share_error(cut),
    }


def drawn(rng, step, success=0.3, cut=0.05, groups=4, rollouts=8):
    """A step of problems of very different difficulty."""
    chances = [rng.betavariate(0.5, 0.5 * (1 - success) / success) for _ in range(groups)]
    shares = [sum(rng.random() < chance for _ in range(rollouts)) / rollouts for chance in chances]
    return row(step, shares, [sum(rng.random() < cut for _ in range(rollouts)) / rollouts for _ in range(groups)])


@pytest.mark.parametrize("groups", [2, 4, 8, 32])
def test_twenty_sound_runs_set_no_alarm_off(groups):
    for seed in range(20):
        rng, alarms = random.Random(seed), Alarms(AlarmsConfig())
        for step in range(100):
            assert alarms.after_step(drawn(rng, step, groups=groups)) == [], (seed, step)


@pytest.mark.parametrize("groups", [4, 8, 32])
def test_completions_that_run_on_are_noticed_within_two_steps(groups):
    for seed in range(20):
        rng, alarms = random.Random(seed), Alarms(AlarmsConfig())
        for step in range(5):
            assert alarms.after_step(drawn(rng, step, groups=groups)) == []
        found = [alarms.after_step(drawn(rng, step, success=0.05, cut=0.8, groups=groups)) for step in (5, 6)]
        alarm = next(filter(None, found))[0]
        assert alarm.destroys
        assert "cut at the limit" in alarm.told or "success fell" in alarm.told
        assert alarm.sound_steps <= 5


@pytest.mark.parametrize("groups", [8, 32])
def test_success_that_is_lost_is_noticed(groups):
    noticed = 0
    for seed in range(20):
        rng, alarms = random.Random(seed), Alarms(AlarmsConfig())
        told = [alarms.after_step(drawn(rng, step, success=0.5, groups=groups)) for step in range(6)]
        assert told == [[]] * 6
        noticed += any(alarms.after_step(drawn(rng, step, success=0.02, groups=groups)) for step in range(6, 10))
    assert noticed >= 19


def test_a_sampler_that_has_other_weights_than_the_learner_is_noticed_in_the_first_step():
    alarms, rng = Alarms(AlarmsConfig()), random.Random(0)
    assert alarms.after_step(drawn(rng, 0) | {"importance/logprob_gap_nats": 0.02}) == []
    (alarm,) = alarms.after_step(drawn(rng, 1) | {"importance/logprob_gap_nats": 0.6})
    assert "sampler and learner differ by 0.60 nats" in alarm.told
    assert alarm.sound_steps == 1
    assert "agree" in alarm.must
    wide = Alarms(AlarmsConfig(logprob_gap_nats=1.0))
    assert wide.after_step(drawn(rng, 0) | {"importance/logprob_gap_nats": 0.6}) == []


def test_a_step_whose_graders_failed_says_nothing():
    rng, alarms = random.Random(0), Alarms(AlarmsConfig())
    for step in range(6):
        assert alarms.after_step(drawn(rng, step, success=0.6, groups=32)) == []
    failed = row(6, [0.0] * 32, [0.0] * 32)
    assert alarms.after_step(failed | {"verdicts/error_count": 200.0, "verdicts/wrong_count": 56.0}) == []
    assert alarms.after_step(failed | {"verdicts/error_count": 20.0, "verdicts/wrong_count": 236.0}) != []


def test_a_run_whose_updates_are_far_too_long_is_stopped_and_names_its_last_good_checkpoint(tiny_config):
    settings = {"learning_rate": 1.0, "warmup_steps": 3, "fall_share": 0, "drift_nats": 0}
    config = tiny_config.model_copy(
        update={"optimizer": OptimizerConfig(**settings), "steps": 12, "problems_per_step": 8, "group_size": 8}
    ).model_copy(update={"alarms": AlarmsConfig(action="stop")})
    with pytest.raises(AlarmError) as error:
        train(config, quiet=True)
    rows = read_jsonl(f"{config.run}/metrics.jsonl")
    assert len(rows) <= 4, "within two steps of the first update"
    assert error.value.exit_status == 1
    assert "checkpoint" in error.value.got
    assert "learning_rate" in error.value.do
    with pytest.raises(AlarmError):
        resume(config.run, quiet=True)
    going = config.model_copy(update={"alarms": AlarmsConfig(action="off")})
    assert resume(config.run, expected=going, quiet=True)["steps"] == 12


def test_under_the_bounds_of_its_updates_the_same_rate_moves_the_student_little_and_sets_no_alarm_off(tiny_config):
    optimizer = OptimizerConfig(learning_rate=1.0, warmup_steps=3, fall_share=0.25, drift_nats=0.05)
    settings = {"optimizer": optimizer, "steps": 12, "problems_per_step": 8, "group_size": 8}
    settings |= {"alarms": AlarmsConfig(action="stop")}
    config = tiny_config.model_copy(update=settings)
    train(config, quiet=True)
    rows = read_jsonl(f"{config.run}/metrics.jsonl")
    assert len(rows) == 12
    assert all(row.get("update/drift_nats", 0.0) <= optimizer.drift_nats for row in rows)
