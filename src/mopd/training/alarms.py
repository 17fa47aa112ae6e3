"""Alarms: what goes wrong in a run is noticed from its own figures.

What an update does shows in the next step's rollouts: they fail, run on until they are cut, grow, repeat themselves.
Each such figure is a signal. Its newest steps are compared with those before, and a difference counts only where it is
large, and many standard errors over groups wide, since a step has few problems and easy ones follow hard ones.
`steering` says what is then done.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mopd.config import AlarmsConfig
from mopd.core.statistics import mean_or_zero
from mopd.core.types import VERDICT_KINDS
from mopd.evaluation.held_out import paired_gain
from mopd.runs.records import mean_key

WINDOWS = (1, 2, 4, 8)
"""Newest steps that are compared with those before them."""

RECENT = 16
"""They are compared with all before, and with so many: what rose for long and is lost has its peak just before."""

ERRORS = 4.0
"""Standard errors by which the newest steps must differ. Several windows and signals are looked at after every step."""

RESTS = 8
"""Steps for which an alarm that went off is not given again."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Signal:
    """A figure of a step and when its newest steps set an alarm off: they are `times` as large as those before (as
    small, where that is below 1), differ by `least` in the figure's own unit, and by ERRORS standard errors.

    `destroys`: the student is being destroyed. `is_style`: that says little by itself, and nothing where success has
    risen; it is compared with all steps before alone, since a figure that follows success goes on to move behind it.
    """

    name: str
    metric: str
    error: str
    told: str
    times: Callable[[AlarmsConfig], float]
    least: float = 0.0
    destroys: bool = False
    is_style: bool = True


SIGNALS = (
    Signal(
        "success",
        "reward/success_share",
        "reward/success_error",
        "success fell from {:.2f} to {:.2f} of the rollouts",
        lambda config: 1 - config.success_loss,
        destroys=True,
        is_style=False,
    ),
    Signal(
        "success falls",
        "reward/success_share",
        "reward/success_error",
        "success fell from {:.2f} to {:.2f} of the rollouts",
        lambda _: 0.75,
        is_style=False,
    ),
    Signal(
        "cut",
        "completion/truncated_share",
        "completion/truncated_error",
        "completions cut at the limit rose from {:.2f} to {:.2f} of the rollouts",
        lambda config: config.truncated_growth,
        least=0.2,  # three times nearly none is nearly none
        destroys=True,
        is_style=False,
    ),
    Signal(
        "longer",
        "completion/tokens_mean",
        "completion/tokens_error",
        "completions grew from {:.0f} to {:.0f} tokens",
        lambda _: 1.5,
    ),
    Signal(
        "shorter",
        "completion/tokens_mean",
        "completion/tokens_error",
        "completions shrank from {:.0f} to {:.0f} tokens",
        lambda _: 0.6,
    ),
    Signal(
        "repetition",
        "completion/repeated_share",
        "completion/repeated_error",
        "runs of four tokens that a completion has had before rose from {:.2f} to {:.2f} of all",
        lambda _: 2.0,
        least=0.1,
    ),
    Signal(
        "entropy lost",
        "completion/entropy_nats",
        "completion/entropy_error",
        "the student's entropy fell from {:.2f} to {:.2f} nats a token: its attempts become alike",
        lambda _: 0.3,
    ),
    Signal(
        "entropy grown",
        "completion/entropy_nats",
        "completion/entropy_error",
        "the student's entropy grew from {:.2f} to {:.2f} nats a token: its attempts fall apart",
        lambda _: 1.5,
        least=0.2,
    ),
    Signal(
        "far from start",
        "student/from_start_nats",
        "student/from_start_error",
        "the student's divergence from its beginning grew from {:.2f} to {:.2f} nats a token",
        lambda _: 1.0,
        least=1.0,
    ),
    Signal(
        "teacher",
        "teacher/gap_share",
        "teacher/gap_error",
        "the teacher's lead over the student fell from {:.2f} to {:.2f} of the rollouts: peers tell it little",
        lambda _: 0.2,
        least=0.1,
    ),
)

SUCCESS = SIGNALS[0]


@dataclass(frozen=True)
class Alarm:
    """What is wrong, the number of steps behind which the student was still sound, what must hold, and what to do.

    `destroys` says that the student is being destroyed; `by_updates` that a lower learning rate is against it.
    """

    name: str
    told: str
    sound_steps: int
    destroys: bool = True
    by_updates: bool = True
    must: str = "a run does not destroy its student"
    do: str = (
        "begin a new run with a lower optimizer.learning_rate, fall_share or drift_nats, or another recipe of peers "
        "(mopd show-context shows what the teacher read)"
    )


class Alarms:
    """What a run's metrics have been, and which alarms they set off.

    `rows` are the lines of metrics.jsonl so far, `given` those of alarms.jsonl: a resumed run is watched as if it had
    never stopped.
    """

    def __init__(self, config: AlarmsConfig, rows: Sequence[Row] = (), given: Sequence[Row] = ()) -> None:
        self.config = config
        self.rows = [row for row in rows if _is_judged(row)]
        newest = int(rows[-1]["step"]) if rows else -1  # a run that fell back has alarms of steps that are to come
        self._given = {str(row["name"]): int(row["step"]) for row in given if row["step"] <= newest}

    def after_step(self, row: Row) -> list[Alarm]:
        """The alarms of a step's metrics, what destroys first; none where graders failed: they say nothing of it."""
        if not _is_judged(row):
            return []
        found = [*self._mismatch(row)]
        if not found:
            self.rows.append(row)
            found = self._of_signals()
        return self._rested(found, int(row["step"]))

    def _of_signals(self) -> list[Alarm]:
        """Of two signals of one figure the worse one."""
        found = {signal: alarm for signal in SIGNALS if (alarm := self._compared(signal))}
        worst = {signal.metric for signal in found if signal.destroys}
        return [alarm for signal, alarm in found.items() if signal.destroys or signal.metric not in worst]

    def _rested(self, found: Sequence[Alarm], step: int) -> list[Alarm]:
        """Those that were not given just now."""
        new = [alarm for alarm in found if step - self._given.get(alarm.name, -RESTS - 1) > RESTS]
        self._given |= {alarm.name: step for alarm in new}
        return sorted(new, key=lambda alarm: not alarm.destroys)

    def _mismatch(self, row: Row) -> list[Alarm]:
        gap, most = row.get("importance/logprob_gap_nats", 0.0), self.config.logprob_gap_nats
        if gap <= most:
            return []
        told = f"log-probabilities of sampler and learner differ by {gap:.2f} nats on average in step {row['step']}"
        must = (
            f"sampler and learner agree on the log-probabilities of sampled tokens, on average to {most:g} nats "
            "(alarms.logprob_gap_nats)"
        )
        do = "see whether the sampler has the learner's weights, temperature and chat template"
        return [Alarm("mismatch", told, int(row["step"]), by_updates=False, must=must, do=do)]

    def _compared(self, signal: Signal) -> Alarm | None:
        """The alarm of a signal by the narrowest windows that show it."""
        known = [row for row in self.rows if row.get(signal.metric) is not None and row.get(signal.error) is not None]
        if not known or known[-1] is not self.rows[-1]:
            return None  # it was not measured in this step
        for size in WINDOWS:
            for begin in sorted({0, 0 if signal.is_style else max(0, len(known) - size - RECENT)}):
                before, now = known[begin:-size], known[-size:]
                if before and (told := self._told(signal, before, now)):
                    sound = int(before[-1]["step"])  # the rollouts of step n are by the student behind n steps
                    return Alarm(signal.name, told, sound, signal.destroys)
        return None

    def _told(self, signal: Signal, before: Sequence[Row], now: Sequence[Row]) -> str:
        was, is_now, wide = _means(before, now, signal)
        times, change = signal.times(self.config), is_now - was
        is_large = is_now >= times * was if times >= 1 else was > 0 and is_now <= times * was
        towards = change if times >= 1 else -change
        if not is_large or towards < signal.least or towards <= ERRORS * wide:
            return ""
        return "" if signal.is_style and _is_better(before, now) else signal.told.format(was, is_now)

    def after_evaluation(self, evaluations: Sequence[Row]) -> list[Alarm]:
        """What the newest evaluation says beside the first that was measured alike."""
        alike = [row for row in evaluations if row.get("measured") == evaluations[-1].get("measured")]
        first, newest = alike[0], alike[-1]
        name, found = mean_key(newest), []
        _, (_, high) = paired_gain(dict(first), dict(newest))
        if high < 0 and newest[name] <= (1 - self.config.success_loss) * first[name]:
            told = f"held-out {name} fell from {first[name]:.3f} to {newest[name]:.3f}"
            found.append(Alarm("held-out", told, int(alike[-2]["step"])))
        if told := sharpening(first, newest):
            found.append(Alarm("sharpening", told, int(alike[-2]["step"]), destroys=False))
        return self._rested(found, int(newest["step"]) - 1)


def _is_judged(row: Row) -> bool:
    """Whether half of a step's rollouts at least have a verdict, in a run that is watched from its beginning."""
    verdicts = {kind: row.get(f"verdicts/{kind}_count", 0.0) for kind in VERDICT_KINDS}
    return "reward/success_error" in row and 2 * verdicts["error"] <= sum(verdicts.values())


def _is_better(before: Sequence[Row], now: Sequence[Row]) -> bool:
    """Whether success has risen, by a standard error."""
    was, is_now, wide = _means(before, now, SUCCESS)
    return is_now - was > wide


def sharpening(first: Row, newest: Row) -> str:
    """A warning where fewer problems are solved at all though more attempts succeed; empty elsewhere."""
    mean = mean_key(newest)
    passed = mean.replace("mean", "pass")
    if newest[mean] > first[mean] and newest[f"{passed}_interval"][1] < first[passed]:
        return (
            f"{mean} rose from {first[mean]:.3f} to {newest[mean]:.3f}, but {passed} fell from {first[passed]:.3f} to "
            f"{newest[passed]:.3f}: attempts become alike"
        )
    return ""


def _means(before: Sequence[Row], now: Sequence[Row], signal: Signal) -> tuple[float, float, float]:
    """The mean before and now, and the standard error of their difference if nothing had changed.

    Groups are then as far apart now as they were before, and the larger of the two spreads is taken: where all groups
    of a few steps fail, or are alike, by chance, their own says too little.
    """
    was, is_now = (mean_or_zero([row[signal.metric] for row in rows]) for rows in (before, now))
    a_step = max(mean_or_zero([row[signal.error] ** 2 for row in rows]) for rows in (before, now))
    return was, is_now, math.sqrt(a_step / len(before) + a_step / len(now))
