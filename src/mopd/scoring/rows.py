"""A row: one sequence to score, and which of its tokens count in the loss."""

from __future__ import annotations

from dataclasses import dataclass

from mopd.core.types import Lesson


@dataclass(frozen=True, slots=True)
class Row:
    """A sequence to score: `prefix` is only read; of `completion` the tokens count where `loss_mask` is set."""

    prefix: tuple[int, ...]
    completion: tuple[int, ...]
    loss_mask: tuple[bool, ...]

    @property
    def token_ids(self) -> tuple[int, ...]:
        return self.prefix + self.completion

    @property
    def scored_from(self) -> list[int]:
        """The positions whose hidden states predict the loss tokens: each is one before its token."""
        before = len(self.prefix) - 1
        return [before + offset for offset, counts in enumerate(self.loss_mask) if counts]


def student_row(lesson: Lesson) -> Row:
    """What the student scores: its prompt, then its own completion."""
    return Row(lesson.prompt_ids, lesson.rollout.token_ids, lesson.rollout.is_own)


def teacher_row(lesson: Lesson) -> Row:
    """What the teacher scores: the context, then the same completion ids."""
    assert lesson.context_ids is not None
    return Row(lesson.context_ids, lesson.rollout.token_ids, lesson.rollout.is_own)
