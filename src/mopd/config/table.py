"""What all tables of the configuration share: numbers within the bounds that the code below them can take."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

LARGEST = 10**9
"""No number is over it unless its key says so: torch, clocks and processes of the system can take what is below."""

PositiveInt = Annotated[int, Field(ge=1, le=LARGEST)]
NonNegativeInt = Annotated[int, Field(ge=0, le=LARGEST)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
HeldCount = Annotated[int, Field(ge=1, le=10**7)]
"""How many of something are held in memory at once."""
BatchCount = Annotated[int, Field(ge=1, le=2**16)]
"""How many rows one call of a model may be asked for."""
PositiveFloat = Annotated[float, Field(gt=0, le=LARGEST)]
LearningRate = Annotated[float, Field(gt=0, le=1)]
"""AdamW moves each weight by about so much in one update; weights themselves are under 1."""
Share = Annotated[float, Field(ge=0, le=1)]


def _not_tiny(value: float) -> float:
    if value < 1e-6:
        raise ValueError("must be at least 0.000001, since smaller ones leave the range of float32")
    return value


NotTinyFloat = Annotated[PositiveFloat, AfterValidator(_not_tiny)]
"""What numbers of float32 are divided by, or scaled to."""


class Table(BaseModel):
    """A table of the configuration: frozen, no key that it does not know, no number that is not finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)
