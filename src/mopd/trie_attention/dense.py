"""One call for the whole row, under a mask of [T, T]: for small tries, and what the others are compared with."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mopd.packing import Trie
from mopd.trie_attention.layout import Attend, last_descendants


def dense(trie: Trie, device: torch.device) -> Attend:
    """Attention with a mask over all pairs of nodes; its memory has the square of the row's size."""
    nodes, last = torch.arange(len(trie.token_ids)), last_descendants(trie)
    is_seen = ((nodes <= nodes[:, None]) & (nodes[:, None] <= last)).to(device)

    def attend(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        return masked_attention(q, k, v, is_seen, scale)

    return attend


def masked_attention(q: Tensor, k: Tensor, v: Tensor, is_seen: Tensor, scale: float) -> Tensor:
    """q [n, H, D], k and v [l, K, D], is_seen [n, l] -> [n, H, D], by torch's fused kernels where they exist.

    A key head and its group are a batch and its heads, so keys and values are not copied for every query head.
    """
    kv_heads = k.shape[1]
    q = q.unflatten(1, (kv_heads, -1)).permute(1, 2, 0, 3)
    k, v = (states.transpose(0, 1)[:, None].expand(-1, q.shape[1], -1, -1) for states in (k, v))
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=is_seen, scale=scale)
    return out.flatten(0, 1).transpose(0, 1)
