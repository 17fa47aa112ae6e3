"""What happens before the first step of anything: threads, graders, the student, and every check that needs no work."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from mopd import sandbox, verifiers
from mopd.config import Config
from mopd.problems import ProblemSet, load_problems
from mopd.sandbox import Limits
from mopd.students import Student, check_window, load_student
from mopd.types import Problem
from mopd.verifiers import pool


def prepare_problems(config: Config) -> ProblemSet:
    """The problems of a run. Raises ProblemError or ConfigError."""
    return load_problems(config.problems, needs_answer=not config.rewards.functions)


def prepare_student(config: Config, problems: ProblemSet, folder: Path | None = None) -> Student:
    """The student before any warm-up, with threads and graders of this process set up and everything checked.

    It is opened from `folder`, where given: a run is resumed from its checkpoint, wherever the student came from.
    """
    if config.compute.threads is not None:
        torch.set_num_threads(config.compute.threads)
    if not config.rewards.functions:
        prepare_verifiers(config, problems.train + problems.held_out)
    student = load_student(str(folder or config.student), config.seed, config.compute, config.chat.options)
    check_window(student, problems, config)
    return student


def prepare_verifiers(config: Config, problems: Sequence[Problem]) -> None:
    """Set up graders and sandboxes, so that all of `problems` can be judged.

    Raises VerifierError where a verifier does not exist, or code cannot be run safely here.
    """
    limits = config.sandbox
    pool.configure(config.verification.workers, config.verification.time_limit_s)
    sandbox.configure(Limits(limits.time_limit_s, limits.memory_mb * 2**20, limits.processes, limits.output_kb * 2**10))
    names = {problem.verifier for problem in problems}
    for name in names:
        verifiers.get(name)
    if "code" in names:
        sandbox.check()
