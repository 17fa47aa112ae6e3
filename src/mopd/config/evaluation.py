"""What is measured before training and beside it: read by `evaluation/`."""

from __future__ import annotations

from typing import Annotated, Literal

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
    keep_completions: bool = True
    """Whether a run's evaluations write their completions to `evaluations/step-N.jsonl`, and a few to the tracker."""
    reading_contexts: PositiveInt = 24
    """Contexts of a step that the teacher generates from in one measurement, at most."""
    contexts_every: NonNegativeInt = 4
    """Steps between measurements of the teacher's accuracy when it generates from the step's contexts; 0: never. While
    it is right less often than the student, its lessons pause (`lessons.pause`)."""


class PreflightConfig(Table):
    """What is tried before the first step: whether the student's own attempts differ, and which recipe of peers it can
    read, by generating from contexts of them."""

    action: Literal["stop", "warn", "off"] = "stop"
    """Where nothing can be learnt (no problem is solved in some attempts and failed in others; no recipe makes a better
    teacher than the student alone), `stop` ends the run before its first step, with exit code 1; `warn` says so and
    goes on; `off` measures nothing."""
    problems: PositiveInt = 32
    """Training problems attempted at most, `group_size` times each."""
    contexts: PositiveInt = 24
    """Contexts of each recipe generated from at most, two of a problem. Recipes far behind are left after a third."""
