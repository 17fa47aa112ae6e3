"""Teachers: the student of an average past, of the beginning, of the last refresh, or of now. No gradient ever flows
through one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any, Protocol

import torch
from torch import Tensor

from mopd.config import EmaTeacher, SnapshotTeacher, TeacherConfig
from mopd.core.types import Lesson
from mopd.method.predictions import Predictions
from mopd.models.student import copy_model
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

    def read(self, lessons: Sequence[Lesson]) -> Reading:
        """Read the contexts of lessons with the completions behind them."""
        ...

    def follow(self, student_model: Any, health: Health) -> dict[str, float]:
        """Take one step after the student, which has been updated after rollouts of such health; what there is to
        tell of that, as metrics."""
        ...


class LocalTeacher:
    """A teacher in this process: `model` is the student itself for kind `live`, else a copy of its own."""

    def __init__(
        self,
        student_model: Any,
        config: TeacherConfig,
        scorer: Scorer,
        temperature: float = 1.0,
    ) -> None:
        self.config = config
        self.scorer = scorer
        self.temperature = temperature
        self.model = student_model if config.kind == "live" else copy_model(student_model)
        self.changes_within_step = config.kind == "live"
        self.seen: list[Health] = []
        """Of a snapshot: the steps since the last refresh."""
        self.refreshed_at: Health | None = None

    def read(self, lessons: Sequence[Lesson]) -> Reading:
        """Read all contexts once and keep the hidden states before loss tokens; the head follows part by part."""
        return self._reading(self.scorer.read(self.model, [teacher_row(lesson) for lesson in lessons]))

    def _reading(self, states: Sequence[Tensor]) -> Reading:
        def of_lessons(indices: Sequence[int]) -> Callable[[Sequence[int]], Predictions]:
            chosen = torch.cat([states[index] for index in indices])

            @torch.no_grad()
            def of_tokens(numbers: Sequence[int]) -> Predictions:
                hidden = chosen[torch.tensor(numbers, device=chosen.device)]
                return self.scorer.predict(self.model, hidden, self.temperature)

            return of_tokens

        return of_lessons

    @torch.no_grad()
    def follow(self, student_model: Any, health: Health) -> dict[str, float]:
        """t <- (1 - rate) t + rate s for kind `ema`; t <- s at the refreshes of kind `snapshot`; else t stays."""
        if isinstance(self.config, SnapshotTeacher):
            return self._refresh(student_model, self.config.every, health)
        if isinstance(self.config, EmaTeacher):
            self._move(student_model, self.config.rate)
        return {}

    def _refresh(self, student_model: Any, every: int, health: Health) -> dict[str, float]:
        self.seen = [*self.seen, health][-every:]
        if len(self.seen) < every:
            return {}
        now = Health(*(fmean(getattr(step, name) for step in self.seen) for name in ("success", "longest")))
        if not now.is_sound_after(self.refreshed_at):
            return {"teacher/refreshed_count": 0.0, "teacher/refresh_refused_count": 1.0}
        self._move(student_model, 1.0)
        self.seen, self.refreshed_at = [], now
        return {"teacher/refreshed_count": 1.0, "teacher/refresh_refused_count": 0.0}

    def _move(self, student_model: Any, share: float) -> None:
        torch._foreach_lerp_(list(self.model.parameters()), list(student_model.parameters()), share)

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
        """Whether a checkpoint must hold the teacher's weights: a live teacher is the student."""
        return self.config.kind != "live"
