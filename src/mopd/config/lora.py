"""Adapters: read by `models/`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mopd.config.table import PositiveFloat, Table

Rank = Annotated[int, Field(ge=1, le=2**16)]


class LoraConfig(Table):
    """Train an adapter of low rank (LoRA) instead of the student's own weights, which stay as they are. There is no
    dropout: what is learnt depends on the seed alone, however rollouts are batched."""

    rank: Rank = 16
    """Rank of each adapted layer's change (r); at most its smaller side."""
    alpha: PositiveFloat = 32.0
    """The change is scaled by alpha / rank."""
    targets: Literal["all-linear"] | Annotated[tuple[str, ...], Field(min_length=1)] = "all-linear"
    """Layers that are adapted: `all-linear` for every linear layer but the output embedding, or names such as
    `["q_proj", "v_proj"]`, each the end of a layer's dotted name."""
