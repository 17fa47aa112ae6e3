"""The rollouts of a run's steps: sampled when a step begins, or a step ahead of the learner (`engine.ahead`).

A rollout that was written ahead is by weights that are one update older than the learner's. Its log-probabilities are
those of the weights that wrote it, so that importance weights correct for it as they do for rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mopd.config import LocalEngineConfig
from mopd.core.types import Group, Problem
from mopd.preflight.setup import Setup
from mopd.rollouts.engine import BegunRollouts, EngineAhead, SamplingRequest, groups_of, requests_of


@dataclass(frozen=True)
class _Asked:
    """What a step asks of the engine."""

    problems: Sequence[Problem]
    requests: Sequence[SamplingRequest]


class Attempts:
    """Unverified groups, step by step. A run that is resumed samples its first step anew, by the weights it has."""

    def __init__(self, setup: Setup) -> None:
        self.setup, self.config = setup, setup.config
        engine = self.config.engine
        self.ahead = 0 if isinstance(engine, LocalEngineConfig) else engine.ahead
        self._begun: tuple[_Asked, BegunRollouts] | None = None

    def take(self, step: int) -> tuple[list[Group], dict[str, float]]:
        """The groups of a step, by the student as it is, or was one update ago; and how many, where that may be."""
        engine, sampling = self.setup.engine, self.config.sampling
        begun, self._begun = self._begun, None
        asked = self._asked(step) if begun is None else begun[0]
        rollouts = None if begun is None else begun[1].result()
        engine.sync(self.setup.student.model)
        if rollouts is None:
            rollouts = engine.sample(asked.requests, sampling)
        if self.ahead and step + 1 < self.config.steps:
            assert isinstance(engine, EngineAhead)
            later = self._asked(step + 1)
            self._begun = later, engine.begin(later.requests, sampling)
        groups = groups_of(asked.problems, asked.requests, rollouts, step, self.config.success_reward)
        return groups, {"importance/updates_behind": float(begun is not None)} if self.ahead else {}

    def _asked(self, step: int) -> _Asked:
        config = self.config
        problems = self.setup.problems.take(step, config.problems_per_step, config.seed)
        encode = self.setup.student.tokenizer.encode_prompt
        key = ("rollout", step)
        return _Asked(problems, requests_of(problems, encode, config.group_size, lambda p: (config.seed, *key, p.id)))

    def end(self) -> None:
        """Break off what is being written ahead: nobody will learn from it."""
        if self._begun is not None:
            self._begun[1].end()
            self._begun = None
