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
from mopd.serving.client import Work


class LedWork:
    """Rollouts that are being written, `work` in the first rank."""

    def __init__(self, work: Work[list[list[Rollout]]] | None, ranks: Ranks) -> None:
        self._work, self._ranks = work, ranks

    def result(self) -> list[list[Rollout]]:
        """The rollouts, in every rank, waited for."""
        return self._ranks.first(lambda: self._begun.result())

    def end(self) -> None:
        """Break it off; others need not know."""
        if self._work is not None:
            self._work.end()

    @property
    def _begun(self) -> Work[list[list[Rollout]]]:
        assert self._work is not None
        return self._work


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

    def begin(self, requests: Sequence[SamplingRequest], sampling: Sampling) -> LedWork:
        """The same, begun by the first rank."""
        return LedWork(self.ranks.only_first(lambda: self._own.begin(requests, sampling)), self.ranks)

    def take_metrics(self) -> dict[str, float]:
        """As the first rank's engine tells them."""
        return self.ranks.first(lambda: self._own.take_metrics())
