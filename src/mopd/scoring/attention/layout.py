"""What the strategies know of a trie: its segments, and which nodes are whose ancestors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from mopd.scoring.trie import Trie

Queries = Float[Tensor, "nodes heads size"]
"""Of all nodes of a trie, or of a forward pass."""

Keys = Float[Tensor, "seen kv_heads size"]
"""heads / kv_heads query heads share one."""

Values = Float[Tensor, "seen kv_heads value_size"]
"""Of the size of keys in most models."""

Attended = Float[Tensor, "new heads value_size"]
"""What attention gives: of all nodes, or of those that it was asked for."""

Attend = Callable[[Queries, Keys, Values, float], Attended]
"""Queries, keys, values and the factor of the scores to what is attended. All are of one dtype."""


@dataclass(frozen=True)
class Segment:
    """What one sequence adds to those before it: the last `new` nodes of `path`, which are neighbours in the row."""

    path: NDArray[np.int64]
    new: int

    @property
    def start(self) -> int:
        """The first new node."""
        return int(self.path[-self.new])


def segments_of(trie: Trie) -> list[Segment]:
    """The trie's segments in the order of their nodes, so that their new nodes together are the row."""
    added = zip(trie.paths, trie.new_counts, strict=True)
    return sorted((Segment(path, new) for path, new in added if new), key=lambda segment: segment.start)


def last_descendants(trie: Trie) -> Int[Tensor, " nodes"]:
    """The last node below each node, or the node itself.

    Nodes come depth first, so what is below node j are its neighbours up to that node: j is i or an ancestor of i
    where j <= i <= last[j].
    """
    last = np.arange(len(trie.token_ids))
    for path in trie.paths:
        if len(path):
            last[path] = np.maximum(last[path], path[-1])
    return torch.from_numpy(last)
