"""Teachers: the student of an average past, of the beginning, of the last refresh, or of now; or another model. No
gradient ever flows through one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from mopd.config import EmaTeacher, SnapshotTeacher, TeacherConfig
from mopd.core.types import Lesson
from mopd.method.predictions import Predictions
from mopd.models.rounding import move
from mopd.models.student import copy_model
from mopd.models.weights import full_weights, is_in, keep_head
from mopd.parallel.sharded import local
from mopd.scoring.rows import teacher_row
from mopd.scoring.scorer import Scorer

Reading = Callable[[Sequence[int]], Callable[[Sequence[int]], Predictions]]
"""What a teacher made of the contexts of lessons. For some of the lessons (their indices) it gives a function from some
of their loss tokens (numbers, lessons in order) to the teacher's predictions before these tokens, without gradient."""


GROWN = 1.5
"""A student whose long completions are so many times as long as at the last refresh is no teacher."""


@dataclass(frozen=True)
class Health:
    """How sound a student is: its share of successes, and the 95th percentile of its completions' lengths in tokens."""

    success: float
    longest: float

    def is_sound_after(self, before: Health | None) -> bool:
        """Whether it may teach in the place of a student that was as `before` says; None: of the first."""
        return before is None or (self.success >= before.success and self.longest < GROWN * before.longest)


class Teacher(Protocol):
    """What the learner knows of a teacher. A served model can be one: hidden states and heads stay inside."""

    changes_within_step: bool
    """Whether it changes with every update, so that its contexts are read again before each update of a step."""

    model: Any
    """What an engine takes over to write by it; None of a served teacher."""

    @property
    def has_own_weights(self) -> bool:
        """Whether a checkpoint must hold the teacher's weights."""
        ...

    @property
    def state(self) -> dict[str, Any]:
        """What it goes on with besides its weights, as JSON."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on with what `state` gave."""
        ...

    def read(self, lessons: Sequence[Lesson]) -> Reading:
        """Read the contexts of lessons with the completions behind them."""
        ...

    def follow(self, student_model: Any, health: Health, step: int) -> dict[str, float]:
        """Take one step after the student, which was updated in `step` after rollouts of such health; what there is to
        tell of that, as metrics."""
        ...


class LocalTeacher:
    """A teacher in this process.

    It is `model` itself for kinds `live` (the student) and `external` (the teacher), else a copy of `model`, kept as
    `weights` says (`compute.teacher`). `seed` decides how an average in bfloat16 is rounded.
    """

    def __init__(
        self,
        model: Any,
        config: TeacherConfig,
        scorer: Scorer,
        temperature: float = 1.0,
        weights: Literal["float32", "bfloat16", "offloaded"] = "float32",
        seed: int = 0,
    ) -> None:
        self.config = config
        self.scorer = scorer
        self.temperature = temperature
        self.seed = seed
        self.device = next(model.parameters()).device
        self.is_offloaded = weights == "offloaded" and self.has_own_weights
        self.model = _kept_copy(model, weights) if self.has_own_weights else model
        self.changes_within_step = config.kind == "live"
        self.seen: list[Health] = []
        """Of a snapshot: the steps since the last refresh."""
        self.refreshed_at: Health | None = None

    def read(self, lessons: Sequence[Lesson]) -> Reading:
        """Read all contexts once and keep the hidden states before loss tokens; the head follows part by part."""
        model = self._on_device()
        states = self.scorer.read(model, [teacher_row(lesson) for lesson in lessons])
        if model is not self.model:
            keep_head(model)
        return self._reading(model, states)

    def _on_device(self) -> Any:
        """The model where it reads: an offloaded one as a copy, in the dtype of products."""
        if not self.is_offloaded or is_in(self.model, self.scorer.dtype, self.device):
            return self.model
        return copy_model(self.model, self.scorer.dtype, self.device)

    def _reading(self, model: Any, states: Sequence[Tensor]) -> Reading:
        def of_lessons(indices: Sequence[int]) -> Callable[[Sequence[int]], Predictions]:
            chosen = torch.cat([states[index] for index in indices])

            @torch.no_grad()
            def of_tokens(numbers: Sequence[int]) -> Predictions:
                hidden = chosen[torch.tensor(numbers, device=chosen.device)]
                return self.scorer.predict(model, hidden, self.temperature)

            return of_tokens

        return of_lessons

    @torch.no_grad()
    def follow(self, student_model: Any, health: Health, step: int = 0) -> dict[str, float]:
        """t <- (1 - rate) t + rate s for kind `ema`; t <- s at the refreshes of kind `snapshot`; else t stays."""
        if isinstance(self.config, SnapshotTeacher):
            return self._refresh(student_model, self.config.every, health, step)
        if isinstance(self.config, EmaTeacher):
            self._move(student_model, self.config.rate, step)
        return {}

    def _refresh(self, student_model: Any, every: int, health: Health, step: int) -> dict[str, float]:
        self.seen = [*self.seen, health][-every:]
        if len(self.seen) < every:
            return {}
        now = Health(*(fmean(getattr(step, name) for step in self.seen) for name in ("success", "longest")))
        if not now.is_sound_after(self.refreshed_at):
            return {"teacher/refreshed_count": 0.0, "teacher/refresh_refused_count": 1.0}
        self._move(student_model, 1.0, step)
        self.seen, self.refreshed_at = [], now
        return {"teacher/refreshed_count": 1.0, "teacher/refresh_refused_count": 0.0}

    def _move(self, student_model: Any, share: float, step: int) -> None:
        student = full_weights(student_model)
        for name, own in self.model.named_parameters():
            if own is not student[name]:  # what both share is not trained
                move(local(own), local(student[name]), share, self.seed, "teacher", step, name)

    @property
    def state(self) -> dict[str, Any]:
        """What it goes on with besides its weights, as JSON."""
        if not isinstance(self.config, SnapshotTeacher):
            return {}
        at = None if self.refreshed_at is None else asdict(self.refreshed_at)
        return {"seen": [asdict(health) for health in self.seen], "refreshed_at": at}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on with what `state` gave; an empty one is that of a teacher at its beginning."""
        self.seen = [Health(**health) for health in state.get("seen", ())]
        at = state.get("refreshed_at")
        self.refreshed_at = None if at is None else Health(**at)

    @property
    def has_own_weights(self) -> bool:
        """Whether a checkpoint must hold the teacher's weights: a live teacher is the student, an external one is where
        it was."""
        return self.config.kind not in ("live", "external")


def _kept_copy(student_model: Any, weights: Literal["float32", "bfloat16", "offloaded"]) -> Any:
    """A copy of the student that is kept as asked. (A model of float64 is one of a test, and stays so.)"""
    full = next(iter(full_weights(student_model).values())).dtype
    if weights == "bfloat16":
        return copy_model(student_model, torch.bfloat16)
    wide = torch.promote_types(full, torch.float32)
    return copy_model(student_model, wide, torch.device("cpu") if weights == "offloaded" else None)
