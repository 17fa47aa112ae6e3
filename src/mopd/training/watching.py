"""What a caller in Python is told of a run while it trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from mopd.core.types import Group
from mopd.training.step import StepResult


@dataclass(frozen=True, slots=True)
class StepDone:
    """One step of a run, done and recorded: its number from 0, its metrics as metrics.jsonl has them, its groups."""

    step: int
    metrics: Mapping[str, float]
    groups: Sequence[Group]

    @classmethod
    def of(cls, step: int, result: StepResult) -> StepDone:
        """A view that cannot change what the run goes on with."""
        return cls(step, MappingProxyType(dict(result.metrics)), tuple(result.groups))


OnStep = Callable[[StepDone], object]
"""Called after every step; what it returns is ignored."""
