"""Microbatches: which sequences are scored together. Packing changes speed and memory, never a result."""

from __future__ import annotations

from collections.abc import Sequence

from mopd.scoring.trie import common_prefix


def pack_by_tokens(sequences: Sequence[Sequence[int]], budget: int, shares_prefixes: bool = True) -> list[list[int]]:
    """Indices of `sequences` in packs of at most `budget` tokens; one that begins with a long sequence has more.

    A pack's tokens are those of its trie. A pack that begins with a sequence longer than half the budget also takes
    siblings, which share at least half of their tokens with the one before, until they have added `budget` tokens.
    Closed at `budget` it would have little or no room for them, and each would compute the long prefix again.

    Without shared prefixes a pack's tokens are its padded size, sequences x longest; a longer sequence is a pack of its
    own. Every index appears exactly once; the order depends on the sequences alone. The largest pack comes first, so
    that others fit into the memory that it frees.
    """
    if not shares_prefixes:
        return _padded_packs([len(sequence) for sequence in sequences], budget)
    packs: list[list[int]] = []
    sizes: list[int] = []
    for index in sorted(range(len(sequences)), key=lambda i: (tuple(sequences[i]), i)):
        length, first = len(sequences[index]), len(sequences[packs[-1][0]]) if packs else 0
        shared = common_prefix(sequences[packs[-1][-1]], sequences[index]) if packs else 0
        is_sibling = 2 * shared >= length
        room = first + budget if 2 * first > budget and is_sibling else budget
        if packs and sizes[-1] + length - shared <= room:
            packs[-1].append(index)
            sizes[-1] += length - shared
        else:
            packs.append([index])
            sizes.append(length)
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
