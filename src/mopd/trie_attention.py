"""Attention over a trie: every node attends to its own path, and to nothing else.

The trie's nodes lie in one row. What a sequence adds to those before it is a segment of new nodes; segments of similar
size are attended together, their keys and values gathered along their paths. So cost and memory follow the tokens that
are really seen: no mask has the square of the row's size. It stands in for the model's own attention through
transformers' interface for attention functions, during a forward pass over a trie only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mopd.packing import Trie

NAME = "mopd_trie"

_LAYOUT: ContextVar[tuple[_Bucket, ...]] = ContextVar("layout")
_SEEN: ContextVar[Seen] = ContextVar("seen")

Seen = dict[int, tuple[Tensor, Tensor]]
"""By layer, the keys and values of a forward pass over a trie, [T, K, D]; kept only where no gradient is."""


@dataclass(frozen=True)
class _Bucket:
    """n segments of up to q new nodes with paths of up to l nodes.

    `queries` [n, q] and `keys` [n, l] are node indices, padded; `hidden` [n, q, l] is 0 where the query sees the key
    and -inf elsewhere; `rows` and `columns` pick the queries that are no padding.
    """

    queries: Tensor
    keys: Tensor
    hidden: Tensor
    rows: Tensor
    columns: Tensor


def arrange(trie: Trie, device: torch.device) -> tuple[_Bucket, ...]:
    """The trie's segments in buckets, by the power of two above their size."""
    by_size: dict[int, list[tuple[int, Any]]] = defaultdict(list)
    for path, new in zip(trie.paths, trie.new_counts, strict=True):
        if new:
            by_size[int(new - 1).bit_length()].append((new, path))
    return tuple(_bucket(segments, device) for _, segments in sorted(by_size.items()))


def _bucket(segments: list[tuple[int, Any]], device: torch.device) -> _Bucket:
    width, length = max(new for new, _ in segments), max(len(path) for _, path in segments)
    queries = torch.zeros(len(segments), width, dtype=torch.long)
    keys = torch.zeros(len(segments), length, dtype=torch.long)
    is_seen = torch.zeros(len(segments), width, length, dtype=torch.bool)
    is_query = torch.zeros(len(segments), width, dtype=torch.bool)
    for index, (new, path) in enumerate(segments):
        nodes = torch.from_numpy(path)
        queries[index, :new], keys[index, : len(path)] = nodes[-new:], nodes
        is_query[index, :new] = True
        is_seen[index, :new, : len(path)] = torch.ones(new, len(path), dtype=torch.bool).tril(len(path) - new)
    is_seen[..., 0] |= ~is_query  # a padded query sees something, so that no row of the softmax is empty
    hidden = torch.zeros(is_seen.shape).masked_fill(~is_seen, -torch.inf)
    rows, columns = is_query.nonzero(as_tuple=True)
    return _Bucket(*(tensor.to(device) for tensor in (queries, keys, hidden, rows, columns)))


def trie_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Any,
    scaling: float | None = None,
    **rest: Any,
) -> tuple[Tensor, None]:
    """query [1, H, T, D], key and value [1, K, T, D] -> [1, T, H, D].

    Raises NotImplementedError where the model asks for a kind of attention that this is not.
    """
    refuse_other_kinds(rest)
    q, k, v = (states[0].transpose(0, 1) for states in (query, key, value))  # [T, heads, D]
    if not torch.is_grad_enabled():
        _SEEN.get()[module.layer_idx] = (k, v)
    scale = scaling if scaling is not None else q.shape[-1] ** -0.5
    out = q.new_zeros(q.shape[0], q.shape[1], v.shape[-1])
    for bucket in _LAYOUT.get():
        attended = _attend(q[bucket.queries], k[bucket.keys], v[bucket.keys], bucket.hidden, scale)
        nodes = bucket.queries[bucket.rows, bucket.columns]
        out = out.index_copy(0, nodes, attended[bucket.rows, bucket.columns].to(out.dtype))
    return out[None], None


def refuse_other_kinds(asked: Mapping[str, Any]) -> None:
    """Raises NotImplementedError where a model asks for what the attention functions here do not do."""
    for name in ("softcap", "sliding_window", "s_aux", "position_bias"):
        if asked.get(name) is not None:
            raise NotImplementedError(f"attention over shared prefixes has no {name}")


def _attend(q: Tensor, k: Tensor, v: Tensor, hidden: Tensor, scale: float) -> Tensor:
    """q [n, q, H, D], k and v [n, l, K, D], hidden [n, q, l] -> [n, q, H, D]; H / K query heads share a key head."""
    n, width, heads, size = q.shape
    groups = heads // k.shape[2]
    q = (q * scale).view(n, width, k.shape[2], groups, size).permute(0, 2, 3, 1, 4).flatten(2, 3)
    kv_heads, length = k.shape[2], k.shape[1]
    scores = (q @ k.permute(0, 2, 3, 1)).view(n, kv_heads, groups, width, length) + hidden[:, None, None]
    weights = scores.softmax(-1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(v.dtype)
    out: Tensor = weights.flatten(2, 3) @ v.transpose(1, 2)
    return out.view(n, kv_heads, groups, width, -1).permute(0, 3, 1, 2, 4).flatten(2, 3)


def read_trie(model: Any, trie: Trie) -> tuple[Tensor, Seen]:
    """The last hidden states of the trie's nodes, [T, hidden], and, where no gradient is, all keys and values."""
    seen: Seen = {}
    device = next(model.parameters()).device
    layout, kept = _LAYOUT.set(arrange(trie, device)), _SEEN.set(seen)
    try:
        ids, positions = torch.from_numpy(trie.token_ids)[None], torch.from_numpy(trie.positions)[None]
        return forward_with(trie_attention, model, ids.to(device), positions.to(device))[0], seen
    finally:
        _LAYOUT.reset(layout)
        _SEEN.reset(kept)


def forward_with(function: Callable[..., tuple[Tensor, None]], model: Any, ids: Tensor, positions: Tensor) -> Tensor:
    """The decoder's last hidden states, [rows, length, hidden], with `function` as its attention."""
    not_read = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=ids.device)  # keeps transformers from making a mask
    with attending_with(function, model):
        states: Tensor = model.get_decoder()(
            input_ids=ids, position_ids=positions, attention_mask=not_read, use_cache=False
        ).last_hidden_state
    return states


@contextmanager
def attending_with(function: Callable[..., tuple[Tensor, None]], model: Any) -> Iterator[None]:
    """Within the block the model's attention is `function`, with the signature of transformers' attention functions."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, function)
    config = model.config.get_text_config()
    before, config._attn_implementation = config._attn_implementation, NAME
    try:
        yield
    finally:
        config._attn_implementation = before
