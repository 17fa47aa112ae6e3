"""What a teacher makes of rollouts that are there: the mean log-probability of each one's own tokens behind a recipe.

A teacher that scores successes above failures tells them apart. That alone does not make it a teacher: behind a context
that shows the rollout's own text, or its answer, scores are high whether it could have written it or not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from mopd.config import LessonsConfig, LiveTeacher
from mopd.core.signals import SIGNALS, Estimate, differences, over_problems
from mopd.core.statistics import mean_or_zero
from mopd.core.types import Group, Lesson, LessonRecord, Peers
from mopd.evaluation.reading import is_cut
from mopd.learning.choosing import open_teacher
from mopd.learning.scores import mean_logprobs
from mopd.learning.teacher import LocalTeacher, Teacher
from mopd.method.lessons import LessonMaker
from mopd.preflight.setup import Setup
from mopd.scoring.scorer import Scorer


@dataclass(frozen=True)
class Scored:
    """One rollout: whether it succeeded, its score in nats, the tokens of its context, whether peers were cut or left
    out there, and whether its own text had to be shown."""

    index: int
    is_success: bool
    score: float
    read_tokens: int
    is_over_budget: bool
    shows_own_text: bool


@dataclass(frozen=True)
class ScoredGroup:
    """A mixed group under one recipe: its rollouts that have a context and a verdict. Those whose score is not a finite
    number are counted alone."""

    problem_id: str
    rollouts: tuple[Scored, ...]
    nonfinite_count: int = 0

    def signal(self, name: str) -> float | None:
        """One of the statistics of `core.signals`; None where it is undefined."""
        return SIGNALS[name]([r.score for r in self.rollouts], [r.is_success for r in self.rollouts])


@dataclass(frozen=True)
class TokenScores:
    """All mixed groups under one recipe."""

    groups: tuple[ScoredGroup, ...]

    def signal(self, name: str) -> Estimate:
        """Its mean over problems with a 95 % interval; groups where it is undefined are left out and counted."""
        return over_problems(self.of_groups(name))

    def of_groups(self, name: str) -> list[tuple[str, float | None]]:
        """The statistic of each group, with the id of its problem."""
        return [(group.problem_id, group.signal(name)) for group in self.groups]

    def auc_over(self, other: TokenScores) -> Estimate:
        """By how much the AUC is above that of other scores of the same groups, in which both are defined."""
        return over_problems(differences(other.of_groups("auc"), self.of_groups("auc")))

    def as_json(self) -> dict[str, Any]:
        """For the file of `mopd preflight --json`: figures, and what they are of."""
        rollouts = [rollout for group in self.groups for rollout in group.rollouts]
        lengths = [rollout.read_tokens for rollout in rollouts]
        return {
            "signals": {name: self.signal(name).as_json() for name in SIGNALS},
            "rollouts": len(rollouts),
            "nonfinite": sum(group.nonfinite_count for group in self.groups),
            "read_tokens_mean": mean_or_zero(lengths),
            "read_tokens_most": max(lengths, default=0),
            "over_budget": sum(rollout.is_over_budget for rollout in rollouts),
            "shows_own_text": sum(rollout.shows_own_text for rollout in rollouts),
            "groups": [
                {"problem_id": group.problem_id, "rollouts": [asdict(r) for r in group.rollouts]}
                for group in self.groups
            ],
        }


def own_teacher(setup: Setup, model: Any) -> Teacher:
    """A model in this process as it is, without a copy."""
    scorer = Scorer.of(setup.config.compute, setup.student.dtype, may_compile=False)
    return LocalTeacher(model, LiveTeacher(), scorer, setup.config.sampling.temperature)


def teacher_of(setup: Setup) -> Teacher:
    """What will teach, before the first step: the student itself, or another model."""
    model = (setup.external or setup.student).model
    if setup.config.served_teacher is None:
        return own_teacher(setup, model)
    scorer = Scorer.of(setup.config.compute, setup.student.dtype, may_compile=False)
    teacher = open_teacher(setup.config, model, setup.student.tokenizer.token_ids, scorer)
    assert teacher is not None
    return teacher


def scores_of_all(maker: LessonMaker) -> LessonMaker:
    """`maker` for rollouts of which none is left out of the scoring, whatever the run would teach."""
    config = maker.config.model_copy(update={"lessons": LessonsConfig()})
    return LessonMaker(config, maker.encode, maker.template)


def score_group(
    teacher: Teacher, student: Any, maker: LessonMaker | None, group: Group, groups: Sequence[Group]
) -> ScoredGroup:
    """The rollouts of `group` behind the contexts of `maker`; behind their own prompt where it is None.

    `student` is the model whose head bounds how many predictions exist at once; `groups` are what a control draws from.
    Rollouts without a context, without own tokens or whose grader failed are left out, and under a contrast of teachers
    those without a failed peer.
    """
    taught = []
    for index in (r.index for r in group.rollouts if _is_judged(group, r.index)):
        record = _record(maker, group, index, groups)
        if record.lesson is not None and record.lesson.context_ids and _is_contrasted(maker, record.lesson):
            taught.append((index, record, record.lesson))
    scores = _scores(teacher, student, [lesson for *_, lesson in taught])
    found = [
        Scored(
            index,
            group.is_success(index),
            score,
            len(lesson.context_ids or ()),
            record.context is not None and is_cut(record.context),
            record.peers.shows_own_text,
        )
        for (index, record, lesson), score in zip(taught, scores, strict=True)
        if math.isfinite(score)
    ]
    return ScoredGroup(group.problem.id, tuple(found), len(taught) - len(found))


def _scores(teacher: Teacher, student: Any, lessons: Sequence[Lesson]) -> list[float]:
    """Mean log-probabilities; under a contrast of teachers, by how much they are above those behind the failure."""
    found = mean_logprobs(teacher, student, lessons)
    failing = [replace(lesson, context_ids=lesson.failure_context_ids) for lesson in lessons]
    failing = [lesson for lesson in failing if lesson.context_ids is not None]
    if not failing:
        return found
    return [s - f for s, f in zip(found, mean_logprobs(teacher, student, failing), strict=True)]


def _is_contrasted(maker: LessonMaker | None, lesson: Lesson) -> bool:
    return maker is None or maker.contrast is None or lesson.failure_context_ids is not None


def _is_judged(group: Group, index: int) -> bool:
    return group.verdicts[index].kind != "error" and group.rollouts[index].own_token_count > 0


def _record(maker: LessonMaker | None, group: Group, index: int, groups: Sequence[Group]) -> LessonRecord:
    if maker is not None:
        return maker.make_one(group, index, groups)
    rollout = group.rollouts[index]
    alone = Lesson(group.problem.id, group.problem.domain, rollout, group.prompt_ids, group.prompt_ids)
    return LessonRecord(Peers(), None, alone, None)
