"""Recorded groups of a run or of somebody else's file: all of them counted, and some of them read."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

from mopd.core.types import Group
from mopd.runs.lines import Lines
from mopd.runs.records import rebuild_group


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of a group without its texts: `step` None where none is recorded, and its judged rollouts."""

    step: int | None
    problem: str
    judged: int
    right: int
    reward_sum: float

    @property
    def is_mixed(self) -> bool:
        """Whether it has a success and a failure."""
        return 0 < self.right < self.judged


class Groups(Protocol):
    """Groups that were recorded somewhere."""

    seen: list[Seen]
    unread: list[str]
    """What could not be read, in words, with how often."""
    is_whole: bool
    """Whether it is recorded which completions were cut at their limit, so that the others end with an end token."""

    def read(self, wanted: Sequence[int]) -> Iterator[tuple[int, Group]]:
        """Some of the groups by their places in `seen`, in ascending order of places or as they are found."""
        ...


class RunGroups:
    """The groups of groups.jsonl, one line each."""

    is_whole = True

    def __init__(self, path: Path, success_reward: float) -> None:
        """Count all groups, line by line. A missing log has none. Raises OSError."""
        self.success_reward = success_reward
        self.seen: list[Seen] = []
        self.lines = Lines.scan(path, self._see)
        self.unread = [f"{self.lines.damaged} lines of {path.name} cannot be read"] if self.lines.damaged else []

    def _see(self, row: Mapping[str, Any]) -> None:
        self.seen.append(seen(self._group(row)))

    def _group(self, row: Mapping[str, Any]) -> Group:
        """The group of a line; what an earlier version did not record has the value for nothing."""
        blank = {"token_count": 0, "answer": None, "feedback": ""}
        rollouts = [blank | rollout for rollout in row["rollouts"]]
        return rebuild_group({"domain": "default", **row, "rollouts": rollouts}, self.success_reward)

    def read(self, wanted: Sequence[int]) -> Iterator[tuple[int, Group]]:
        """Some of the groups, one at a time. Raises OSError."""
        for index in sorted(wanted):
            yield index, self._group(self.lines.read(index))


def seen(group: Group, step: int | None = None) -> Seen:
    """What is known of a group without its texts; its own step unless told."""
    judged = [rollout.index for rollout in group.rollouts if group.verdicts[rollout.index].kind != "error"]
    rewards = [float(group.verdicts[index].reward) for index in judged]
    right = sum(group.is_success(index) for index in judged)
    return Seen(group.step if step is None else step, str(group.problem.id), len(judged), right, sum(rewards))


def outcomes(groups: Sequence[Seen]) -> dict[str, int]:
    """How many groups are mixed, solved in all attempts, failed in all, or have no verdict."""
    found = {"mixed": 0, "solved": 0, "failed": 0, "unjudged": 0}
    for one in groups:
        kind = "mixed" if one.is_mixed else "unjudged" if not one.judged else "solved" if one.right else "failed"
        found[kind] += 1
    return found


def evenly(items: Sequence[int], count: int, rng: random.Random) -> list[int]:
    """`count` of them, one drawn from each part of equal size; all where there are no more."""
    if len(items) <= count:
        return list(items)
    cuts = [len(items) * part // count for part in range(count + 1)]
    return [items[rng.randrange(begin, end)] for begin, end in pairwise(cuts)]


def key_of(value: Any) -> str:
    """A name for any JSON value that is the same for equal values."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
