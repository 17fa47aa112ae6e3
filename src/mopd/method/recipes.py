"""Recipes of peers: what a context shows, and which of them are measured. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mopd.config import Config, ContrastConfig, DistillObjective, TemplateConfig
from mopd.core.errors import RunError
from mopd.method.contexts import ENGLISH, template_of

Order = Literal["failures_first", "successes_first", "shuffled"]
Wording = Literal["own", "peers_behind", "peers_first", "peers_as_turns"]

_SAID: dict[Wording, str] = {
    "own": "",
    "peers_behind": ", behind the problem",
    "peers_first": ", before the problem",
    "peers_as_turns": ", as turns",
}
Control = Literal["random_peer", "unrelated_problem"]

TRIED: tuple[Wording, ...] = ("peers_behind", "peers_first")
"""Wordings among which a run finds its own. Behind peers as turns a student is right most often, by copying, and was
seen to learn no more."""

BOTH: tuple[Order, ...] = ("failures_first", "successes_first")

COUNTS = ((1, 0), (2, 0), (0, 1), (1, 1), (2, 1))
"""Successes and failures of the contexts that a student may be tried on, the leanest first."""


@dataclass(frozen=True)
class Recipe:
    """How many peers a context shows at most, in which order, and in which wording (`own`: the configured one, else the
    student's); whether there are two teachers instead, of which one reads a success and one a failure; and, to be
    measured beside others, the verifier's feedback always, or a control's texts. Without these two, feedback and
    control are the configuration's."""

    successes: int
    failures: int
    order: Order
    wording: Wording = "own"
    contrast: bool = False
    feedback: bool = False
    control: Control | None = None

    @property
    def count(self) -> int:
        """Peers shown at most."""
        return self.successes + self.failures

    @property
    def name(self) -> str:
        """As in "2S1F, failures first, behind the problem"."""
        wording = _SAID[self.wording]
        if not self.count:
            return f"feedback alone{wording}" if self.feedback else "no peers"
        order = f", {self.order.replace('_', ' ')}" if self.failures else ""
        peers = "1S against 1F" if self.contrast else f"{self.successes}S{self.failures}F{order}"
        control = {None: "", "random_peer": ", random peers", "unrelated_problem": ", another problem's peers"}
        feedback = ", with feedback" if self.feedback else ""
        return f"{peers}{wording}{feedback}{control[self.control]}"

    def applied(self, config: Config) -> Config:
        """The configuration under this recipe."""
        peers = {"recipe": "fixed", "successes": self.successes, "failures": self.failures}
        peers |= {} if self.successes else {"require_success": False}
        peers |= {} if self.control is None else {"control": self.control}
        wording = {} if self.wording == "own" else {"wording": self.wording}
        feedback = {"feedback": "always"} if self.feedback else {}
        context = {"order": self.order, **wording, **feedback}
        objective = config.objective
        if self.contrast and isinstance(objective, DistillObjective) and objective.contrast is None:
            objective = objective.model_copy(update={"contrast": ContrastConfig()})
        return config.model_copy(
            update={
                "objective": objective,
                "peers": config.peers.model_copy(update=peers),
                "context": config.context.model_copy(update=context),
            }
        )

    @property
    def lines(self) -> str:
        """What a configuration says to fix it."""
        return ", ".join(self.settings)

    @property
    def settings(self) -> list[str]:
        """The same one by one, as overrides."""
        told = [f"peers.successes = {self.successes}", f"peers.failures = {self.failures}"]
        told += [] if self.successes else ["peers.require_success = false"]
        told += ["objective.contrast = {}"] if self.contrast else []
        told += [f"context.order = '{self.order}'"] if self.failures else []
        told += [] if self.wording == "own" else [f"context.wording = '{self.wording}'"]
        return told + (["context.feedback = 'always'"] if self.feedback else [])

    def as_json(self) -> dict[str, Any]:
        """As a record has it, from which `Recipe(**record)` is made again."""
        kept = {"successes": self.successes, "failures": self.failures, "order": self.order, "wording": self.wording}
        kept |= {"contrast": True} if self.contrast else {}
        kept |= {"feedback": True} if self.feedback else {}
        return kept | ({} if self.control is None else {"control": self.control})


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
    """Whether the recipe is the configuration's; a contrast of teachers that is configured has one of its own."""
    return config.peers.recipe == "fixed" or config.contrast is not None


def candidates(config: Config, template: TemplateConfig) -> list[Recipe]:
    """The recipes that are measured, the leanest first; where the recipe is fixed, that one before them.

    An external teacher may also read the problem alone; where it is told to, nothing else is measured. `template` is
    the student's wording where the configuration has none.
    """
    order = config.context.order
    orders = BOTH if order == "auto" else (order,)
    peers, most = config.peers, config.group_size - 1
    if is_fixed(config):
        own = Recipe(peers.successes, peers.failures, orders[0], contrast=config.contrast is not None)
        if config.contrast is not None or (config.is_taught_by_another and not own.count):
            return [own]
        counts = [(1, 0), (2, 0), (1, 1), (2, 1)]
    else:
        own = None
        counts = [(s, f) for f in dict.fromkeys((0, peers.failures)) for s in dict.fromkeys((1, peers.successes)) if s]
    alone = [Recipe(0, 0, orders[0])] if config.is_taught_by_another else []
    found = alone + [
        Recipe(successes, failures, order, wording)
        for wording in _wordings(config, template)
        for successes, failures in counts
        for order in (orders if failures else orders[:1])
        if successes + failures <= most
    ]
    if own is not None:
        return [own, *(r for r in found if _shown(r) != _shown(own))]
    return found + (contrasts(config, template) if config.peers.recipe == "auto" else [])


def contrasts(config: Config, template: TemplateConfig) -> list[Recipe]:
    """A contrast of teachers in each wording that is tried; none where the run could not learn from one.

    It was measured for a student that is its own teacher alone. Reverse KL is infinite where the target has no
    probability, which is most of the vocabulary.
    """
    peers = config.peers
    is_shown = peers.successes and peers.failures and peers.require_success and peers.show_failures == "always"
    is_finite = config.divergence.kind not in ("reverse_kl", "sampled_reverse_kl")
    if config.is_taught_by_another or not is_shown or not is_finite or config.group_size < 3:
        return []
    order = "failures_first" if config.context.order == "auto" else config.context.order
    return [Recipe(1, 1, order, wording, contrast=True) for wording in _wordings(config, template)]


def expected(config: Config, template: TemplateConfig) -> Config:
    """The configuration under the recipe that a run is expected to find: a contrast, where it tries one."""
    is_open = config.objective.kind == "distill" and config.peers.recipe == "auto" and not is_fixed(config)
    tried = contrasts(config, template) if is_open else []
    return tried[0].applied(config) if tried else config


def others(config: Config, template: TemplateConfig, found: Sequence[Recipe]) -> list[Recipe]:
    """What is worth knowing besides the recipes `found`: the rest of `COUNTS`, in both orders and all wordings.

    Nothing where one recipe alone can be measured: a contrast of teachers, an external teacher of the problem alone.
    """
    if config.contrast is not None or not any(recipe.count for recipe in found):
        return []
    known, most = {_shown(recipe) for recipe in found}, config.group_size - 1
    tried = contrasts(config, template) + [
        Recipe(successes, failures, order, wording)
        for wording in _wordings(config, template, (*TRIED, "peers_as_turns"))
        for successes, failures in COUNTS
        for order in (BOTH if successes and failures else BOTH[:1])
        if successes + failures <= most
    ]
    return [recipe for recipe in tried if _shown(recipe) not in known]


def _wordings(config: Config, template: TemplateConfig, tried: tuple[Wording, ...] = TRIED) -> tuple[Wording, ...]:
    """The configuration's, or the student's own where it is not English; else those that are tried."""
    is_given = template_of(config.context, template) is not ENGLISH or config.context.wording != "auto"
    return ("own",) if is_given else tried


def _shown(recipe: Recipe) -> tuple[object, ...]:
    """What a context of the recipe looks like: order tells nothing of one kind, and an unset wording is the one behind
    the problem."""
    order = recipe.order if recipe.successes and recipe.failures else None
    wording = "peers_behind" if recipe.wording == "own" else recipe.wording
    return recipe.successes, recipe.failures, None if recipe.contrast else order, wording, recipe.contrast
