"""What happens before the first step of anything: threads, graders, the student, and every check that needs no work."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import torch

from mopd.allocator import keep_freed_memory
from mopd.config import Config
from mopd.errors import ConfigError
from mopd.problems import ProblemSet, load_problems
from mopd.students import Student, check_window, load_student, resolve_device
from mopd.verification import prepare_verifiers


def prepare_problems(config: Config) -> ProblemSet:
    """The problems of a run. Raises ProblemError or ConfigError."""
    return load_problems(config.problems, needs_answer=not config.rewards.functions)


def prepare_student(config: Config, problems: ProblemSet, folder: Path | None = None) -> Student:
    """The student before any warm-up, with threads and graders of this process set up and everything checked.

    It is opened from `folder`, where given: a run is resumed from its checkpoint, wherever the student came from.
    """
    keep_freed_memory()
    if config.compute.threads is not None:
        torch.set_num_threads(config.compute.threads)
    names = {problem.verifier for problem in problems.train + problems.held_out}
    prepare_verifiers(set() if config.rewards.functions else names, config)
    student = load_student(str(folder or config.student), config.seed, config.compute, config.chat.options)
    check_window(student, problems, config)
    return student


COMPILERS = ("g++", "clang++", "c++")


def check_compiler(config: Config) -> None:
    """For training: torch.compile writes C++ for a processor, and would miss a compiler only after the first rollouts.

    Raises ConfigError.
    """
    if not config.compute.compile or resolve_device(config.compute.device).type != "cpu":
        return
    names = [os.environ["CXX"]] if "CXX" in os.environ else COMPILERS
    if not any(shutil.which(name) for name in names):
        raise ConfigError(
            "compute.compile on a CPU has a C++ compiler",
            f"none of {', '.join(names)}",
            "install g++, or set compute.compile = false",
        )
