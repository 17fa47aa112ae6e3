"""What would fail in the middle of a run is refused before it: windows, templates, feedback, paths, a compiler."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mopd.config import Config
from mopd.core.errors import ConfigError, ProblemError, RunError, StudentError
from mopd.core.files import advice
from mopd.core.types import Problem
from mopd.learning.lean import packed_type
from mopd.method.contexts import render_context, template_of
from mopd.models.devices import resolve_device
from mopd.models.student import Reader
from mopd.parallel.ranks import Ranks
from mopd.parallel.sharded import check_can_shard
from mopd.problems import ProblemSet


def _check_feedback(student: Reader) -> None:
    """Verifiers write feedback in English; a student with an alphabet of its own may not be able to read it."""
    try:
        student.tokenizer.encode_completion("The boxed answer '1' is wrong.")
    except Exception as error:
        raise ConfigError(
            "context.feedback is shown to a student whose vocabulary can write it",
            f"{type(error).__name__}: {error}",
            "set context.feedback = 'never'",
        ) from error


def check_window(student: Reader, problems: ProblemSet, config: Config, external: Reader | None = None) -> ProblemSet:
    """The problems that fit the student's window; all of them, unless `problems.over_long` leaves some out.

    They also fit that of an external teacher, which reads the same completions.

    Raises ConfigError or ProblemError where budgets or problems do not fit.
    """
    if external is not None and external.window < student.window:
        note = f"{external.window_note} (its external teacher's)"
        student = Reader(student.tokenizer, student.template, external.window, note)
    check_budgets(student, config)
    problems = _fitting(student, problems, config)
    check_template(student, problems, config)
    return problems


def check_budgets(student: Reader, config: Config) -> None:
    """Refuse a context that leaves a completion no room in the window, and feedback that the student cannot read."""
    completion, window = config.sampling.completion_tokens, student.window
    if needs_context(config) and config.context.tokens + completion > window:
        raise ConfigError(
            f"context.tokens + sampling.completion_tokens fit the student's window of {window} tokens"
            f"{student.window_note}",
            f"context.tokens + sampling.completion_tokens = {config.context.tokens + completion}",
            f"set context.tokens to at most {max(window - completion, 0)}, or lower completion_tokens",
        )
    if config.context.feedback != "never":
        _check_feedback(student)


def needs_context(config: Config) -> bool:
    """Whether anything in a run reads contexts."""
    is_taught_alone = config.is_taught_by_another and config.peers.recipe == "fixed"
    is_taught_alone &= not config.peers.successes + config.peers.failures and config.context.feedback == "never"
    return (config.objective.kind == "distill" and not is_taught_alone) or config.warmup is not None


@dataclass(frozen=True)
class Excess:
    """Why a problem is too long: the law it breaks, by how much, what would make room, and as what it is counted."""

    law: str
    got: str
    do: str
    counted_as: str


def _fitting(student: Reader, problems: ProblemSet, config: Config) -> ProblemSet:
    """The problems without those that are too long, which the split then counts. Raises ProblemError."""
    everything = problems.train + problems.held_out
    excesses = [(problem, excess) for problem in everything if (excess := excess_of(student, problem, config))]
    if excesses and config.problems.over_long == "refuse":
        problem, excess = excesses[0]
        count = f", the first of {len(excesses)} problems" if len(excesses) > 1 else ""
        do = f"{excess.do}, or set problems.over_long = 'leave_out': such problems are then counted"
        raise ProblemError(excess.law, f"{problem.named}{count}: {excess.got}", do)
    return without_over_long(problems, excesses)


def without_over_long(problems: ProblemSet, excesses: Sequence[tuple[Problem, Excess]]) -> ProblemSet:
    """The problems without those that are too long, which its split counts. Raises ProblemError for a part of none."""
    if not excesses:
        return problems
    left_out = {problem.id for problem, _ in excesses}
    kept = {}
    for part in ("train", "held_out"):
        kept[part] = tuple(problem for problem in getattr(problems, part) if problem.id not in left_out)
        if getattr(problems, part) and not kept[part]:
            excess = excesses[-1][1]
            raise ProblemError(
                f"some problems of both parts remain: {excess.law}", f"no {part} problem remains", excess.do
            )
    reasons = Counter(excess.counted_as for _, excess in excesses)
    split = replace(problems.split, left_out={**problems.split.left_out, **reasons})
    return replace(problems, train=kept["train"], held_out=kept["held_out"], split=split)


def excess_of(student: Reader, problem: Problem, config: Config) -> Excess | None:
    """Why a problem is too long; None where it is not. Raises ProblemError where the student cannot read it."""
    completion, encode = config.sampling.completion_tokens, student.tokenizer.encode_prompt
    tokens = len(encode(problem.messages))
    if tokens + completion > student.window:
        return Excess(
            f"a prompt and its completion fit the student's window of {student.window} tokens{student.window_note}",
            f"{tokens} + {completion}",
            "lower sampling.completion_tokens",
            f"prompt and completion are longer than the student's window of {student.window} tokens",
        )
    if needs_context(config):
        template, budget = template_of(config.context, student.template), config.context.tokens
        tokens = len(render_context(problem.messages, (), (), template=template, encode=encode).token_ids)
        if tokens > budget:
            return Excess(
                f"a problem without any peer fits context.tokens = {budget}",
                f"{tokens} tokens with closing instruction and header",
                "raise context.tokens",
                f"the problem alone is longer than context.tokens = {budget}",
            )
    return None


def check_template(student: Reader, problems: ProblemSet, config: Config) -> None:
    """Refuse a template that drops a system turn, or earlier answers where peers are such, or that opens a context's
    answer otherwise than a prompt's."""
    template = template_of(config.context, student.template)
    shapes = {tuple(turn["role"] for turn in problem.messages): problem for problem in problems.held_out}
    shapes |= {tuple(turn["role"] for turn in problem.messages): problem for problem in reversed(problems.train)}
    for roles, problem in shapes.items():  # a template treats turns by their roles, so one problem of each shape
        if roles[0] == "system" and not student.tokenizer.shows_turn(problem.messages, 0):
            raise StudentError(
                "the student's chat template shows a system turn",
                f"the chat template drops the system turn of {problem.named}",
                "put its text into the user turn, or set another chat_template in the tokenizer",
            )
        if template.peers_are_turns and not student.tokenizer.shows_answers(problem.messages):
            raise StudentError(
                "the student's chat template shows earlier answers, where peers are turns",
                f"{problem.named}: an answer before the last turn is hidden, or the next one is opened otherwise",
                "set context.wording = 'peers_first', or another chat_template in the tokenizer",
            )
        context = render_context(problem.messages, ("1",), ("2",), template=template)
        headers = [student.tokenizer.generation_header(messages) for messages in (problem.messages, context.messages)]
        if headers[0] is None or headers[0] != headers[1]:
            raise StudentError(
                "the student's chat template shows the last user turn and opens the answer to prompt and context alike",
                f"the answer to {problem.named} is opened in two ways: {headers[0]!r} and {headers[1]!r}",
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
            f"no compiler here: none of {', '.join(names)}",
            "install g++, or set compute.compile = false",
        )


def check_moments(config: Config) -> None:
    """For training: moments of 8 bits need torchao, and would miss it only after the warm-up. Raises ConfigError."""
    if config.compute.moments == "8bit":
        packed_type()


def check_parallel(config: Config, ranks: Ranks) -> None:
    """For training by several processes: a device for each, and nothing that is not split. Raises ConfigError."""
    if ranks.size == 1:
        return
    if ":" in config.compute.device:
        raise ConfigError(
            "each process computes on the GPU of its own number",
            f"compute.device = '{config.compute.device}' for {ranks.size} processes",
            "set compute.device to auto, cuda or cpu; CUDA_VISIBLE_DEVICES says which GPUs there are",
        )
    if config.parallel.strategy != "fsdp":
        return
    kept = {"weights": "float32", "teacher": "float32", "moments": "float32", "compile": False}
    asked = [
        f"compute.{key} = {getattr(config.compute, key)}" for key in kept if getattr(config.compute, key) != kept[key]
    ]
    asked += ["[lora]"] if config.lora is not None else []
    if asked:
        raise ConfigError(
            "parallel.strategy = 'fsdp' splits float32 weights, teacher and moments of a whole model, not compiled",
            " and ".join(asked),
            "leave it out, or set parallel.strategy = 'ddp'",
        )
    check_can_shard()


def check_paths(config: Config) -> None:
    """Refuse a run's directory (an absolute path) that cannot be written, by writing where it is or will be.

    Nothing stays. Raises RunError.
    """
    path = Path(config.run)
    there = next(folder for folder in (path, *path.parents) if os.path.lexists(folder))
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(bytes(4096))
            file.flush()
    except OSError as error:
        raise RunError(
            "the run's directory can be made and written",
            f"{path}: {there}: {error.strerror}",
            f"{advice(error)}, or set run=... to another directory",
        ) from error
