"""How a student wrote behind recipes of peers, and which recipe makes the best teacher. Pure: `evaluation` measures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mopd.core.statistics import bootstrap_interval, mean_or_zero, wilson_interval
from mopd.method.recipes import Recipe


@dataclass(frozen=True)
class Outcome:
    """What was written from one case: whether it is right (None: its grader failed), whether it repeats a success or a
    failure (None: none was shown), its length, that of what was read, and whether peers were cut or left out there."""

    problem_id: str
    is_right: bool | None
    is_copied_success: bool | None = None
    is_copied_failure: bool | None = None
    tokens: int = 0
    read_tokens: int = 0
    is_over_budget: bool = False


@dataclass
class Reading:
    """How the student writes from one recipe's contexts, or from problems alone (`recipe` None): an outcome for each
    case, None where the recipe has nothing to show there. A recipe that was left early has fewer cases."""

    recipe: Recipe | None
    outcomes: list[Outcome | None] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The recipe's."""
        return "the problem alone" if self.recipe is None else self.recipe.name

    @property
    def written(self) -> list[Outcome]:
        """Of cases for which the recipe has something to show."""
        return [outcome for outcome in self.outcomes if outcome is not None]

    @property
    def judged(self) -> list[bool]:
        """Whether each was right, without those whose grader failed."""
        return [outcome.is_right for outcome in self.written if outcome.is_right is not None]

    @property
    def mean(self) -> float:
        """The share that is right."""
        return mean_or_zero(self.judged)

    @property
    def counted(self) -> str:
        """The same as counts: "22 of 24"."""
        return f"{sum(self.judged)} of {len(self.judged)}"

    @property
    def interval(self) -> tuple[float, float]:
        """Its 95 % interval (Wilson)."""
        return wilson_interval(sum(self.judged), len(self.judged))

    @property
    def over_budget_count(self) -> int:
        """Contexts whose peers were cut or left out."""
        return sum(outcome.is_over_budget for outcome in self.written)

    @property
    def copied_success_share(self) -> float:
        """Of contexts that show a success: how often it was repeated word for word."""
        return mean_or_zero([o.is_copied_success for o in self.written if o.is_copied_success is not None])

    @property
    def copied_failure_share(self) -> float:
        """Of contexts that show a failure: how often it was repeated word for word."""
        return mean_or_zero([o.is_copied_failure for o in self.written if o.is_copied_failure is not None])

    def changes(self, other: Reading) -> list[float]:
        """By how much `other` is right more often: for each problem the mean over cases that both have a verdict of."""
        found: dict[str, list[float]] = {}
        for mine, theirs in zip(self.outcomes, other.outcomes, strict=False):
            if mine is None or theirs is None or mine.is_right is None or theirs.is_right is None:
                continue
            found.setdefault(mine.problem_id, []).append(float(theirs.is_right) - float(mine.is_right))
        return [mean_or_zero(changes) for changes in found.values()]

    def behind(self, other: Reading) -> tuple[float, tuple[float, float]]:
        """By how much `other` is right more often, problems weighted alike, with the paired 95 % interval."""
        changes = self.changes(other)
        return mean_or_zero(changes), bootstrap_interval(changes) if changes else (-1.0, 1.0)

    def as_json(self) -> dict[str, Any]:
        """For preflight.json."""
        return {
            "recipe": None if self.recipe is None else self.recipe.as_json(),
            "name": self.name,
            "accuracy": self.mean,
            "accuracy_interval": list(self.interval),
            "contexts": len(self.judged),
            "grader_failed": len(self.written) - len(self.judged),
            "copied_success_share": self.copied_success_share,
            "copied_failure_share": self.copied_failure_share,
            "tokens_mean": mean_or_zero([outcome.tokens for outcome in self.written]),
            "over_budget": self.over_budget_count,
        }


def choose(readings: Sequence[Reading]) -> tuple[Reading, str]:
    """The recipe that makes the best teacher, and why.

    Of recipes that are not clearly worse than the best (paired interval), the fuller one is taken: more peers say more.
    One with failures is taken only where it is right at least as often as the best without: a student that cannot read
    failures is led into them. Where a contrast of teachers is among them, it is taken: its target is not bound by how
    well one teacher reads, and on average it taught no less wherever both were run (decisions 27, 28). None of its
    teachers reads failures beside successes.
    """
    best = max(readings, key=lambda reading: (reading.mean, _fullness(reading)))
    clean = [reading.mean for reading in readings if reading.recipe is not None and not _failures(reading)]
    floor = max(clean, default=0.0)
    as_good = [
        reading
        for reading in readings
        if reading is best
        or (
            reading.behind(best)[1][0] <= 0
            and len(reading.outcomes) == len(best.outcomes)
            and (not _failures(reading) or reading.mean >= floor)
        )
    ]
    chosen = max(as_good, key=lambda reading: (_is_contrast(reading), _fullness(reading), reading.mean))
    if _is_contrast(chosen):
        told = "" if chosen is best else f", not clearly worse than {best.name} (right in {best.counted})"
        return chosen, f"the one that reads the success is right in {chosen.counted}{told}"
    if chosen is best:
        return chosen, f"right most often, in {best.counted}"
    return chosen, f"fuller than {best.name} (right in {best.counted}) and not clearly worse ({chosen.counted})"


def _fullness(reading: Reading) -> int:
    return 0 if reading.recipe is None else reading.recipe.count


def _failures(reading: Reading) -> int:
    """Failures that are read beside successes."""
    return 0 if reading.recipe is None or reading.recipe.contrast else reading.recipe.failures


def _is_contrast(reading: Reading) -> bool:
    return reading.recipe is not None and reading.recipe.contrast
