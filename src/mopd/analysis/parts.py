"""Rewards and diversity over the parts of a run: all of it, its first and last quarter, and evaluations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mopd.analysis.diversity import DIVERSITY, diversity_of
from mopd.analysis.formats import Attempt
from mopd.analysis.groups import Groups, Seen, evenly, outcomes
from mopd.analysis.rollout_files import FileGroups
from mopd.core.seeding import derive_rng
from mopd.core.signals import OfProblems, differences, over_problems
from mopd.core.statistics import mean_or_zero
from mopd.core.types import Group, Message
from mopd.runs.progress import ProgressDisplay

MOST_GROUPS = 200
"""Groups of a part whose texts are compared at most, evenly over it."""

MOST_TEXTS = 64
"""Completions of a group that are compared at most, drawn by seed: there are as many pairs as their square."""

REWARDS = ("success_share", "reward_mean")


@dataclass
class Part:
    """Some groups of a run: how many, how they ended, and a value for each measure and problem."""

    name: str
    seen: Sequence[Seen]
    read: int
    values: dict[str, list[tuple[str, float | None]]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Counts, and each measure's mean over problems with its interval."""
        return {
            "name": self.name,
            "groups": len(self.seen),
            "compared": self.read,
            "outcomes": outcomes(self.seen),
            "measures": {name: over_problems(values).as_json() for name, values in self.values.items()},
        }


def measure(name: str, groups: Groups, places: Sequence[int], seed: int, progress: ProgressDisplay) -> Part:
    """One part: rewards of all its groups, diversity of at most `MOST_GROUPS` of them."""
    chosen = evenly(places, MOST_GROUPS, derive_rng(seed, "diversity", name))
    part = Part(name, [groups.seen[place] for place in places], len(chosen))
    part.values = {name: [] for name in (*REWARDS, *DIVERSITY)}
    for one in part.seen:
        for of, total in zip(REWARDS, (one.right, one.reward_sum), strict=True):
            part.values[of].append((one.problem, total / one.judged if one.judged else None))
    with progress.phase(f"compare texts ({name})", len(chosen)) as phase:
        for place, group in groups.read(chosen):
            for measured, value in diversity_of(_texts(group, seed)).items():
                part.values[measured].append((groups.seen[place].problem, value))
            phase.advance()
    return part


def _texts(group: Group, seed: int) -> list[str]:
    texts = [rollout.text for rollout in group.rollouts]
    if len(texts) <= MOST_TEXTS:
        return texts
    return derive_rng(seed, "texts", group.step, group.problem.id).sample(texts, MOST_TEXTS)


def parts_of_training(groups: Groups, seed: int, progress: ProgressDisplay) -> list[Part]:
    """All groups, and where at least two steps are recorded those of the first and of the last quarter of them."""
    parts = [measure("all", groups, range(len(groups.seen)), seed, progress)]
    steps = sorted({one.step for one in groups.seen if one.step is not None})
    quarter = max(1, len(steps) // 4)
    if len(steps) > 1:
        for name, chosen in (("early", {*steps[:quarter]}), ("late", {*steps[-quarter:]})):
            places = [place for place, one in enumerate(groups.seen) if one.step in chosen]
            parts.append(measure(name, groups, places, seed, progress))
    return parts


def parts_of_evaluations(
    folder: Path, success_reward: float, seed: int, progress: ProgressDisplay
) -> tuple[list[Part], list[str]]:
    """The first and the last evaluation whose completions are kept, and what of them cannot be read."""
    files = sorted(folder.glob("step-*.jsonl"), key=lambda path: (len(path.name), path.name))
    parts, unread = [], []
    for path in [*files[:1], *files[1:][-1:]]:
        groups = FileGroups([path], _attempt, success_reward)
        unread += groups.unread
        parts.append(measure(f"evaluation {path.stem}", groups, range(len(groups.seen)), seed, progress))
    return parts, unread


def _attempt(row: Mapping[str, Any]) -> Attempt:
    """A line of evaluations/step-N.jsonl."""
    messages = tuple(Message(role=turn["role"], content=turn["content"]) for turn in row["prompt"])
    reward = None if row["kind"] == "error" else float(row["reward"])
    return Attempt(None, str(row["problem_id"]), messages, row["completion"], reward, row["kind"])


def changes(parts: Iterable[Part], first: str, second: str) -> dict[str, Any] | None:
    """The second part minus the first, of each measure, paired on the problems that both have; None without both."""
    found = {part.name: part for part in parts}
    if first not in found or second not in found or first == second:
        return None
    measures = {}
    for name in (*REWARDS, *DIVERSITY):
        before, after = (_by_problem(found[part].values[name]) for part in (first, second))
        common = [problem for problem in before if problem in after]
        pairs = [[(problem, side[problem]) for problem in common] for side in (before, after)]
        measures[name] = over_problems(differences(*pairs)).as_json()
    return {"from": first, "to": second, "measures": measures}


def _by_problem(values: OfProblems) -> dict[str, float | None]:
    """Each problem's mean over its groups; None where all of them are undefined."""
    found: dict[str, list[float]] = {}
    for problem, value in values:
        found.setdefault(problem, []).extend([] if value is None else [value])
    return {problem: mean_or_zero(defined) if defined else None for problem, defined in found.items()}
