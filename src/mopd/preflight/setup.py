"""What a run works with, made once before its first step: graders, student and engine, and every check of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from mopd.config import Config
from mopd.judging.shared import shared_judge
from mopd.judging.verdicts import Judge, by_verifiers, prepare_verifiers
from mopd.judging.watching import WatchedJudge
from mopd.models.external import load_external
from mopd.models.memory import told_if_full
from mopd.models.student import Student, load_student
from mopd.parallel.ranks import ONE, Ranks
from mopd.preflight.checks import check_window
from mopd.preflight.trial import try_out
from mopd.problems import Passed, ProblemSet, load_problems
from mopd.rollouts.choosing import open_engine, open_local_engine, open_teacher_engine
from mopd.rollouts.engine import Engine
from mopd.scoring.allocator import keep_freed_memory


@dataclass(frozen=True)
class Setup:
    """What warm-up, training, evaluation and reading share: one student, one engine, one judge; and the external
    teacher, or the engine of a served one, where there is one. `ranks` share the work, and engine and judge give each
    of them all of it."""

    config: Config
    problems: ProblemSet
    judge: Judge
    student: Student
    engine: Engine
    external: Student | None = None
    teacher_engine: Engine | None = None
    ranks: Ranks = ONE

    @cached_property
    def of_teacher(self) -> Setup:
        """With an engine that writes by another model that teaches; this setup itself where a teacher is the student's
        own, whose weights the engine can take over."""
        if self.teacher_engine is not None:
            return replace(self, engine=self.teacher_engine)
        if self.external is None:
            return self
        return replace(self, engine=open_local_engine(self.config, self.external, self.ranks))

    def engine_metrics(self) -> dict[str, float]:
        """What the run's engines have to tell since they were last asked."""
        of_teacher = {} if self.teacher_engine is None else self.teacher_engine.take_metrics()
        return self.engine.take_metrics() | of_teacher


def prepare_problems(config: Config, passed: Passed | None = None) -> ProblemSet:
    """The problems of a run, those among them that were `passed` in Python. Raises ProblemError or ConfigError."""
    return load_problems(config.problems, not config.rewards.functions, passed)


def prepare(
    config: Config,
    problems: ProblemSet,
    judge: Judge = by_verifiers,
    folder: Path | None = None,
    *,
    model: tuple[Any, Any] | None = None,
    trains: bool = True,
    teaches: bool = True,
    tell: Callable[[str], object] = str,
    ranks: Ranks = ONE,
) -> Setup:
    """The setup of a run before any warm-up, with threads and graders of this process set up and everything checked.

    The student is opened from `folder`, where given: a run is resumed from its checkpoint, wherever the student came
    from. `model` is a model with its tokenizer, where they were passed in Python. What does not train may have fewer
    problems than a step takes; what does not teach, as an evaluation, opens no external teacher. `tell` is told of a
    check that takes seconds. Raises MopdError.
    """
    names = {problem.verifier for problem in problems.train + problems.held_out}
    prepare_verifiers(set() if config.rewards.functions else names, config)
    with told_if_full(config, lambda: "load", has_begun=False):
        student = open_student(config, folder, model)
        asked = config.external_teacher if teaches else None
        external = None if asked is None else load_external(asked, student, config.compute)
        engine = open_engine(config, student, ranks)
        served, reader = (teaches and open_teacher_engine(config, student, ranks)) or (None, None)
        problems = check_window(student, problems, config, external or reader)
        try_out(config, problems, student, engine, trains, tell)
    return Setup(config, problems, WatchedJudge(shared_judge(judge, ranks)), student, engine, external, served, ranks)


def open_student(config: Config, folder: Path | None = None, model: tuple[Any, Any] | None = None) -> Student:
    """The student, from `folder` or as `model` where given, with memory and threads of this process set up. Raises
    MopdError."""
    keep_freed_memory()
    if config.compute.threads is not None:
        torch.set_num_threads(config.compute.threads)
    name, options = str(folder or config.student), config.chat.options
    return load_student(name, config.seed, config.compute, options, model, config.lora)
