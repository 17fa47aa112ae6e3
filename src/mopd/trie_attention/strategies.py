"""The strategies by name, and which is used when."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from mopd.packing import Trie
from mopd.trie_attention.blocks import attend_in_blocks, blocks
from mopd.trie_attention.dense import dense
from mopd.trie_attention.flex import flex
from mopd.trie_attention.layout import Attend, segments_of
from mopd.trie_attention.segments import attend_in_batches, segments

Strategy = Callable[[Trie, torch.device], Attend]
"""Prepares attention over a trie, once for all layers."""

LONG = 1024
"""Nodes of a path from which on its segment is attended in blocks.

A node's attention weights are one number a head and node of its path. Up to here they take no more memory than what a
layer keeps besides; far beyond, they would be most of it. The speeds differ little there.
"""


def mixed(trie: Trie, device: torch.device) -> Attend:
    """Segments with paths up to `LONG` nodes together, the others in blocks."""
    short = [segment for segment in segments_of(trie) if len(segment.path) <= LONG]
    long = [segment for segment in segments_of(trie) if len(segment.path) > LONG]
    if not short or not long:
        return (segments if short else blocks)(trie, device)
    attend_short, attend_long = attend_in_batches(short, device), attend_in_blocks(long, device)
    nodes = torch.cat([torch.arange(segment.start, segment.start + segment.new) for segment in short + long])
    place = nodes.argsort().to(device)

    def attend(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        return torch.cat([attend_short(q, k, v, scale), attend_long(q, k, v, scale)]).index_select(0, place)

    return attend


STRATEGIES: Mapping[str, Strategy] = {
    "segments": segments,
    "blocks": blocks,
    "mixed": mixed,
    "dense": dense,
    "flex": flex,
}

_CHOSEN: ContextVar[str | None] = ContextVar("chosen", default=None)


def choose_strategy(device: torch.device) -> str:
    """`flex` on CUDA; elsewhere `mixed`, which is `segments` where no path is long."""
    return _CHOSEN.get() or ("flex" if device.type == "cuda" else "mixed")


@contextmanager
def using_strategy(name: str) -> Iterator[None]:
    """Within the block `name` of `STRATEGIES` is used whatever the trie and the device: for tests and measurements."""
    before = _CHOSEN.set(name)
    try:
        yield
    finally:
        _CHOSEN.reset(before)
