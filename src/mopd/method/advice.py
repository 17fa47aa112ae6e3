"""What to do, of what was measured before a run: one word with its reasons, and the settings that follow. Pure.

The word follows from three figures: how many groups are mixed, by how much the teacher is right more often than its
student behind the recipe that the run would go by, and whether it is behind another one. A difference counts where its
paired interval leaves zero out and enough problems speak. It is a measured gap and no promise of a gain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mopd.core.errors import PreflightError
from mopd.method.readings import Reading

Word = Literal["go", "change the context", "warm up first", "use GRPO", "change the problems"]

ENOUGH_PROBLEMS = 5
"""Problems that a difference is taken from at least: of fewer a bootstrap makes intervals that are too short."""

MUCH_COPIED = 0.2
"""Share of contexts whose failure is repeated word for word, from which on it is said."""

MISLEADING_AUC = 0.8
"""Scores that tell successes from failures so well are worth a word where the teacher writes no better."""


@dataclass(frozen=True)
class Measured:
    """What was measured: groups by outcome, the student alone, the recipe that the run would go by, and all that it
    could go by. `finding` is what a run would be told; `auc` that of the teacher's scores behind the run's recipe.
    `warmup_settings` would warm the student up, or for longer; `context_settings` would make room for peers."""

    attempted: int
    solved: int
    failed: int
    problems_per_step: int
    has_teacher: bool = True
    is_external: bool = False
    has_warmup: bool = False
    warmup_settings: tuple[str, ...] = ()
    context_settings: tuple[str, ...] = ()
    fits: bool = True
    alone: Reading | None = None
    taken: Reading | None = None
    readings: Sequence[Reading] = ()
    controls: Sequence[Reading] = ()
    finding: PreflightError | None = None
    auc: float | None = None

    @property
    def mixed(self) -> int:
        """Groups that were solved in some attempts and failed in others."""
        return self.attempted - self.solved - self.failed

    @property
    def mixed_a_step(self) -> float:
        """Mixed groups that an average step would have."""
        return self.problems_per_step * self.mixed / max(1, self.attempted)


@dataclass(frozen=True)
class Advice:
    """A word, its reasons, and overrides that follow from it. `reading` is that of the recipe to take, if any is."""

    word: Word
    reasons: tuple[str, ...]
    settings: tuple[str, ...] = ()
    reading: Reading | None = None

    @property
    def said(self) -> str:
        """The word, with what to change the context to."""
        if self.word != "change the context":
            return self.word
        return f"{self.word} to {self.reading.name}" if self.reading else f"{self.word}: raise context.tokens"

    @property
    def toml(self) -> str:
        """The settings as tables of a configuration, to be pasted; empty where there are none."""
        tables: dict[str, list[str]] = {}
        for setting in self.settings:
            key, _, value = setting.partition(" = ")
            table, _, name = key.rpartition(".")
            tables.setdefault(table, []).append(f"{name} = {value}")
        return "\n".join("\n".join([f"[{table}]", *lines, ""]) for table, lines in tables.items())

    def as_json(self) -> dict[str, Any]:
        """For the file of `mopd preflight --json`."""
        return {
            "word": self.word,
            "said": self.said,
            "reasons": list(self.reasons),
            "settings": list(self.settings),
            "toml": self.toml,
            "recipe": self.reading.recipe.as_json() if self.reading and self.reading.recipe else None,
        }


def advise(measured: Measured) -> Advice:
    """The one word that follows from what was measured."""
    if not measured.mixed and measured.alone is None:
        return _nothing_mixed(measured)
    if not measured.has_teacher:
        return _by_verdicts(measured, "go", ())
    if not measured.fits:
        return Advice("change the context", _told(measured.finding), measured.context_settings)
    if measured.alone is None or measured.taken is None:
        return _by_verdicts(measured, "use GRPO", _told(measured.finding))
    return _by_gap(measured, measured.alone, measured.taken)


def _nothing_mixed(measured: Measured) -> Advice:
    """Verdicts differ in no group: neither peers nor rewards tell anything."""
    if measured.solved > measured.failed:
        return Advice("change the problems", _told(measured.finding))
    return _warm_up(measured, _told(measured.finding))


def _by_verdicts(measured: Measured, word: Word, reasons: tuple[str, ...]) -> Advice:
    """Learning from verdicts needs a group in a step whose rewards differ."""
    share = f"{measured.mixed} of {measured.attempted} groups are solved in some attempts and failed in others"
    if measured.mixed_a_step >= 1:
        settings = () if word == "go" else ("objective.kind = 'grpo'",)
        told = (
            f"{share}: about {measured.mixed_a_step:.1f} of a step's {measured.problems_per_step}, which verdicts teach"
        )
        return Advice(word, (*reasons, told), settings)
    told = f"{share}: fewer than one of a step's {measured.problems_per_step} would teach"
    if measured.solved > measured.failed:
        return Advice("change the problems", (*reasons, f"{told}; give harder problems"))
    return _warm_up(measured, (*reasons, told))


def _warm_up(measured: Measured, reasons: tuple[str, ...]) -> Advice:
    """A warm-up that shows peers as well; one that is there already is made longer."""
    more = ("the warm-up that there is does not suffice",) if measured.has_warmup else ()
    return Advice("warm up first", (*reasons, *more), measured.warmup_settings)


def _by_gap(measured: Measured, alone: Reading, taken: Reading) -> Advice:
    best = _best(alone, measured.readings)
    is_clear, gap = is_clearly_better(alone, taken), _gap(alone, taken)
    if best is not None and best is not taken and (not is_clear or is_clearly_better(taken, best)):
        instead = f"behind {taken.name}, as the run would go, {gap}"
        reasons = (f"behind {best.name} {_gap(alone, best)}", instead, *_cautions(measured, best))
        return Advice("change the context", reasons, _settings(best), best)
    if is_clear:
        return Advice("go", (f"behind {taken.name} {gap}", *_cautions(measured, taken)), _settings(taken), taken)
    reasons = (f"behind {taken.name} {gap}", _why_not(measured, alone, taken), *_cautions(measured, taken))
    if measured.is_external:
        reasons = (*reasons, "or take a teacher that solves these problems (teacher.model)")
    return _by_verdicts(measured, "use GRPO", reasons)


def is_clearly_better(one: Reading, other: Reading) -> bool:
    """Whether `other` is right more often than `one`, beyond its paired interval and on enough problems."""
    return len(one.changes(other)) >= ENOUGH_PROBLEMS and one.behind(other)[1][0] > 0


def _best(alone: Reading, readings: Sequence[Reading]) -> Reading | None:
    """Of recipes that are clearly better than the student alone, the one that is by most."""
    clear = [reading for reading in readings if is_clearly_better(alone, reading)]
    return max(clear, key=lambda reading: alone.behind(reading)[0], default=None)


def _gap(alone: Reading, reading: Reading) -> str:
    gap, (low, high) = alone.behind(reading)
    return (
        f"the teacher is right in {reading.counted}, the student alone in {alone.counted}: "
        f"a gap of {gap:+.2f} [{low:+.2f}, {high:+.2f}]"
    )


def _why_not(measured: Measured, alone: Reading, taken: Reading) -> str:
    problems = len(alone.changes(taken))
    if problems < ENOUGH_PROBLEMS:
        return f"{problems} problems are too few to tell: raise preflight.problems, or group_size"
    if alone.behind(taken)[0] > 0:
        return "that may be chance: raise preflight.contexts and preflight.problems to tell"
    return "no recipe that was tried helps clearly"


def _cautions(measured: Measured, reading: Reading) -> tuple[str, ...]:
    """What to know besides: copying, controls that do as well, scores that look better than what is written."""
    told = []
    if reading.copied_failure_share >= MUCH_COPIED:
        told.append(f"it repeats a failure that it is shown in {_percent(reading.copied_failure_share)}")
    if reading.copied_success_share >= 0.5:
        told.append(f"in {_percent(reading.copied_success_share)} it repeats a success word for word")
    as_good = [one.name for one in measured.controls if one.written and not is_clearly_better(one, reading)]
    if as_good and measured.alone is not None and is_clearly_better(measured.alone, reading):
        told.append(
            f"behind {' and behind '.join(as_good)} it is not clearly worse: what peers say may not be what helps"
        )
    is_no_better = measured.alone is not None and not is_clearly_better(measured.alone, reading)
    if is_no_better and measured.auc is not None and measured.auc >= MISLEADING_AUC:
        told.append(f"its scores tell successes from failures (AUC {measured.auc:.2f}), and yet it writes no better")
    return tuple(told)


def _percent(share: float) -> str:
    return f"{round(100 * share)} %"


def _settings(reading: Reading) -> tuple[str, ...]:
    return () if reading.recipe is None else tuple(reading.recipe.settings)


def _told(finding: PreflightError | None) -> tuple[str, ...]:
    return () if finding is None else (finding.got, finding.do)
