"""What would fail in the middle of a run is refused before it: windows, templates, feedback, paths, a compiler."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from mopd.config import Config
from mopd.core.errors import ConfigError, ProblemError, RunError, StudentError
from mopd.method.contexts import render_context
from mopd.models.devices import resolve_device
from mopd.models.student import Student
from mopd.problems import ProblemSet


def _check_feedback(student: Student) -> None:
    """Verifiers write feedback in English; a student with an alphabet of its own may not be able to read it."""
    try:
        student.tokenizer.encode_completion("The boxed answer '1' is wrong.")
    except Exception as error:
        raise ConfigError(
            "context.feedback is shown to a student whose vocabulary can write it",
            f"{type(error).__name__}: {error}",
            "set context.feedback = 'never'",
        ) from error


def check_window(student: Student, problems: ProblemSet, config: Config) -> None:
    """Refuse problems and budgets that do not fit the student's window. Raises ConfigError or ProblemError."""
    completion, window = config.sampling.completion_tokens, student.window
    needs_context = config.objective.kind == "distill" or config.warmup is not None
    if needs_context and config.context.tokens + completion > window:
        raise ConfigError(
            f"context.tokens + sampling.completion_tokens fit the student's window of {window} tokens"
            f"{student.window_note}",
            f"{config.context.tokens} + {completion}",
            f"set context.tokens to at most {max(window - completion, 0)}, or lower completion_tokens",
        )
    if config.context.feedback != "never":
        _check_feedback(student)
    _check_template(student, problems, config)
    for problem in (*problems.train, *problems.held_out):
        tokens = len(student.tokenizer.encode_prompt(problem.messages))
        if tokens + completion > window:
            raise ProblemError(
                f"a prompt and its completion fit the student's window of {window} tokens{student.window_note}",
                f"problem {problem.id}: {tokens} + {completion}",
                "leave the problem out or lower sampling.completion_tokens",
            )
        if needs_context:  # raises where problem, closing instruction and header alone are over the budget
            render_context(
                problem.messages,
                (),
                (),
                template=config.context.template or student.template,
                budget=config.context.tokens,
                encode=student.tokenizer.encode_prompt,
            )


def _check_template(student: Student, problems: ProblemSet, config: Config) -> None:
    """Refuse a template that drops a system turn, or that opens a context's answer otherwise than a prompt's."""
    template = config.context.template or student.template
    shapes = {tuple(turn["role"] for turn in problem.messages): problem for problem in problems.held_out}
    shapes |= {tuple(turn["role"] for turn in problem.messages): problem for problem in reversed(problems.train)}
    for roles, problem in shapes.items():  # a template treats turns by their roles, so one problem of each shape
        if roles[0] == "system" and not student.tokenizer.shows_turn(problem.messages, 0):
            raise StudentError(
                "the student's chat template shows a system turn",
                f"it drops that of problem {problem.id}",
                "put its text into the user turn, or set another chat_template in the tokenizer",
            )
        context = render_context(problem.messages, ("1",), ("2",), template=template)
        headers = [student.tokenizer.generation_header(messages) for messages in (problem.messages, context.messages)]
        if headers[0] is None or headers[0] != headers[1]:
            raise StudentError(
                "the student's chat template shows the last user turn and opens the answer to prompt and context alike",
                f"behind the last turn of problem {problem.id}: {headers[0]!r} and {headers[1]!r}",
                "set chat.options (for example enable_thinking = false), or another chat_template in the tokenizer",
            )


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


def check_paths(config: Config) -> None:
    """Refuse a run's directory that cannot be written, by writing where it is or will be; nothing stays.

    Raises RunError.
    """
    path = Path(config.run).expanduser().absolute()
    there = next(folder for folder in (path, *path.parents) if os.path.lexists(folder))
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(bytes(4096))
            file.flush()
    except OSError as error:
        raise RunError(
            "the run's directory can be made and written",
            f"{path}: {there}: {error.strerror}",
            "set run=... to another directory, or free space on the disk",
        ) from error
