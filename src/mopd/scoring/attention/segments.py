"""Short segments, those of similar size together, keys and values gathered along their paths: fastest on a CPU.

Cost follows the tokens that are really seen. The attention weights are kept for the backward pass, which takes memory
in proportion to new nodes times path length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mopd.scoring.attention.layout import Attend, Attended, Keys, Queries, Segment, Values, segments_of
from mopd.scoring.trie import Trie

SAME = 2**11
"""Padded scores a head that cost about what another round of calls does: segments come together up to there."""

LARGEST = 2**18
"""Scores a head beyond which segments do not come together: it saves nothing then, and memory grows."""


def segments(trie: Trie, device: torch.device) -> Attend:
    """Attention of all segments, those of similar size together."""
    return attend_in_batches(segments_of(trie), device)


def attend_in_batches(given: Sequence[Segment], device: torch.device) -> Attend:
    """Attention of the new nodes of `given`: the result has these rows only, in order."""
    batches = batch_by_size(given)
    tables: dict[tuple[int, int, torch.dtype], _Tables] = {}

    def attend(q: Queries, k: Keys, v: Values, scale: float) -> Attended:
        asked = (q.shape[1], k.shape[1], q.dtype)
        if asked not in tables:  # for the first layer; the others are like it
            tables[asked] = _tables(given, batches, *asked, device)
        return _attend(q, k, v, tables[asked], scale)

    return attend


def batch_by_size(given: Sequence[Segment]) -> list[list[int]]:
    """Indices of segments that are attended together."""
    batches: list[list[int]] = []
    width = length = 0
    for index in sorted(range(len(given)), key=lambda i: (given[i].new, len(given[i].path))):
        new, path = given[index].new, len(given[index].path)
        count = len(batches[-1]) if batches else 0
        padded = (count + 1) * new * max(length, path)  # in this order `new` is the batch's width
        if count and padded <= min(count * width * length + new * path + SAME, LARGEST):
            batches[-1].append(index)
            width, length = new, max(length, path)
        else:
            batches.append([index])
            width, length = new, path
    return batches


@dataclass(frozen=True)
class _Batch:
    """n segments of up to w new nodes with paths of up to l nodes, padded on the left.

    `queries` (n K G w of them) and `keys` (n K l) are indices of node and head; `bias` is 0 where the query sees the
    key and hugely negative elsewhere. One bias serves all (b is 1, else n K) where all are of one size.
    """

    queries: Int[Tensor, " queries"]
    keys: Int[Tensor, " keys"]
    bias: Float[Tensor, "b Gw l"]


@dataclass(frozen=True)
class _Tables:
    """The batches, and the place of each new node and head in what they give."""

    batches: tuple[_Batch, ...]
    places: Int[Tensor, " places"]


def _tables(
    given: Sequence[Segment],
    batches: Sequence[Sequence[int]],
    heads: int,
    kv_heads: int,
    dtype: torch.dtype,
    device: torch.device,
) -> _Tables:
    rows = torch.tensor([segment.new for segment in given]).cumsum(0)
    places = torch.empty(int(rows[-1]), heads, dtype=torch.long)
    made, before = [], 0
    for batch in batches:
        members = [given[index] for index in batch]
        made.append(_batch(members, heads, kv_heads, dtype, device))
        width = members[-1].new  # the largest, as batches are made
        for index in batch:
            columns = torch.arange(width - given[index].new, width)
            places[rows[index] - given[index].new : rows[index]] = (
                before + torch.arange(heads) * width + columns[:, None]
            )
            before += heads * width
    return _Tables(tuple(made), places.flatten().to(device))


def _batch(members: Sequence[Segment], heads: int, kv_heads: int, dtype: torch.dtype, device: torch.device) -> _Batch:
    n, width, length = len(members), members[-1].new, max(len(member.path) for member in members)
    queries, keys = torch.zeros(n, width, dtype=torch.long), torch.zeros(n, length, dtype=torch.long)
    is_hidden = torch.ones(width, length, dtype=torch.bool).triu(length - width + 1).repeat(n, 1, 1)
    for index, member in enumerate(members):
        nodes = torch.from_numpy(member.path)
        queries[index, width - member.new :] = nodes[-member.new :]
        keys[index, length - len(nodes) :] = nodes
        is_hidden[index, :, : length - len(nodes)] = True
    is_hidden = is_hidden[:1] if bool((is_hidden == is_hidden[:1]).all()) else is_hidden.repeat_interleave(kv_heads, 0)
    # not infinite, so that a padded query that sees nothing is no NaN; its result is not used
    bias = torch.zeros(is_hidden.shape, dtype=dtype).masked_fill_(is_hidden, torch.finfo(dtype).min / 2)
    return _Batch(
        _with_heads(queries, heads).to(device),
        _with_heads(keys, kv_heads).to(device),
        bias.repeat(1, heads // kv_heads, 1).to(device),
    )


def _with_heads(nodes: Int[Tensor, "n x"], heads: int) -> Int[Tensor, " indices"]:
    """Indices of nodes and heads, from indices of nodes."""
    return (nodes[:, None] * heads + torch.arange(heads)[:, None]).flatten()


def _attend(q: Queries, k: Keys, v: Values, tables: _Tables, scale: float) -> Attended:
    heads, size = q.shape[1], v.shape[-1]
    q, k, v = (states.flatten(0, 1) for states in (q, k, v))
    parts = []
    for batch in tables.batches:
        width, length = batch.bias.shape[1:]
        queries = q.index_select(0, batch.queries).view(-1, width, q.shape[1])
        keys = k.index_select(0, batch.keys).view(-1, length, k.shape[1])
        values = v.index_select(0, batch.keys).view(-1, length, size)
        weights = torch.baddbmm(batch.bias, queries, keys.transpose(1, 2), alpha=scale).softmax(-1)
        parts.append(torch.bmm(weights, values).view(-1, size))
    out = parts[0] if len(parts) == 1 else torch.cat(parts)
    return out.index_select(0, tables.places).view(-1, heads, size)
