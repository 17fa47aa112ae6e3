"""Recipes of peers, how a student read them, and which one makes the best teacher. Pure: `reading` measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from mopd.config import Config, TemplateConfig
from mopd.core.errors import RunError
from mopd.core.statistics import bootstrap_interval, mean_or_zero, wilson_interval
from mopd.method.contexts import ENGLISH, template_of

Order = Literal["failures_first", "successes_first", "shuffled"]
Wording = Literal["own", "peers_behind", "peers_first"]


@dataclass(frozen=True)
class Recipe:
    """How many peers a context shows at most, in which order, and in which wording (`own`: the configured one, else the
    student's)."""

    successes: int
    failures: int
    order: Order
    wording: Wording = "own"

    @property
    def count(self) -> int:
        """Peers shown at most."""
        return self.successes + self.failures

    @property
    def name(self) -> str:
        """As in "2S1F, failures first, behind the problem"."""
        if not self.count:
            return "no peers"
        order = f", {self.order.replace('_', ' ')}" if self.failures else ""
        wording = {"own": "", "peers_behind": ", behind the problem", "peers_first": ", before the problem"}
        return f"{self.successes}S{self.failures}F{order}{wording[self.wording]}"

    def applied(self, config: Config) -> Config:
        """The configuration under this recipe."""
        peers = {"recipe": "fixed", "successes": self.successes, "failures": self.failures}
        peers |= {} if self.successes else {"require_success": False}
        wording = {} if self.wording == "own" else {"wording": self.wording}
        context = {"order": self.order, **wording}
        return config.model_copy(
            update={
                "peers": config.peers.model_copy(update=peers),
                "context": config.context.model_copy(update=context),
            }
        )

    @property
    def lines(self) -> str:
        """What a configuration says to fix it."""
        order = f", context.order = '{self.order}'" if self.failures else ""
        wording = "" if self.wording == "own" else f", context.wording = '{self.wording}'"
        return f"peers.successes = {self.successes}, peers.failures = {self.failures}{order}{wording}"


@dataclass
class Reading:
    """How the student writes from one recipe's contexts, or from problems alone (`recipe` None): for each case whether
    it was right (None: its grader failed), and shares of copies. A recipe that was left early has fewer cases."""

    recipe: Recipe | None
    problems: list[str] = field(default_factory=list)
    right: list[bool | None] = field(default_factory=list)
    copied_success: list[bool] = field(default_factory=list)
    copied_failure: list[bool] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    over_budget_count: int = 0

    @property
    def name(self) -> str:
        """The recipe's."""
        return "the problem alone" if self.recipe is None else self.recipe.name

    @property
    def judged(self) -> list[bool]:
        """Without those whose grader failed."""
        return [right for right in self.right if right is not None]

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

    def behind(self, other: Reading) -> tuple[float, tuple[float, float]]:
        """By how much `other` is right more often on the cases that both have, with the paired 95 % interval."""
        changes: dict[str, list[float]] = {}
        for problem, mine, theirs in zip(self.problems, self.right, other.right, strict=False):
            if mine is not None and theirs is not None:
                changes.setdefault(problem, []).append(float(theirs) - float(mine))
        by_problem = [mean_or_zero(found) for found in changes.values()]
        return mean_or_zero(by_problem), bootstrap_interval(by_problem) if by_problem else (-1.0, 1.0)

    def as_json(self) -> dict[str, Any]:
        """For preflight.json."""
        return {
            "recipe": None if self.recipe is None else asdict(self.recipe),
            "name": self.name,
            "accuracy": self.mean,
            "accuracy_interval": list(self.interval),
            "contexts": len(self.judged),
            "grader_failed": len(self.right) - len(self.judged),
            "copied_success_share": mean_or_zero(self.copied_success),
            "copied_failure_share": mean_or_zero(self.copied_failure),
            "tokens_mean": mean_or_zero(self.tokens),
            "over_budget": self.over_budget_count,
        }


def in_force(config: Config, found: Mapping[str, Any]) -> Config:
    """The configuration under the recipe that a preflight.json holds; as it is, where the recipe is its own.

    Raises RunError where the recipe was to be found and is not there.
    """
    if found.get("recipe") is not None:
        return Recipe(**found["recipe"]).applied(config)
    if config.objective.kind == "distill" and not is_fixed(config):
        raise RunError(
            "a run whose recipe of peers was measured has it in preflight.json",
            "preflight.json has no recipe",
            "restore preflight.json from a backup, or begin a new run from its last checkpoint (student=...)",
        )
    return config


def is_fixed(config: Config) -> bool:
    """Whether the recipe is the configuration's; a contrast of teachers has one of its own."""
    return config.peers.recipe == "fixed" or (
        config.objective.kind == "distill" and config.objective.contrast is not None
    )


def candidates(config: Config, template: TemplateConfig) -> list[Recipe]:
    """The recipes that are measured, the leanest first; where the recipe is fixed, that one before them.

    An external teacher may also read the problem alone; where it is told to, nothing else is measured. `template` is
    the student's wording where the configuration has none.
    """
    order = config.context.order
    orders: tuple[Order, ...] = ("failures_first", "successes_first") if order == "auto" else (order,)
    peers, most = config.peers, config.group_size - 1
    is_given = template_of(config.context, template) is not ENGLISH or config.context.wording != "auto"
    wordings: tuple[Wording, ...] = ("own",) if is_given else ("peers_behind", "peers_first")
    if is_fixed(config):
        own = Recipe(peers.successes, peers.failures, orders[0])
        is_contrast = config.objective.kind == "distill" and config.objective.contrast is not None
        if is_contrast or (config.is_taught_by_another and not own.count):
            return [own]
        counts = [(1, 0), (2, 0), (1, 1), (2, 1)]
    else:
        own = None
        counts = [(s, f) for f in dict.fromkeys((0, peers.failures)) for s in dict.fromkeys((1, peers.successes)) if s]
    alone = [Recipe(0, 0, orders[0])] if config.is_taught_by_another else []
    found = alone + [
        Recipe(successes, failures, order, wording)
        for wording in wordings
        for successes, failures in counts
        for order in (orders if failures else orders[:1])
        if successes + failures <= most
    ]
    return found if own is None else [own, *(r for r in found if not _is_same(r, own))]


def _is_same(recipe: Recipe, own: Recipe) -> bool:
    """Whether a recipe is the fixed one, whose unset wording is the one behind the problem."""
    counts = (recipe.successes, recipe.failures) == (own.successes, own.failures)
    return counts and recipe.order == own.order and recipe.wording != "peers_first"


def choose(readings: Sequence[Reading]) -> tuple[Reading, str]:
    """The recipe that makes the best teacher, and why.

    Of recipes that are not clearly worse than the best (paired interval), the fuller one is taken: more peers say more.
    One with failures is taken only where it is right at least as often as the best without: a student that cannot read
    failures is led into them.
    """
    best = max(readings, key=lambda reading: (reading.mean, _fullness(reading)))
    clean = [reading.mean for reading in readings if reading.recipe is not None and not reading.recipe.failures]
    floor = max(clean, default=0.0)
    as_good = [
        reading
        for reading in readings
        if reading is best
        or (
            reading.behind(best)[1][0] <= 0
            and len(reading.right) == len(best.right)
            and (not _failures(reading) or reading.mean >= floor)
        )
    ]
    chosen = max(as_good, key=lambda reading: (_fullness(reading), reading.mean))
    if chosen is best:
        return chosen, f"right most often, in {best.counted}"
    return chosen, f"fuller than {best.name} (right in {best.counted}) and not clearly worse ({chosen.counted})"


def _fullness(reading: Reading) -> int:
    return 0 if reading.recipe is None else reading.recipe.count


def _failures(reading: Reading) -> int:
    return 0 if reading.recipe is None else reading.recipe.failures
