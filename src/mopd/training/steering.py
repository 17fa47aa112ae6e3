"""What is done when an alarm goes off: the run stops, goes on with a lower learning rate, falls back, or only says so.

Every alarm is a line of alarms.jsonl, whatever is done. What was done to the learning rate is in that line alone: the
log is cut back to a checkpoint like the others, so that a resumed run goes on with what holds there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mopd.config import AlarmsConfig
from mopd.core.errors import AlarmError
from mopd.runs.checkpoint import list_checkpoints, steps_of
from mopd.runs.progress import say
from mopd.runs.run import Run
from mopd.training.alarms import Alarm, Alarms
from mopd.training.step import Stepper

FALL_BACKS = 3
"""A run that has fallen back so often is stopped by the next alarm: a lower learning rate does not help it."""

Row = Mapping[str, Any]


def restore(run: Run, stepper: Stepper) -> int | None:
    """Go on from the newest checkpoint with all that a step needs; steps done, or None where there is no checkpoint."""
    done = run.restore(stepper.setup.student, stepper.teacher, stepper.learner.optimizer)
    _recall(run, stepper)
    return done


def _recall(run: Run, stepper: Stepper) -> None:
    stepper.attempts.end()
    stepper.pausing.recall(run.metrics())
    stepper.beginning.recall(run.beginning())
    stepper.learner.rate_share = math.prod(row.get("rate_share", 1.0) for row in run.alarms())


class Watch:
    """The alarms of a run, and what is done when one goes off."""

    def __init__(self, config: AlarmsConfig, run: Run, stepper: Stepper) -> None:
        self.config, self.run, self.stepper = config, run, stepper
        self.given = run.alarms()
        """All lines of alarms.jsonl."""
        self.alarms = Alarms(config, run.metrics(), self.given)

    def step(self, row: Row) -> int | None:
        """Act on the alarms of a step; steps done where the run fell back. Raises AlarmError where it is stopped."""
        return self._act(self.alarms.after_step(row), int(row["step"]))

    def evaluation(self, is_last: bool) -> int | None:
        """The same of the newest evaluation; behind the last step there is nothing left to stop or to mend."""
        evaluations = self.run.evaluations()
        return self._act(self.alarms.after_evaluation(evaluations), int(evaluations[-1]["step"]) - 1, is_last)

    def _act(self, alarms: Sequence[Alarm], step: int, is_last: bool = False) -> int | None:
        """What destroys comes first among alarms, and something is done about the first one alone: it is done about all
        that a step showed."""
        for number, alarm in enumerate(alarms):
            action = self.config.action if alarm.destroys and not is_last and number == 0 else "warn"
            if action in ("anneal", "fall_back") and not alarm.by_updates:
                action = "stop"
            if self.config.action == "off":
                self._record(alarm, step, "none")
            elif action == "warn":
                self._record(alarm, step, "warned")
                say(f"warning: {alarm.told}")
            elif action == "anneal":
                self._anneal(alarm, step)
            elif action == "fall_back" and (to := self._sound(alarm)) and self._fallen_back < FALL_BACKS:
                return self._fall_back(alarm, step, to)
            else:
                self._stop(alarm, step)
        return None

    def _record(self, alarm: Alarm, step: int, action: str, **more: float) -> None:
        line = {"step": step, "name": alarm.name, "told": alarm.told, "action": action, **more}
        self.given.append(line)
        self.run.record_alarm(line)

    def _stop(self, alarm: Alarm, step: int) -> None:
        self._record(alarm, step, "stopped")
        sound = self._sound(alarm)
        kept = f"{sound} is the last checkpoint before" if sound else "no checkpoint from before is kept"
        often = f"; the run has fallen back {self._fallen_back} times" if self._fallen_back else ""
        raise AlarmError(alarm.must, f"{alarm.told}; {kept}{often}", f"{alarm.do}; alarms.action = 'warn' goes on")

    def _anneal(self, alarm: Alarm, step: int) -> None:
        share = self.config.rate_share
        self.stepper.learner.rate_share *= share
        self._record(alarm, step, "annealed", rate_share=share)
        say(f"warning: {alarm.told}; the learning rate is {self.stepper.learner.rate_share:.3g} of what it would be")

    def _fall_back(self, alarm: Alarm, step: int, to: Path) -> int:
        done, share = steps_of(to), self.config.rate_share
        line = {"step": step, "name": alarm.name, "told": alarm.told, "action": "fell back", "to_step": done}
        student, optimizer = self.stepper.setup.student, self.stepper.learner.optimizer
        self.run.go_back(to, line | {"rate_share": share}, student, self.stepper.teacher, optimizer)
        _recall(self.run, self.stepper)
        self.given = self.run.alarms()
        self.alarms = Alarms(self.config, self.run.metrics(), self.given)
        left = self.stepper.learner.rate_share
        say(f"warning: {alarm.told}; the run goes on from {to}, with {left:.3g} of the learning rate")
        return done

    def _sound(self, alarm: Alarm) -> Path | None:
        """The last checkpoint before what went wrong."""
        sound = [path for path in list_checkpoints(self.run.checkpoints) if steps_of(path) <= alarm.sound_steps]
        return sound[-1] if sound else None

    @property
    def _fallen_back(self) -> int:
        return sum(row["action"] == "fell back" for row in self.given)
