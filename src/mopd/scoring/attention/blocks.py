"""Long segments, a block of their new nodes at a time: memory is linear in the path's length, backward too."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mopd.scoring.attention.dense import biased_attention, biases
from mopd.scoring.attention.layout import Attend, Attended, Keys, Queries, Segment, Values, segments_of
from mopd.scoring.trie import Trie

BLOCK = 128
"""Nodes that attend in one call: enough for the matrix products, few beside a long path.

The fewer, the less is computed for keys that a node does not see.
"""


def blocks(trie: Trie, device: torch.device) -> Attend:
    """Attention segment by segment, each in blocks of `BLOCK` nodes."""
    return attend_in_blocks(segments_of(trie), device)


def attend_in_blocks(segments: Sequence[Segment], device: torch.device) -> Attend:
    """Attention of the new nodes of `segments`: the result has these rows only, in order.

    The fused kernels save no scores for the backward pass. A block's keys end with the block, so nothing is computed
    for keys that no node of the block sees, and one bias, cut from the right, serves all blocks.
    """
    longest = max(len(segment.path) for segment in segments)
    bias_in = biases(torch.ones(BLOCK, longest, dtype=torch.bool).tril(longest - BLOCK), device)
    paths = [torch.from_numpy(segment.path).to(device) for segment in segments]

    def attend(q: Queries, k: Keys, v: Values, scale: float) -> Attended:
        parts, bias = [], bias_in(q.dtype)
        for segment, path in zip(segments, paths, strict=True):
            keys, values = k.index_select(0, path), v.index_select(0, path)
            before = len(path) - segment.new
            for at in range(0, segment.new, BLOCK):
                queries = q[segment.start + at : segment.start + min(at + BLOCK, segment.new)]
                end = before + at + len(queries)
                cut = bias[-len(queries) :, longest - end :]
                parts.append(biased_attention(queries, keys[:end], values[:end], cut, scale))
        return torch.cat(parts)

    return attend
