"""Who does what: pieces of work shared out evenly, the same way in every process."""

from __future__ import annotations

from collections.abc import Hashable, Sequence


def shared_out(weights: Sequence[float], count: int) -> list[list[int]]:
    """The indices of pieces of work in `count` shares of about equal weight, each in order; some may be empty.

    The heaviest piece goes first, each to the share that is lightest so far. No share is heavier than the mean and the
    heaviest piece together.
    """
    shares: list[list[int]] = [[] for _ in range(count)]
    loads = [0.0] * count
    for index in sorted(range(len(weights)), key=lambda i: (-weights[i], i)):
        lightest = min(range(count), key=lambda share: (loads[share], len(shares[share]), share))
        shares[lightest].append(index)
        loads[lightest] += weights[index]
    return [sorted(share) for share in shares]


def shared_whole(keys: Sequence[Hashable], weights: Sequence[float], count: int) -> list[list[int]]:
    """The same of pieces of which those with one key stay together."""
    members: dict[Hashable, list[int]] = {}
    for index, key in enumerate(keys):
        members.setdefault(key, []).append(index)
    groups = list(members.values())
    shares = shared_out([sum(weights[i] for i in group) for group in groups], count)
    return [sorted(i for number in share for i in groups[number]) for share in shares]
