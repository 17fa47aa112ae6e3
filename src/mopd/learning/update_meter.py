"""What an update did, measured: a seeded eighth of its lessons, scored again behind it.

The loss that an update was meant to lower and the student it has become are two things. Both are measured at the loss
tokens of a few lessons: by how much the loss fell, and how far the student drifted, KL(old || new).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mopd.core.seeding import derive_rng
from mopd.method.divergence import unchecked_kl, with_tail
from mopd.method.predictions import Predictions

MEASURED = 8
"""One lesson of so many is scored again, and one at least."""

SUPPORT = 100
"""Tokens by which the old student is remembered, its most probable ones, and one bucket for all others."""


@dataclass(frozen=True)
class Remembered:
    """Some loss tokens of a lesson as they were before an update."""

    token_ids: Int[Tensor, "n support"]
    logprobs: Float[Tensor, "n support"]
    sampled: Float[Tensor, " n"]
    """Log-probabilities of the sampled tokens."""
    costs: Float[Tensor, " n"]
    """What each adds to the objective."""

    def part(self, part: slice) -> Remembered:
        """Those of a slice."""
        return Remembered(self.token_ids[part], self.logprobs[part], self.sampled[part], self.costs[part])


@dataclass
class UpdateMeter:
    """The lessons (indices) that are measured, and what is remembered of each, in the order of their loss tokens."""

    lessons: frozenset[int]
    before: dict[int, list[Remembered]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def of(cls, indices: Sequence[int], *seed_parts: int | str) -> UpdateMeter:
        """A meter of a seeded eighth of some lessons."""
        count = math.ceil(len(indices) / MEASURED)
        return cls(frozenset(derive_rng(*seed_parts, "measured lessons").sample(indices, count)))

    @torch.no_grad()
    def remember(
        self, lessons: Sequence[int], student: Predictions, sampled: Tensor, costs: Float[Tensor, " n"]
    ) -> None:
        """Keep what is measured of n loss tokens; `lessons` says whose each is, tokens of a lesson in order."""
        token_ids = student.top(min(SUPPORT, student.vocabulary))
        logprobs = student.at(token_ids)
        for lesson in self.lessons.intersection(lessons):
            rows = torch.tensor([i for i, owner in enumerate(lessons) if owner == lesson], device=costs.device)
            kept = (tensor[rows].detach().clone() for tensor in (token_ids, logprobs, sampled, costs))
            self.before[lesson].append(Remembered(*kept))

    def was(self, lesson: int) -> Remembered:
        """All loss tokens of a lesson as they were."""
        parts = self.before[lesson]
        names = ("token_ids", "logprobs", "sampled", "costs")
        return Remembered(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


@torch.no_grad()
def drift(was: Remembered, student: Predictions) -> Float[Tensor, " n"]:
    """KL(old || new) in nats at each loss token, over the old student's support and one bucket with all others."""
    old, new = was.logprobs, student.at(was.token_ids)
    if old.shape[-1] < student.vocabulary:
        old, new = with_tail(old), with_tail(new)
    return unchecked_kl(old, new)
