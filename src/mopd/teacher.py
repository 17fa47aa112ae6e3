"""Teachers: the student of an average past, of the beginning, or of now. No gradient ever flows through one."""

from __future__ import annotations

from typing import Any

import torch

from mopd.config import EmaTeacher, FrozenTeacher, LiveTeacher
from mopd.students import copy_model


class Teacher:
    """The model that reads contexts. `model` is the student itself for kind `live`, else a copy of its own."""

    def __init__(self, student_model: Any, config: EmaTeacher | FrozenTeacher | LiveTeacher) -> None:
        self.config = config
        self.model = student_model if config.kind == "live" else copy_model(student_model)

    @torch.no_grad()
    def follow(self, student_model: Any) -> None:
        """One step after an update of the student: t <- (1 - rate) t + rate s for `ema`, else nothing."""
        if not isinstance(self.config, EmaTeacher):
            return
        ours, theirs = list(self.model.parameters()), list(student_model.parameters())
        torch._foreach_lerp_(ours, theirs, self.config.rate)

    @property
    def has_own_weights(self) -> bool:
        """Whether a checkpoint must hold the teacher's weights: a live teacher is the student."""
        return self.config.kind != "live"
