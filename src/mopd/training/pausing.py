"""Lessons from a teacher pause while it is right less often than the student when it generates from their contexts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mopd.core.statistics import mean_or_zero
from mopd.core.types import Group, LessonRecord


class Pausing:
    """Whether the teacher teaches, by the newest measurements of how much better than the student it is."""

    def __init__(self) -> None:
        self._gaps: list[tuple[float, float]] = []

    def recall(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Go on behind the steps whose metrics these are (lines of metrics.jsonl)."""
        self._gaps = [
            (row["teacher/gap_share"], row["teacher/gap_error"]) for row in rows if "teacher/gap_share" in row
        ]

    def measured(self, accuracy: float, records: Sequence[tuple[Group, LessonRecord]]) -> dict[str, float]:
        """Take note of a teacher's accuracy from the contexts of `records`; the gap to the student's as metrics.

        The student's is the share of successes of the same groups, each as often as it has contexts among them.
        """
        student = mean_or_zero([group.is_success(r.index) for group, _ in records for r in group.rollouts])
        error = math.sqrt((accuracy * (1 - accuracy) + student * (1 - student)) / max(1, len(records)))
        self._gaps.append((accuracy - student, error))
        return {"teacher/gap_share": accuracy - student, "teacher/gap_error": error}

    @property
    def is_paused(self) -> bool:
        """Whether the teacher is worse than the student: by one standard error over the newest two measurements, or by
        two in the newest one. A few contexts say little."""
        return _is_below(self._gaps[-1:], errors=2) or (len(self._gaps) > 1 and _is_below(self._gaps[-2:], errors=1))

    def without_teacher(self, records: Sequence[Sequence[LessonRecord]]) -> list[list[LessonRecord]]:
        """The records with no lesson from a teacher; what GRPO makes of the same rollouts stays."""
        return [[_without_teacher(record) for record in group] for group in records]


def _without_teacher(record: LessonRecord) -> LessonRecord:
    lesson = record.lesson
    if lesson is None or lesson.context_ids is None:
        return record
    of_grpo = replace(lesson, context_ids=None, failure_context_ids=None) if lesson.advantage else None
    return replace(record, lesson=of_grpo, reason="teacher_paused")


def _is_below(gaps: Sequence[tuple[float, float]], errors: float) -> bool:
    """Whether the mean of some gaps, each with its standard error, is below 0 by so many standard errors."""
    error = math.sqrt(sum(error**2 for _, error in gaps)) / max(1, len(gaps))
    return bool(gaps) and mean_or_zero([gap for gap, _ in gaps]) + errors * error < 0
