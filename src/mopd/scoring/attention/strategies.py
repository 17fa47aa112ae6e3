"""The strategies by name, and which is used when."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache

import torch

from mopd.scoring.attention.blocks import attend_in_blocks, blocks
from mopd.scoring.attention.dense import dense
from mopd.scoring.attention.flex import flex
from mopd.scoring.attention.layout import Attend, Attended, Keys, Queries, Segment, Values, segments_of
from mopd.scoring.attention.segments import attend_in_batches, segments
from mopd.scoring.trie import Trie

Strategy = Callable[[Trie, torch.device], Attend]
"""Prepares attention over a trie, once for all layers."""

LONG, LONG_IN_HALF = 256, 1024
"""Nodes of a path beyond which its segment is attended in blocks; the second in half precision.

Blocks save memory at any length. Matrix products and a softmax are faster while their scores stay in the cache: on a
CPU up to about here in float32. In half precision they stay faster for longer, and reading keeps no scores.
"""


def mixed(trie: Trie, device: torch.device) -> Attend:
    """Segments with short paths by size, the others in blocks."""
    given = segments_of(trie)

    @cache
    def prepared(limit: int) -> Attend:
        short = [segment for segment in given if len(segment.path) <= limit]
        long = [segment for segment in given if len(segment.path) > limit]
        if not long:
            return attend_in_batches(short, device)
        if not short:
            return attend_in_blocks(long, device)
        return _both(short, long, device)

    def attend(q: Queries, k: Keys, v: Values, scale: float) -> Attended:
        return prepared(LONG_IN_HALF if q.dtype.itemsize == 2 else LONG)(q, k, v, scale)

    return attend


def _both(short: Sequence[Segment], long: Sequence[Segment], device: torch.device) -> Attend:
    parts = (attend_in_batches(short, device), attend_in_blocks(long, device))
    nodes = torch.cat([torch.arange(segment.start, segment.start + segment.new) for segment in (*short, *long)])
    places = nodes.argsort().to(device)

    def attend(q: Queries, k: Keys, v: Values, scale: float) -> Attended:
        return torch.cat([part(q, k, v, scale) for part in parts]).index_select(0, places)

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
    """`flex` on CUDA; elsewhere `mixed`, which is `segments` where no path is long and `blocks` where all are."""
    return _CHOSEN.get() or ("flex" if device.type == "cuda" else "mixed")


@contextmanager
def using_strategy(name: str) -> Iterator[None]:
    """Within the block `name` of `STRATEGIES` is used whatever the trie and the device: for tests and measurements."""
    before = _CHOSEN.set(name)
    try:
        yield
    finally:
        _CHOSEN.reset(before)
