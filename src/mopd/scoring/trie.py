"""Sequences that begin alike as one row, in which every shared prefix stands once.

Sequences of one group begin alike: with the prompt, with peers. What stands once is computed once, forward and
backward; a token sees its own ancestors and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Trie:
    """Sequences as one row of T nodes, parents before children.

    `token_ids` [T]; `positions` [T] the nodes' depths, from 0; `paths` the nodes of each sequence, in order, of which
    the last `new_counts` belong to no sequence before it.
    """

    token_ids: NDArray[np.int64]
    positions: NDArray[np.int64]
    paths: tuple[NDArray[np.int64], ...]
    new_counts: tuple[int, ...]


def build_trie(sequences: Sequence[Sequence[int]]) -> Trie:
    """The trie of `sequences`; `paths` are in their order."""
    order = sorted(range(len(sequences)), key=lambda index: tuple(sequences[index]))
    paths: list[NDArray[np.int64]] = [np.empty(0, np.int64)] * len(sequences)
    new_counts = [0] * len(sequences)
    tokens: list[int] = []
    path, previous = np.empty(0, np.int64), ()  # type: tuple[NDArray[np.int64], Sequence[int]]
    for index in order:  # sorted: what a sequence shares with any before it, it shares with the last
        shared = common_prefix(previous, sequences[index])
        new = np.arange(len(tokens), len(tokens) + len(sequences[index]) - shared)
        tokens.extend(sequences[index][shared:])
        path, previous = np.concatenate([path[:shared], new]), sequences[index]
        paths[index], new_counts[index] = path, len(new)
    positions = np.zeros(len(tokens), np.int64)
    for path in paths:
        positions[path] = np.arange(len(path))
    return Trie(np.array(tokens, np.int64), positions, tuple(paths), tuple(new_counts))


def common_prefix(one: Sequence[int], two: Sequence[int]) -> int:
    """How many first tokens two sequences share."""
    length = min(len(one), len(two))
    differs = np.asarray(one[:length]) != np.asarray(two[:length])
    return int(differs.argmax()) if differs.any() else length
