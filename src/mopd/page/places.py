"""Where a rollout goes wrong, and what contexts do besides telling: from log-probabilities alone. Pure.

All numbers are in nats, one for each token of a rollout.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from os.path import commonprefix

LEAST = math.log(2)
"""A teacher disagrees with a token that it gives at most half of the student's probability."""

PART = 0.5
"""The first token counts with which it disagrees by this part of its strongest disagreement: what follows a mistake may
be doubted even more."""


def first_wrong(gains: Sequence[float]) -> int | None:
    """The first token at which a teacher disagrees with a rollout; None where it agrees throughout.

    `gains` are log t(y) - log s(y) at the tokens y of the rollout.
    """
    strongest = min(gains, default=0.0)
    if strongest > -LEAST:
        return None
    return next(place for place, gain in enumerate(gains) if gain <= min(strongest * PART, -LEAST))


def nearest(text: str, others: Mapping[int, str]) -> tuple[int, int] | None:
    """Of other rollouts (index -> text) the one that begins like `text` for longest, and for how many characters; the
    first of several."""
    shared = {index: len(commonprefix([text, other])) for index, other in others.items()}
    best = max(shared, key=lambda index: shared[index], default=None)
    return None if best is None else (best, shared[best])


def alike_and_apart(success: Sequence[float], failure: Sequence[float]) -> tuple[float, float]:
    """How far a success's and a failure's context move tokens alike, and apart: two sums in nats.

    `success` and `failure` are log t(y) - log s(y) under the two contexts, a and b at one token. Their common part is
    |a + b| / 2, what parts them |a - b| / 2; together they are the larger of |a| and |b|.
    """
    pairs = list(zip(success, failure, strict=True))
    return sum(abs(a + b) / 2 for a, b in pairs), sum(abs(a - b) / 2 for a, b in pairs)
