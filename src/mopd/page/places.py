"""Where a rollout goes wrong, and what contexts do besides telling: from log-probabilities alone. Pure.

All numbers are in nats, one for each token of a rollout.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import takewhile

LEAST = math.log(2)
"""A teacher doubts a token where another one is at least twice as probable to it."""

PART = 0.5
"""The first token counts that a teacher doubts by this part of its strongest doubt: what follows a mistake may be
doubted even more."""


def first_wrong(doubts: Sequence[float]) -> int | None:
    """The first token that a teacher doubts; None where it doubts none.

    `doubts` are log t(best) - log t(y) at the tokens y of a rollout: by how much another token is more probable.
    """
    strongest = max(doubts, default=0.0)
    if strongest < LEAST:
        return None
    return next(place for place, doubt in enumerate(doubts) if doubt >= max(strongest * PART, LEAST))


def nearest(text: str, others: Mapping[int, str]) -> tuple[int, int] | None:
    """Of other rollouts (index -> text) the one that begins like `text` for longest, and for how many characters; the
    first of several."""
    shared = {
        index: sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(text, other, strict=False)))
        for index, other in others.items()
    }
    best = max(shared, key=lambda index: shared[index], default=None)
    return None if best is None else (best, shared[best])


def alike_and_apart(success: Sequence[float], failure: Sequence[float]) -> tuple[float, float]:
    """How far a success's and a failure's context move tokens alike, and apart: two sums in nats.

    `success` and `failure` are log t(y) - log s(y) under the two contexts, a and b at one token. Their common part is
    |a + b| / 2, what parts them |a - b| / 2; together they are the larger of |a| and |b|.
    """
    pairs = list(zip(success, failure, strict=True))
    return sum(abs(a + b) / 2 for a, b in pairs), sum(abs(a - b) / 2 for a, b in pairs)
