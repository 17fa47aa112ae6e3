"""torch.compile for decoder layers, and the seconds that it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from mopd.scoring.attention import decoder_layers, forwards_replaced


class LayerCompiler:
    """Compiles models' decoder layers; attention stays outside the graphs, which serve all layers and lengths.

    Compilation itself happens when a layer is first called, with gradients and without; `take_seconds` tells what it
    took since it was last asked.
    """

    def __init__(self) -> None:
        from torch._dynamo.callback import callback_handler  # takes a second to import

        self._forwards: dict[Any, list[Callable[..., Any]]] = {}
        self._began = self._seconds = 0.0
        callback_handler.register_start_callback(self._start)
        callback_handler.register_end_callback(self._end)

    @contextmanager
    def applied(self, model: Any) -> Iterator[None]:
        """Within the block the model's layers run compiled; elsewhere, in decoding for one, they do not."""
        layers = decoder_layers(model)
        if model not in self._forwards:
            self._forwards[model] = [torch.compile(layer.forward, dynamic=True) for layer in layers]
        with forwards_replaced(layers, self._forwards[model]):
            yield

    def take_seconds(self) -> float:
        """Wall seconds of compilation since the last call."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds

    def _start(self, _: Any) -> None:
        self._began = time.perf_counter()

    def _end(self, _: Any) -> None:
        self._seconds += time.perf_counter() - self._began
