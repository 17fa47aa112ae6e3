"""Microbatches: which sequences are scored together. Packing changes speed and memory, never a result."""

from __future__ import annotations

from collections.abc import Sequence

from mopd.scoring.trie import common_prefix


def pack_by_tokens(sequences: Sequence[Sequence[int]], budget: int, shares_prefixes: bool = True) -> list[list[int]]:
    """Indices of `sequences` in packs of at most `budget` tokens, or of one sequence and `budget` tokens more.

    A pack's tokens are those of its trie. A pack that begins with a sequence longer than half the budget takes whatever
    siblings add up to another `budget` tokens: closed at `budget`, it would have little or no room for them, and each
    sibling would compute the long prefix again. So no group of siblings computes more than twice its distinct tokens for
    each `budget` of them.

    Without shared prefixes a pack's tokens are its padded size, sequences x longest; a longer sequence is a pack of its
    own. Every index appears exactly once; the order depends on the sequences alone. The largest pack comes first, so
    that others fit into the memory that it frees.
    """
    if not shares_prefixes:
        return _padded_packs([len(sequence) for sequence in sequences], budget)
    packs: list[list[int]] = []
    sizes: list[int] = []
    room = 0
    for index in sorted(range(len(sequences)), key=lambda i: (tuple(sequences[i]), i)):
        length = len(sequences[index])
        added = length - common_prefix(sequences[packs[-1][-1]], sequences[index]) if packs else 0
        if packs and sizes[-1] + added <= room:
            packs[-1].append(index)
            sizes[-1] += added
        else:
            packs.append([index])
            sizes.append(length)
            room = budget if length <= budget / 2 else length + budget
    return [packs[i] for i in sorted(range(len(packs)), key=lambda i: -sizes[i])]


def _padded_packs(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Packs of sequences of similar length."""
    packs: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        longest = lengths[packs[-1][0]] if packs else 0
        if packs and (len(packs[-1]) + 1) * longest <= budget:
            packs[-1].append(index)
        else:
            packs.append([index])
    return packs
