"""Microbatches: which sequences are scored together, and what they share. Changes speed and memory, never a result.

Sequences of one group begin alike: with the prompt, with peers. In a `Trie` every shared prefix stands once, so that
it is computed once, forward and backward; a token sees its own ancestors and nothing else.
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


def pack_by_tokens(sequences: Sequence[Sequence[int]], budget: int, shares_prefixes: bool = True) -> list[list[int]]:
    """Indices of `sequences` in packs of at most `budget` tokens; a longer sequence is a pack of its own.

    A pack's tokens are those of its trie, or without shared prefixes its padded size: sequences x longest. Every index
    appears exactly once; the order is a function of the sequences alone. The largest pack comes first, so that others
    fit into the memory that it frees.
    """
    if not shares_prefixes:
        return _pack_padded([len(sequence) for sequence in sequences], budget)
    packs: list[list[int]] = []
    sizes: list[int] = []
    for index in sorted(range(len(sequences)), key=lambda i: (tuple(sequences[i]), i)):
        new = len(sequences[index])
        if packs:
            added = new - common_prefix(sequences[packs[-1][-1]], sequences[index])
            if sizes[-1] + added <= budget:
                packs[-1].append(index)
                sizes[-1] += added
                continue
        packs.append([index])
        sizes.append(new)
    return [packs[i] for i in sorted(range(len(packs)), key=lambda i: -sizes[i])]


def _pack_padded(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Rows of similar length come together."""
    packs: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        longest = lengths[packs[-1][0]] if packs else 0
        if packs and (len(packs[-1]) + 1) * longest <= budget:
            packs[-1].append(index)
        else:
            packs.append([index])
    return packs
