"""Alarms: a run that is being destroyed is noticed from its own figures, and stopped at its last good checkpoint.

What an update does shows in the next step's rollouts: they fail, or they run on until they are cut. Both are compared
with what they were in the steps before, and a difference counts only where it is many standard errors over groups wide:
a step has few problems, and easy ones follow hard ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mopd.config import AlarmsConfig
from mopd.core.errors import AlarmError
from mopd.core.statistics import mean_or_zero
from mopd.core.types import VERDICT_KINDS
from mopd.evaluation.held_out import paired_gain
from mopd.runs.checkpoint import list_checkpoints, steps_of
from mopd.runs.progress import say
from mopd.runs.records import mean_key
from mopd.runs.run import Run

WINDOWS = (1, 2, 4)
"""Newest steps that are compared with all before them."""

ERRORS = 4.0
"""Standard errors by which the newest steps must differ. Several windows are looked at after every step."""

LEAST_CUT = 0.2
"""The share of truncated rollouts must have grown by this, too: three times nearly none is nearly none."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Alarm:
    """What is wrong, the number of steps behind which the student was still sound, what must hold, and what to do."""

    told: str
    sound_steps: int
    must: str = "a run does not destroy its student"
    do: str = (
        "begin a new run with a lower optimizer.learning_rate, fall_share or drift_nats, or another recipe of peers "
        "(mopd show-context shows what the teacher read)"
    )


class Alarms:
    """What a run's metrics have been, and whether they say that it is being destroyed.

    `rows` are the lines of metrics.jsonl so far: a resumed run is watched as if it had never stopped.
    """

    def __init__(self, config: AlarmsConfig, rows: Sequence[Row] = ()) -> None:
        self.config = config
        self.rows = [row for row in rows if _is_judged(row)]

    def after_step(self, row: Row) -> Alarm | None:
        """What a step's metrics say; None where nothing is wrong, and where graders failed: they say nothing of it."""
        if not _is_judged(row):
            return None
        if alarm := self._disagreement(row):
            return alarm
        self.rows.append(row)
        for size in WINDOWS:
            before, now = self.rows[:-size], self.rows[-size:]
            if before and (told := self._success_lost(before, now) or self._cut_more(before, now)):
                return Alarm(told, int(before[-1]["step"]))  # the rollouts of step n are by the student behind n steps
        return None

    def _disagreement(self, row: Row) -> Alarm | None:
        gap, most = row.get("importance/logprob_gap_nats", 0.0), self.config.logprob_gap_nats
        if gap <= most:
            return None
        return Alarm(
            f"log-probabilities of sampler and learner differ by {gap:.2f} nats on average in step {row['step']}",
            int(row["step"]),
            f"sampler and learner agree on the log-probabilities of sampled tokens, on average to {most:g} nats "
            "(alarms.logprob_gap_nats)",
            "see whether the sampler has the learner's weights, temperature and chat template",
        )

    def _success_lost(self, before: Sequence[Row], now: Sequence[Row]) -> str:
        was, is_now, wide = _compared(before, now, "reward/success_share", "reward/success_error")
        if is_now <= (1 - self.config.success_loss) * was and was - is_now > ERRORS * wide:
            return f"success fell from {was:.2f} to {is_now:.2f} of the rollouts"
        return ""

    def _cut_more(self, before: Sequence[Row], now: Sequence[Row]) -> str:
        was, is_now, wide = _compared(before, now, "completion/truncated_share", "completion/truncated_error")
        has_grown = is_now >= self.config.truncated_growth * was and is_now - was >= LEAST_CUT
        if has_grown and is_now - was > ERRORS * wide:
            return f"completions cut at the limit rose from {was:.2f} to {is_now:.2f} of the rollouts"
        return ""

    def after_evaluation(self, evaluations: Sequence[Row]) -> Alarm | None:
        """What the newest evaluation says beside the first that was measured alike; None where nothing is wrong."""
        alike = [row for row in evaluations if row.get("measured") == evaluations[-1].get("measured")]
        first, newest = alike[0], alike[-1]
        name = mean_key(newest)
        _, (_, high) = paired_gain(dict(first), dict(newest))
        if high < 0 and newest[name] <= (1 - self.config.success_loss) * first[name]:
            told = f"held-out {name} fell from {first[name]:.3f} to {newest[name]:.3f}"
            return Alarm(told, int(alike[-2]["step"]))
        return None


class Watch:
    """The alarms of a run, and what is done when one goes off."""

    def __init__(self, config: AlarmsConfig, run: Run) -> None:
        self.config, self.run = config, run
        self.alarms = Alarms(config, run.metrics())

    def step(self, row: Row) -> None:
        """Raises AlarmError where a step's metrics set an alarm off that stops the run."""
        self._act(self.alarms.after_step(row))

    def evaluation(self, is_last: bool) -> None:
        """The same of the newest evaluation; behind the last step there is nothing left to stop."""
        evaluations = self.run.evaluations()
        self._act(self.alarms.after_evaluation(evaluations), may_stop=not is_last)
        if told := sharpening(evaluations[0], evaluations[-1]):
            say(f"warning: {told}")

    def _act(self, alarm: Alarm | None, may_stop: bool = True) -> None:
        if alarm is None or self.config.action == "off":
            return
        if self.config.action == "warn" or not may_stop:
            say(f"warning: {alarm.told}")
            return
        sound = [path for path in list_checkpoints(self.run.checkpoints) if steps_of(path) <= alarm.sound_steps]
        kept = f"{sound[-1]} is the last checkpoint before" if sound else "no checkpoint from before is kept"
        raise AlarmError(
            alarm.must,
            f"{alarm.told}; {kept}",
            f"{alarm.do}; alarms.action = 'warn' goes on",
        )


def _is_judged(row: Row) -> bool:
    """Whether half of a step's rollouts at least have a verdict, in a run that is watched from its beginning."""
    verdicts = {kind: row.get(f"verdicts/{kind}_count", 0.0) for kind in VERDICT_KINDS}
    return "reward/success_error" in row and 2 * verdicts["error"] <= sum(verdicts.values())


def sharpening(first: Row, newest: Row) -> str:
    """A warning where fewer problems are solved at all though more attempts succeed; empty elsewhere."""
    mean = mean_key(newest)
    passed = mean.replace("mean", "pass")
    if (
        newest.get("measured") == first.get("measured")
        and newest[mean] > first[mean]
        and newest[f"{passed}_interval"][1] < first[passed]
    ):
        return (
            f"{mean} rose from {first[mean]:.3f} to {newest[mean]:.3f}, but {passed} fell from {first[passed]:.3f} to "
            f"{newest[passed]:.3f}: attempts become alike"
        )
    return ""


def _compared(before: Sequence[Row], now: Sequence[Row], share: str, error: str) -> tuple[float, float, float]:
    """The mean share before and now, and the standard error of their difference if nothing had changed.

    Groups are then as far apart now as they were before. Their own spread would say too little: where nearly all
    groups fail by chance, they are alike.
    """
    was, is_now = (mean_or_zero([row[share] for row in rows]) for rows in (before, now))
    a_step = mean_or_zero([row[error] ** 2 for row in before])
    return was, is_now, math.sqrt(a_step / len(before) + a_step / len(now))
