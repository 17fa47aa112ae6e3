"""Teachers: the student of an average past, of the beginning, or of now. No gradient ever flows through one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from mopd.config import EmaTeacher, FrozenTeacher, LiveTeacher
from mopd.core.types import Lesson
from mopd.method.predictions import Predictions
from mopd.models.student import copy_model
from mopd.scoring.rows import teacher_row
from mopd.scoring.scorer import Scorer

Reading = Callable[[Sequence[int]], Callable[[slice], Predictions]]
"""What a teacher made of the contexts of lessons. For some of the lessons (their indices) it gives a function from a
part of their loss tokens (a slice, lessons in order) to the teacher's predictions before these tokens, without
gradient."""


class Teacher(Protocol):
    """What the learner knows of a teacher. A served model can be one: hidden states and heads stay inside."""

    changes_within_step: bool
    """Whether it changes with every update, so that its contexts are read again before each update of a step."""

    def read(self, lessons: Sequence[Lesson]) -> Reading:
        """Read the contexts of lessons with the completions behind them."""
        ...

    def follow(self, student_model: Any) -> None:
        """Take one step after the student, which has been updated."""
        ...


class LocalTeacher:
    """A teacher in this process: `model` is the student itself for kind `live`, else a copy of its own."""

    def __init__(
        self,
        student_model: Any,
        config: EmaTeacher | FrozenTeacher | LiveTeacher,
        scorer: Scorer,
        temperature: float = 1.0,
    ) -> None:
        self.config = config
        self.scorer = scorer
        self.temperature = temperature
        self.model = student_model if config.kind == "live" else copy_model(student_model)
        self.changes_within_step = config.kind == "live"

    def read(self, lessons: Sequence[Lesson]) -> Reading:
        """Read all contexts once and keep the hidden states before loss tokens; the head follows part by part."""
        return self._reading(self.scorer.read(self.model, [teacher_row(lesson) for lesson in lessons]))

    def _reading(self, states: Sequence[Tensor]) -> Reading:
        def of_lessons(indices: Sequence[int]) -> Callable[[slice], Predictions]:
            chosen = torch.cat([states[index] for index in indices])

            @torch.no_grad()
            def of_part(part: slice) -> Predictions:
                return self.scorer.predict(self.model, chosen[part], self.temperature)

            return of_part

        return of_lessons

    @torch.no_grad()
    def follow(self, student_model: Any) -> None:
        """t <- (1 - rate) t + rate s for kind `ema`; the others stay as they are."""
        if not isinstance(self.config, EmaTeacher):
            return
        ours, theirs = list(self.model.parameters()), list(student_model.parameters())
        torch._foreach_lerp_(ours, theirs, self.config.rate)

    @property
    def has_own_weights(self) -> bool:
        """Whether a checkpoint must hold the teacher's weights: a live teacher is the student."""
        return self.config.kind != "live"
