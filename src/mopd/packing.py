"""Microbatches: which rows are scored together. Changes speed and memory, never a result."""

from __future__ import annotations

from collections.abc import Sequence


def pack_by_tokens(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Indices of rows in packs whose padded size (rows x longest row) is at most `budget` tokens.

    Rows of similar length come together; a row longer than the budget is a pack of its own. Every index appears
    exactly once; order is a function of the lengths alone.
    """
    packs: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        longest = lengths[packs[-1][0]] if packs else 0
        if packs and (len(packs[-1]) + 1) * longest <= budget:
            packs[-1].append(index)
        else:
            packs.append([index])
    return packs
