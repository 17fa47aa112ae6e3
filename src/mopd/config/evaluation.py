"""What is measured beside training: read by `evaluation/`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mopd.config.table import BatchCount, NonNegativeInt, NotTinyFloat, PositiveInt, Table


class EvaluationConfig(Table):
    """What is measured beside training, and how often."""

    every: NonNegativeInt = 0
    """Steps between evaluations on held-out problems; 0 evaluates only before the first and after the last step."""
    rollouts: BatchCount = 8
    """Attempts at each held-out problem: the n of mean@n and pass@n."""
    temperature: NotTinyFloat | None = None
    """Sampling temperature at evaluation; unset: the run's own."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    """Nucleus mass at evaluation; unset: the run's own."""
    reading_contexts: PositiveInt = 24
    """Contexts generated from in one measurement, at most: of a step, and after a warm-up of each recipe."""
    contexts_every: NonNegativeInt = 4
    """Steps between measurements of the teacher's accuracy when it generates from the step's contexts; 0: never."""
