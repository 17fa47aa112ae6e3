"""Compiled block-sparse attention, for GPUs: what no node of a block sees is skipped, and no mask is stored.

Tested on a CPU, uncompiled. Compiled it has run on one H200, where it is about 1.5 times as fast as batches of segments
(docs/performance.md).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from mopd.scoring.attention.layout import Attend, last_descendants
from mopd.scoring.trie import Trie


def flex(trie: Trie, device: torch.device) -> Attend:
    """Attention by `flex_attention`, whose mask is a test on two nodes. Compiled where the device is CUDA."""
    from torch.nn.attention.flex_attention import create_block_mask

    last = last_descendants(trie).to(device)
    size = len(trie.token_ids)

    # a lambda: torch counts the parameters of what it is given, and a checker of types wraps what is defined by `def`
    mask = create_block_mask(
        lambda batch, head, query, key: (key <= query) & (query <= last[key]),
        None,
        None,
        size,
        size,
        device=str(device),
    )
    function = _flex_attention(device.type == "cuda")

    def attend(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        q, k, v = (states.transpose(0, 1)[None] for states in (q, k, v))
        grouped = q.shape[1] != k.shape[1]
        out: Tensor = function(q, k, v, block_mask=mask, scale=scale, enable_gqa=grouped)
        return out[0].transpose(0, 1)

    return attend


@cache
def _flex_attention(compiled: bool) -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention) if compiled else flex_attention
