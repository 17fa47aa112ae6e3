"""The ids that a model may predict: those that a token of its tokenizer has.

Many models have more rows in their embeddings than there are tokens, to make the number round, and some vocabularies
have gaps. No completion can hold such an id. So neither the sampler nor the learner nor a teacher gives it any
probability: all three normalise over the same ids.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class _Known:
    """Ids under `size`, without `gaps`; the rows of a model's head behind them belong to no token."""

    size: int
    gaps: tuple[int, ...]


def restrict_vocabulary(model: Any, token_ids: Collection[int]) -> None:
    """Let `model`, and copies of it, predict `token_ids` only. Where all its rows have a token, it stays as it is."""
    rows = int(model.get_output_embeddings().weight.shape[0])
    size = min(rows, 1 + max(token_ids))
    gaps = tuple(sorted(set(range(size)) - set(token_ids)))
    model.mopd_known = _Known(size, gaps) if size < rows or gaps else None


def of_known_tokens(model: Any, logits: Tensor) -> Tensor:
    """Logits [..., rows of the head] -> [..., size], minus infinity at ids that no token has."""
    known: _Known | None = getattr(model, "mopd_known", None)
    if known is None:
        return logits
    logits = logits[..., : known.size]
    if not known.gaps:
        return logits
    return logits.index_fill(-1, torch.tensor(known.gaps, device=logits.device), -torch.inf)


def unknown_ids(model: Any) -> list[int]:
    """The rows of a model's head that belong to no token."""
    known: _Known | None = getattr(model, "mopd_known", None)
    rows = int(model.get_output_embeddings().weight.shape[0])
    return [] if known is None else [*known.gaps, *range(known.size, rows)]
