"""Models of a run's newest checkpoint, or any model as its own teacher, opened to read recorded rollouts again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from mopd.config import Config
from mopd.core.errors import ConfigError
from mopd.core.types import Group
from mopd.learning.choosing import open_teacher
from mopd.learning.teacher import Teacher
from mopd.method.lessons import LessonMaker
from mopd.models.external import load_external
from mopd.models.student import Student
from mopd.models.tokenizer import ChatTokenizer
from mopd.preflight.setup import open_student
from mopd.runs.checkpoint import from_checkpoint, load_teacher, newest_of_run
from mopd.runs.inputs import freeze_day
from mopd.runs.paths import settled
from mopd.runs.reading import moment_of
from mopd.scoring.scorer import Scorer

LONGEST = 8192
"""Tokens of a rollout and of each of its contexts that are scored at most, if the student's window allows as many."""


@dataclass
class Models:
    """Student and teacher, and how contexts are made; `step` of a checkpoint, None of a model that is of no run."""

    config: Config
    student: Student
    teacher: Teacher
    scorer: Scorer
    maker: LessonMaker
    step: int | None

    @classmethod
    def open(cls, run: Path, config: Config) -> Models:
        """Of the run's newest checkpoint; `config` is in force. Raises MopdError."""
        if config.objective.kind != "distill":
            raise ConfigError(
                "a teacher reads contexts", f"objective.kind = {config.objective.kind}", "nothing is wrong"
            )
        folder, cursor = newest_of_run(run)
        with from_checkpoint(folder):
            found = cls.of_student(settled(config.model_copy(update={"student": str(folder)})))
            load_teacher(folder, cursor, found.student, found.teacher)
        freeze_day(found.student.tokenizer, moment_of(run))
        return replace(found, step=cursor.step)

    @classmethod
    def of_student(cls, config: Config) -> Models:
        """The student that a configuration with a teacher names, and its teacher as it begins. Raises MopdError."""
        student = open_student(config)
        asked = config.external_teacher
        external = None if asked is None else load_external(asked, student, config.compute)
        scorer = Scorer.of(config.compute, student.dtype, may_compile=False)  # a few groups are read, of any length
        teacher = open_teacher(config, (external or student).model, student.tokenizer.token_ids, scorer)
        assert teacher is not None
        maker = LessonMaker(config, student.tokenizer.encode_prompt, student.template)
        return cls(config, student, teacher, scorer, maker, None)


def with_tokens(group: Group, tokenizer: ChatTokenizer, is_whole: bool = True) -> Group:
    """A recorded group with token ids. They are not recorded: texts are encoded again.

    An end token stands behind each completion that was not cut, unless `is_whole` says that nobody knows which were.
    """
    rollouts = []
    for rollout in group.rollouts:
        end = (tokenizer.end_id,) if is_whole and not rollout.is_truncated else ()
        ids = (*tokenizer.encode_completion(rollout.text), *end)
        own = (True,) * len(ids)
        rollouts.append(replace(rollout, token_ids=ids, is_own=own, sampler_logprobs=(0.0,) * len(ids)))
    prompt = tuple(tokenizer.encode_prompt(group.problem.messages))
    return replace(group, rollouts=tuple(rollouts), prompt_ids=prompt)
