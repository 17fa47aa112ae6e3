"""The student's own attempts at training problems, before the first step: what peers there are to show."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mopd.config import Config
from mopd.core.seeding import derive_rng
from mopd.core.types import Group, Problem
from mopd.preflight.setup import Setup
from mopd.rollouts.engine import sample_groups
from mopd.runs.progress import ProgressDisplay

KINDS = ("mixed", "solved", "failed")
"""Of groups: solved in some attempts and failed in others, solved in all, failed in all."""

A_PROBLEM = 2
"""Contexts of one problem: more would be more alike than they are worth."""


@dataclass(frozen=True)
class Attempts:
    """The student's own attempts at training problems: verified groups, and those of them that are mixed."""

    groups: Sequence[Group]

    @cached_property
    def kinds(self) -> list[str]:
        """Of each group: `mixed`, `solved` or `failed`, as a whole."""
        return [_kind(group) for group in self.groups]

    @property
    def mixed(self) -> list[Group]:
        """Groups of problems that were solved in some attempts and failed in others."""
        return [group for group, kind in zip(self.groups, self.kinds, strict=True) if kind == "mixed"]

    @property
    def verdicts(self) -> dict[str, int]:
        """How many attempts had a verdict of each kind, the most frequent first."""
        return dict(Counter(verdict.kind for group in self.groups for verdict in group.verdicts).most_common())

    def as_json(self) -> dict[str, Any]:
        """How many groups there are of each kind."""
        return {"attempted": len(self.groups)} | {kind: self.kinds.count(kind) for kind in KINDS}


def attempt(setup: Setup, progress: ProgressDisplay, needs_mixed: bool) -> Attempts:
    """Verified groups of training problems in a seeded order, until enough (mixed, where needed) were attempted."""
    config, student = setup.config, setup.student
    asked = _some_problems(setup.problems.train, config)
    wanted = math.ceil(config.preflight.contexts / A_PROBLEM)
    groups: list[Group] = []
    setup.engine.sync(student.model)
    with progress.phase("preflight: attempts", len(asked)) as phase:
        for begin in range(0, len(asked), config.problems_per_step):
            batch = sample_groups(
                setup.engine,
                student.tokenizer.encode_prompt,
                asked[begin : begin + config.problems_per_step],
                config.group_size,
                config.sampling,
                key=lambda problem: (config.seed, "preflight", problem.id),
                success_reward=config.success_reward,
            )
            groups += setup.judge(batch, 0)[0]
            phase.advance(len(batch))
            if sum(not needs_mixed or _kind(group) == "mixed" for group in groups) >= wanted:
                break
    return Attempts(groups)


def _some_problems(train: Sequence[Problem], config: Config) -> list[Problem]:
    rng = derive_rng(config.seed, "preflight", "problems")
    return rng.sample(list(train), min(config.preflight.problems, len(train)))


def _kind(group: Group) -> str:
    found = {group.is_success(r.index) for r in group.rollouts if group.verdicts[r.index].kind != "error"}
    return "mixed" if len(found) == 2 else "solved" if True in found else "failed"
