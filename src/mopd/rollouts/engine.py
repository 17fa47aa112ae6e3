"""What an engine is: requests in, rollouts out, by the weights that it was last synchronised with.

One engine is built for each run and handed to all that generates: training, evaluation, reading of contexts, the
warm-up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

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
    requests = [SamplingRequest(tuple(encode(problem.messages)), count, key(problem)) for problem in problems]
    rollouts = engine.sample(requests, sampling, on_batch)
    return [
        Group(step, problem, request.prompt_ids, tuple(found), success_reward=success_reward)
        for problem, request, found in zip(problems, requests, rollouts, strict=True)
    ]
