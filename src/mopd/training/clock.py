"""A step's clock that knows when the step may be given up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mopd.runs.progress import Phase
from mopd.runs.stopping import Stopping
from mopd.training.step import StepClock


class StoppingClock(StepClock):
    """Holds SIGTERM from when weights may move; before that, ranks stop together where a phase begins."""

    def __init__(self, phase: Phase, stopping: Stopping) -> None:
        super().__init__(phase)
        self._stopping = stopping

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Count the block's seconds under `name`."""
        if name in ("teacher", "student", "update"):
            self._stopping.hold()
        elif name in ("sample", "verify", "contexts"):
            self._stopping.poll()
        with super().__call__(name):
            yield
