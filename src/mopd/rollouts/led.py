"""An engine of servers for a run of several processes: the first one speaks to the servers, for all of them.

Weights are then pushed once, and no process finds that another has changed them under its requests. The work is the
servers', so nothing is lost by it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mopd.config import Sampling
from mopd.core.types import Rollout
from mopd.parallel.ranks import Ranks
from mopd.parallel.sharded import gathered, ranks_of
from mopd.rollouts.engine import SamplingRequest, tell_nobody
from mopd.rollouts.served import ServedEngine


class LedEngine:
    """`engine` in the first rank, None in the others; what it gives is given to all."""

    def __init__(self, engine: ServedEngine | None, ranks: Ranks) -> None:
        self.engine, self.ranks = engine, ranks
        self.window = ranks.first(lambda: self._own.window)

    @property
    def _own(self) -> ServedEngine:
        assert self.engine is not None
        return self.engine

    def sync(self, model: Any) -> None:
        """Write the weights of `model` as they are now; of one that is split all ranks gather them."""
        state = gathered(model, self.ranks) if ranks_of(model).size > 1 else None
        self.ranks.first(lambda: self._own.sync(model, state))

    def sample(
        self, requests: Sequence[SamplingRequest], sampling: Sampling, on_batch: Callable[[int], None] = tell_nobody
    ) -> list[list[Rollout]]:
        """For each request its rollouts, in every rank."""
        return self.ranks.first(lambda: self._own.sample(requests, sampling, on_batch))

    def take_metrics(self) -> dict[str, float]:
        """As the first rank's engine tells them."""
        return self.ranks.first(lambda: self._own.take_metrics())
