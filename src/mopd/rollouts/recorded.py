"""Steps of decoding that a GPU plays back: recorded once as a CUDA graph, then launched whole.

A step for a small model is hundreds of short kernels. Launched one by one from Python they take several times as long
as they compute. A graph holds fixed shapes and addresses, so rows that finish stay in the batch until half have, and
the room for written tokens grows by doubling; each such change is recorded anew.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol
from weakref import WeakSet

import torch
from torch import Tensor

LEAVE_AT = 0.5
"""Rows that have finished leave the batch once no more than this share of it is still being written."""

Play = Callable[[], Tensor]
"""Computes what was recorded from what lies in its places now; always gives the same tensor, filled anew."""


class FixedShapes(Protocol):
    """A decoder whose `compute` uses the same shapes and addresses until `keep` is called or `room` changes."""

    logits: Tensor
    room: int
    device: torch.device

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows only."""

    def make_room(self) -> None:
        """Count one more token a row."""

    def compute(self, tokens: Tensor) -> Tensor:
        """The logits behind tokens [rows]."""


class RecordedDecoder:
    """A decoder whose steps are played back from a recording.

    `record(compute)` records what a call of `compute` does, without doing it.
    """

    def __init__(self, decoder: FixedShapes, record: Callable[[Callable[[], Tensor]], Play]) -> None:
        self.decoder, self.record = decoder, record
        self.logits = decoder.logits
        self._play: Play | None = None
        self._has_run = False
        self._begin(len(decoder.logits))

    def _begin(self, rows: int) -> None:
        """A batch of this many rows, all being written."""
        self.writing = torch.arange(rows, device=self.decoder.device)
        self.tokens = torch.zeros(rows, dtype=torch.long, device=self.decoder.device)
        self._is_current = False

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows only. Others may be computed on for a while; what they give is left out."""
        self.writing = self.writing[rows.to(self.writing.device)]
        if len(self.writing) <= LEAVE_AT * len(self.tokens):
            self.decoder.keep(self.writing)
            self._begin(len(self.writing))

    def step(self, tokens: Tensor) -> Tensor:
        """The logits behind one more token a row."""
        self.tokens[self.writing] = tokens.to(self.tokens.device)
        room = self.decoder.room
        self.decoder.make_room()
        self._is_current &= self.decoder.room == room
        return self._compute()[self.writing]

    def _compute(self) -> Tensor:
        if not self._has_run:  # libraries prepare themselves in their first call, which no recording may hold
            self._has_run = True
            return self.decoder.compute(self.tokens)
        if self._play is None or not self._is_current:
            self._play = self.record(lambda: self.decoder.compute(self.tokens))
            self._is_current = True
        return self._play()


_UNRECORDABLE: WeakSet[Any] = WeakSet()


def can_record(model: Any) -> bool:
    """Whether decoding with this model may be recorded: on CUDA, unless recording it has failed before."""
    return bool(next(model.parameters()).is_cuda) and model not in _UNRECORDABLE


class GraphRecorder:
    """Records CUDA graphs one after another, each in the memory of the one before, which may not be played any more.

    Where the model cannot be recorded (it waits for the GPU, say), a recording is the computation itself.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.stream: torch.cuda.Stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self.memory = torch.cuda.graph_pool_handle()

    def __call__(self, compute: Callable[[], Tensor]) -> Play:
        """`compute` as a graph."""
        if not can_record(self.model):
            return compute
        graph, present = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        self.stream.wait_stream(present)
        try:
            with torch.cuda.stream(self.stream), _no_garbage_collection():
                graph.capture_begin(self.memory)
                try:
                    logits = compute()
                finally:
                    graph.capture_end()
        except RuntimeError as error:
            _UNRECORDABLE.add(self.model)
            text = f"decoding with this model cannot be recorded as a CUDA graph ({error}); it is as exact, and slower"
            warnings.warn(text, stacklevel=1)
            return compute
        present.wait_stream(self.stream)

        def play() -> Tensor:
            graph.replay()
            return logits

        return play


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Nothing that lies on the GPU may be freed while a graph is recorded."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
