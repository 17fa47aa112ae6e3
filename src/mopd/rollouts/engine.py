"""What an engine is: requests in, rollouts out, by the weights that it was last synchronised with.

One engine is built for each run and handed to all that generates: training, evaluation, reading of contexts, the
warm-up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from mopd.config import Sampling
from mopd.core.types import Group, Messages, Problem, Rollout

RolloutKey = tuple[int | str, ...]
"""What a rollout's randomness is for: (seed, purpose, step, problem id)."""


@dataclass(frozen=True, slots=True)
class SamplingRequest:
    """`count` completions of one prompt; rollout j draws its randomness from (*key, j)."""

    prompt_ids: tuple[int, ...]
    count: int
    key: RolloutKey


def tell_nobody(rollouts: int) -> None:
    """For callers that show no progress."""


class Engine(Protocol):
    """Turns requests into rollouts."""

    def sync(self, model: Any) -> None:
        """Take over the weights of `model`, the student or its teacher, as they are now."""
        ...

    def sample(
        self, requests: Sequence[SamplingRequest], sampling: Sampling, on_batch: Callable[[int], None] = tell_nobody
    ) -> list[list[Rollout]]:
        """For each request its rollouts, in order. `on_batch(n)` is told of n finished rollouts."""
        ...

    def take_metrics(self) -> dict[str, float]:
        """What there is to tell since it was last asked, as metrics."""
        ...


class BegunRollouts(Protocol):
    """Rollouts that are being written."""

    def result(self) -> list[list[Rollout]]:
        """The rollouts, waited for. Raises what writing them raised."""
        ...

    def end(self) -> None:
        """Break it off."""
        ...


@runtime_checkable
class EngineAhead(Engine, Protocol):
    """An engine that writes while the caller does something else."""

    def begin(self, requests: Sequence[SamplingRequest], sampling: Sampling) -> BegunRollouts:
        """As `sample`, with the weights as they are now. What is asked of the engine next waits for it."""
        ...


def requests_of(
    problems: Sequence[Problem],
    encode: Callable[[Messages], Sequence[int]],
    count: int,
    key: Callable[[Problem], RolloutKey],
) -> list[SamplingRequest]:
    """One request for `count` rollouts of each problem."""
    return [SamplingRequest(tuple(encode(problem.messages)), count, key(problem)) for problem in problems]


def groups_of(
    problems: Sequence[Problem],
    requests: Sequence[SamplingRequest],
    rollouts: Sequence[Sequence[Rollout]],
    step: int = 0,
    success_reward: float = 1.0,
) -> list[Group]:
    """One unverified group for each problem."""
    return [
        Group(step, problem, request.prompt_ids, tuple(found), success_reward=success_reward)
        for problem, request, found in zip(problems, requests, rollouts, strict=True)
    ]


def sample_groups(
    engine: Engine,
    encode: Callable[[Messages], Sequence[int]],
    problems: Sequence[Problem],
    count: int,
    sampling: Sampling,
    *,
    key: Callable[[Problem], RolloutKey],
    step: int = 0,
    success_reward: float = 1.0,
    on_batch: Callable[[int], None] = tell_nobody,
) -> list[Group]:
    """One unverified group of `count` rollouts for each problem, sampled by the engine's weights as they are."""
    requests = requests_of(problems, encode, count, key)
    return groups_of(problems, requests, engine.sample(requests, sampling, on_batch), step, success_reward)
