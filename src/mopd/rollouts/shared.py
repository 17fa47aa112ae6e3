"""An engine whose requests are shared out over the processes of a run: each samples some, and all get every rollout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mopd.config import Sampling
from mopd.core.types import Rollout
from mopd.parallel.ranks import Ranks
from mopd.parallel.sharing import shared_out
from mopd.rollouts.engine import Engine, SamplingRequest, tell_nobody


class SharedEngine:
    """The engine of one rank, as part of all: a request, which is a whole group, is sampled by one of them.

    What a rollout draws depends on its request alone, so who samples it changes nothing.
    """

    def __init__(self, engine: Engine, ranks: Ranks) -> None:
        self.engine, self.ranks = engine, ranks

    def sync(self, model: Any) -> None:
        """Take over the weights of `model`, in every rank."""
        self.engine.sync(model)

    def sample(
        self, requests: Sequence[SamplingRequest], sampling: Sampling, on_batch: Callable[[int], None] = tell_nobody
    ) -> list[list[Rollout]]:
        """For each request its rollouts, in every rank. `on_batch` is told of this rank's as they come."""
        shares = shared_out([request.count for request in requests], self.ranks.size)
        own = shares[self.ranks.rank]
        sampled = self.engine.sample([requests[index] for index in own], sampling, on_batch)
        on_batch(sum(r.count for r in requests) - sum(requests[index].count for index in own))
        found: list[list[Rollout]] = [[] for _ in requests]
        for share, of_rank in zip(shares, self.ranks.gather(sampled), strict=True):
            for index, rollouts in zip(share, of_rank, strict=True):
                found[index] = rollouts
        return found

    def take_metrics(self) -> dict[str, float]:
        """What the engines of all ranks have to tell, added up."""
        return self.ranks.sum_numbers(self.engine.take_metrics())


def shared_engine(engine: Engine, ranks: Ranks) -> Engine:
    """The engine as all ranks have it together; itself where there is one."""
    return engine if ranks.size == 1 else SharedEngine(engine, ranks)
