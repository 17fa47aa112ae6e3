"""One call for the whole row, under a mask of [T, T]: for small tries, and what the others are compared with."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from mopd.scoring.attention.layout import Attend, Attended, Keys, Queries, Values, last_descendants
from mopd.scoring.trie import Trie


def dense(trie: Trie, device: torch.device) -> Attend:
    """Attention with a mask over all pairs of nodes; its memory has the square of the row's size."""
    nodes, last = torch.arange(len(trie.token_ids)), last_descendants(trie)
    bias_in = biases((nodes <= nodes[:, None]) & (nodes[:, None] <= last), device)

    def attend(q: Queries, k: Keys, v: Values, scale: float) -> Attended:
        return biased_attention(q, k, v, bias_in(q.dtype), scale)

    return attend


def biases(
    is_seen: Bool[Tensor, "new seen"], device: torch.device
) -> Callable[[torch.dtype], Float[Tensor, "new seen"]]:
    """For a dtype what is added to scores: 0 where a key is seen, else -inf. Made once.

    torch makes one of a boolean mask in every call, and keeps it for the backward pass.
    """

    @cache
    def bias_in(dtype: torch.dtype) -> Float[Tensor, "new seen"]:
        return torch.zeros(is_seen.shape, dtype=dtype).masked_fill_(~is_seen, -torch.inf).to(device)

    return bias_in


def biased_attention(
    q: Float[Tensor, "new heads size"], k: Keys, v: Values, bias: Float[Tensor, "new seen"], scale: float
) -> Attended:
    """Attention by torch's fused kernels where they exist.

    A key head and its group are a batch and its heads, so keys and values are not copied for every query head.
    """
    q = q.view(len(q), k.shape[1], -1, q.shape[2]).permute(1, 2, 0, 3)
    k, v = (states.transpose(0, 1)[:, None].expand(-1, q.shape[1], -1, -1) for states in (k, v))
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)
    return out.flatten(0, 1).transpose(0, 1)
