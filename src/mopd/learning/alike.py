"""Loss tokens that are alike: the same token behind the same text, before which one prediction serves all.

Rollouts of a group often begin alike, and where answers are short some are equal. Where their contexts are equal too,
student and teacher say the same of a token in each: head and divergence are computed once. What weighs the token
(advantage, importance, the lesson's coefficient) stays its lesson's own, and the costs add up.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from mopd.core.types import Lesson
from mopd.scoring.rows import Row, student_row


@dataclass(frozen=True, slots=True)
class LossToken:
    """A token of a lesson (its index among the step's) that counts."""

    index: int
    lesson: Lesson
    position: int

    @property
    def token_id(self) -> int:
        return self.lesson.rollout.token_ids[self.position]

    @property
    def is_end(self) -> bool:
        """Whether the student ended its completion here."""
        rollout = self.lesson.rollout
        return not rollout.is_truncated and self.position == len(rollout.token_ids) - 1


Alike = tuple[LossToken, ...]
"""Tokens of different lessons that are alike. The first is the one that is scored."""


def loss_tokens(index: int, lesson: Lesson) -> list[LossToken]:
    """The loss tokens of one lesson, in order."""
    return [LossToken(index, lesson, position) for position, counts in enumerate(lesson.rollout.is_own) if counts]


def alike_tokens(lessons: Mapping[int, Lesson], apart: Collection[int] = ()) -> dict[int, list[Alike]]:
    """All loss tokens of some lessons (by index), by the lesson in which they are scored, in order.

    The lessons of `apart` are scored whole, as what is measured of them needs all their tokens; tokens of others may be
    scored in theirs. A lesson whose tokens are all scored in others is left out.
    """
    places: dict[tuple[object, ...], int] = {}
    scored: dict[int, list[list[LossToken]]] = {}
    at_place: dict[int, list[LossToken]] = {}
    for index in sorted(lessons, key=lambda index: index not in apart):
        lesson = lessons[index]
        read = (lesson.prompt_ids, lesson.context_ids, lesson.failure_context_ids)
        place = places.setdefault(read, len(places))
        for position, token_id in enumerate(lesson.rollout.token_ids):
            place = places.setdefault((place, token_id), len(places))
            if not lesson.rollout.is_own[position]:
                continue
            token = LossToken(index, lesson, position)
            if place in at_place and index not in apart:
                at_place[place].append(token)
            else:
                alone = [token]
                at_place.setdefault(place, alone)
                scored.setdefault(index, []).append(alone)
    return {index: [tuple(tokens) for tokens in scored[index]] for index in lessons if index in scored}


def scored_row(tokens: Sequence[Alike]) -> Row:
    """The student's row of a lesson of which these tokens are scored."""
    row = student_row(tokens[0][0].lesson)
    scored = {alike[0].position for alike in tokens}
    return replace(row, loss_mask=tuple(position in scored for position in range(len(row.completion))))
