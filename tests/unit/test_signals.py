"""Each signal sets its alarm off where a figure moves, and is silent on noise of the same size."""

import itertools
import math
import random

import pytest

from mopd.config import AlarmsConfig
from mopd.core.statistics import mean_error, mean_or_zero, share_error
from mopd.training.alarms import RESTS, SIGNALS, Alarms, sharpening

SOUND = {
    "reward/success_share": 0.5,
    "completion/truncated_share": 0.05,
    "completion/tokens_mean": 100.0,
    "completion/repeated_share": 0.05,
    "completion/entropy_nats": 1.0,
    "student/from_start_nats": 0.3,
    "teacher/gap_share": 0.4,
}
"""Figures of a sound student."""

MOVED = {
    "success": 0.1,
    "success falls": 0.32,
    "cut": 0.6,
    "longer": 200.0,
    "shorter": 40.0,
    "repetition": 0.4,
    "entropy lost": 0.1,
    "entropy grown": 2.5,
    "far from start": 3.0,
    "teacher": 0.0,
}
"""Of each signal the figure that sets it off."""


def step(rng, number, figures, groups=16):
    """Metrics of a step whose groups are drawn around some figures, as far apart as groups are."""
    row = {"step": number}
    for metric, figure in figures.items():
        is_share = metric.endswith("_share") and metric != "teacher/gap_share"
        drawn = [rng.betavariate(2 * figure + 1e-3, 2 * (1 - figure) + 1e-3) for _ in range(groups)] if is_share else []
        by_group = drawn or [rng.gauss(figure, 0.3 * max(figure, 0.1)) for _ in range(groups)]
        row[metric] = mean_or_zero(by_group)
        name = metric.rpartition("_")[0] + "_error"
        row[name] = share_error(by_group) if is_share else mean_error(by_group)
    return row


def found_in(rows):
    """The names of alarms by step."""
    alarms = Alarms(AlarmsConfig())
    return {row["step"]: [alarm.name for alarm in alarms.after_step(row)] for row in rows}


def test_the_names_of_errors_are_those_of_metrics():
    assert {signal.error for signal in SIGNALS} <= step(random.Random(0), 0, SOUND).keys()
    assert MOVED.keys() == {signal.name for signal in SIGNALS}


@pytest.mark.parametrize("signal", SIGNALS, ids=lambda signal: signal.name)
def test_a_figure_that_moves_is_noticed_within_eight_steps_and_no_other_with_it(signal):
    noticed = 0
    for seed in range(20):
        rng = random.Random(seed)
        rows = [step(rng, number, SOUND) for number in range(8)]
        rows += [step(rng, number, SOUND | {signal.metric: MOVED[signal.name]}) for number in range(8, 16)]
        found = found_in(rows)
        assert not any(found[number] for number in range(8))
        names = {name for number in range(8, 16) for name in found[number]}
        noticed += signal.name in names
        same = {other.name for other in SIGNALS if other.metric == signal.metric}
        assert names <= same
    assert noticed >= 18


@pytest.mark.parametrize("groups", [4, 8, 32])
def test_of_sixty_sound_runs_of_forty_steps_at_most_one_sets_an_alarm_off(groups):
    """All signals on noise alone, whose groups are of any difficulty: shares of success are uniform from 0 to 1."""
    loud = 0
    for seed in range(60):
        rng = random.Random(f"{groups} {seed}")
        loud += any(found_in([step(rng, number, SOUND, groups) for number in range(40)]).values())
    assert loud <= 1


def test_style_is_silent_while_success_rises():
    rng = random.Random(0)
    rows = [step(rng, number, SOUND) for number in range(8)]
    better = SOUND | {"reward/success_share": 0.9, "completion/tokens_mean": 200.0, "completion/entropy_nats": 0.1}
    found = found_in([*rows, *(step(rng, number, better) for number in range(8, 20))])
    assert not any(found.values())


def test_an_alarm_rests_and_is_given_again_while_it_lasts():
    rng = random.Random(1)
    rows = [step(rng, number, SOUND) for number in range(16)]
    rows += [step(rng, number, SOUND | {"completion/tokens_mean": 400.0}) for number in range(16, 30)]
    given_in = [number for number, names in found_in(rows).items() if "longer" in names]
    assert given_in[0] in (16, 17)
    assert all(later - earlier > RESTS for earlier, later in itertools.pairwise(given_in))


def test_a_resumed_run_is_watched_as_if_it_had_never_stopped():
    rng = random.Random(2)
    rows = [step(rng, number, SOUND) for number in range(10)]
    rows += [step(rng, number, SOUND | {"completion/tokens_mean": 400.0}) for number in range(10, 24)]
    undisturbed, lines, seen = Alarms(AlarmsConfig()), [], []
    for row in rows:
        seen.append([alarm.told for alarm in undisturbed.after_step(row)])
    for number, row in enumerate(rows):  # a new process at every step
        found = Alarms(AlarmsConfig(), rows[:number], lines).after_step(row)
        assert [alarm.told for alarm in found] == seen[number]
        lines += [{"step": number, "name": alarm.name} for alarm in found]


def test_a_figure_that_was_not_measured_or_is_not_finite_sets_nothing_off():
    rng = random.Random(3)
    rows = [step(rng, number, SOUND) for number in range(6)]
    gap = step(rng, 6, SOUND | {"teacher/gap_share": -0.4})
    alarms = Alarms(AlarmsConfig(), rows)
    without = {name: value for name, value in gap.items() if not name.startswith("teacher/")}
    assert alarms.after_step(without) == []
    assert alarms.after_step(gap | {"step": 7, "teacher/gap_share": None}) == []
    assert alarms.after_step(gap | {"step": 8, "teacher/gap_error": None}) == []
    assert "teacher" in [alarm.name for alarm in alarms.after_step(gap | {"step": 9})]


def test_fewer_problems_solved_while_more_attempts_succeed_is_sharpening():
    first = {"mean_at_8": 0.3, "mean_at_8_interval": [0.2, 0.4], "pass_at_8": 0.8, "pass_at_8_interval": [0.7, 0.9]}
    newest = first | {"mean_at_8": 0.5, "pass_at_8": 0.5, "pass_at_8_interval": [0.4, 0.6]}
    assert "attempts become alike" in sharpening(first, newest)
    assert sharpening(first, newest | {"pass_at_8_interval": [0.4, 0.85]}) == ""
    assert sharpening(first, newest | {"mean_at_8": 0.2}) == ""


def test_an_error_is_never_less_than_that_of_one_group_in_all():
    assert mean_error([5.0]) == 5.0
    assert mean_error([5.0] * 10) == 0.25
    assert mean_error([]) == 0.0
    assert mean_error([0.0, 10.0]) == pytest.approx(math.sqrt(50 / 2))
