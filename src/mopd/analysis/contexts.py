"""The contexts in which recorded rollouts are scored: `base`, recipes as in 2S1F, the rollout's feedback, controls."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mopd.analysis.opened import Models
from mopd.config import Config, DistillObjective
from mopd.core.errors import ConfigError
from mopd.core.types import Context, Group, Peers
from mopd.method.lessons import LessonMaker
from mopd.method.recipes import Control, Recipe

Reason = Literal["no_peers", "no_feedback", "over_budget", "too_long", "no_tokens", "not_encoded", "not_finite"]
"""Why a rollout is not scored in a context."""

TEACHING = ("1S", "2S", "1F", "1S1F", "2S1F", "feedback", "random_peer", "unrelated_problem", "successes_only")
DEFAULT = ("base", *TEACHING)

_RECIPE = re.compile(r"(?=\d)(?:(\d{1,3})S)?(?:(\d{1,3})F)?")


@dataclass(frozen=True)
class Shown:
    """What a context shows: how many peers of each kind at most, under which control, or the rollout's own feedback."""

    name: str
    successes: int = 0
    failures: int = 0
    control: Control | None = None
    is_feedback: bool = False


CONTROLS = {
    "random_peer": Shown("random_peer", 2, 1, "random_peer"),
    "unrelated_problem": Shown("unrelated_problem", 2, 1, "unrelated_problem"),
    "successes_only": Shown("successes_only", 3, 0),
}
"""With as many blocks as 2S1F: filled whatever the verdict, from other problems, or with a success for the failure."""


def parse(names: Sequence[str]) -> list[Shown]:
    """Contexts by their names, each once. Raises ConfigError."""
    return [_parse(name) for name in dict.fromkeys(name.strip() for name in names)]


def _parse(name: str) -> Shown:
    if name in CONTROLS:
        return CONTROLS[name]
    if name in ("base", "feedback"):
        return Shown(name, is_feedback=name == "feedback")
    found = _RECIPE.fullmatch(name)
    successes, failures = (int(found[i] or 0) if found else 0 for i in (1, 2))
    if not successes + failures:
        raise ConfigError(
            "--contexts names contexts: base, feedback, how many successes and failures are shown (as in 2S1F), "
            f"{', '.join(CONTROLS)}",
            f"--contexts with {name!r}",
            "change it",
        )
    return Shown(name, successes, failures)


class ContextMaker:
    """Makes contexts of one kind, by the run's own machinery and wording, whatever its own recipe is."""

    def __init__(self, shown: Shown, models: Models) -> None:
        self.shown = shown
        self.maker = LessonMaker(applied(shown, models.config), models.maker.encode, models.student.template)

    def of(self, group: Group, index: int, groups: Sequence[Group]) -> tuple[Context, Peers] | Reason:
        """The context of a rollout with its peers, or why there is none.

        A recipe shows as many peers as there are, of each kind that it has at least one. `groups` are those that peers
        of other problems are taken from.
        """
        feedback = group.verdicts[index].feedback if self.shown.is_feedback else ""
        if self.shown.is_feedback and not feedback:
            return "no_feedback"
        wanted = {kind for kind in ("success", "failure") if getattr(self.shown, COUNTS[kind])}
        peers = self.maker.choose(group, index, groups) if wanted else Peers()
        if any(not getattr(peers, COUNTS[kind]) for kind in wanted):
            return "no_peers"
        context = self.maker.render(group, index, peers, feedback)
        asked = {*wanted, "feedback"} if feedback else wanted
        if asked - {block.kind for block in context.blocks}:
            return "over_budget"
        return context, peers


COUNTS = {"success": "successes", "failure": "failures"}


def applied(shown: Shown, config: Config) -> Config:
    """The configuration that shows just these peers, to every rollout that has them."""
    order = config.context.order
    recipe = Recipe(shown.successes, shown.failures, "failures_first" if order == "auto" else order)
    found = recipe.applied(config)
    peers = {"require_success": False, "show_failures": "always", "control": shown.control or "none"}
    return found.model_copy(
        update={
            "objective": DistillObjective(),
            "peers": found.peers.model_copy(update=peers),
            "context": found.context.model_copy(update={"feedback": "never"}),
        }
    )
