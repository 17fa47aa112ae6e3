"""What a configuration trains on, before anything runs: counts, lengths of prompts, and one problem as it is read.

What would end a run before its first step is found here too, all of it, where the run names the first.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mopd import verifiers
from mopd.config import Config
from mopd.core.errors import MopdError, ProblemError
from mopd.core.statistics import percentile
from mopd.core.types import Problem
from mopd.judging.importing import Entry
from mopd.judging.verdicts import judge, prepare_verifiers
from mopd.models.student import Reader, load_reader
from mopd.preflight.checks import Excess, check_budgets, check_template, excess_of, without_over_long
from mopd.preflight.setup import prepare_problems
from mopd.preflight.trial import check_references
from mopd.problems import ProblemSet, SplitReport
from mopd.runs.progress import ProgressDisplay
from mopd.verifiers.code_tests import tests_object

READ = (
    *("student", "problems", "chat", "sampling", "context", "objective", "warmup", "steps", "problems_per_step"),
    *("rewards", "verification", "sandbox"),
)
"""The keys and tables of a configuration that decide what is told here."""

BINS = 10
"""Bars of a histogram, at most."""


@dataclass(frozen=True)
class Count:
    """How many problems of one source, domain and verifier are trained on and held out.

    Where reward functions judge, `verifier` says so: no problem's own verifier is asked.
    """

    source: str
    domain: str
    verifier: str
    train: int
    held_out: int


@dataclass(frozen=True)
class Lengths:
    """Tokens of prompts as the student reads them. `bins` are (lowest, highest, how many prompts)."""

    count: int
    min: int
    median: int
    p95: int
    max: int
    bins: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class OverLong:
    """A problem that is too long: the law that it breaks, and by how much, in tokens."""

    problem: str
    where: str
    law: str
    got: str


@dataclass(frozen=True)
class Shown:
    """One problem as the student and the verifier read it.

    `prompt` has the template's own tokens, None where it cannot be written; `solution` is a completion made of the
    reference or of the column `solution`, which got the verdict `kind`. Without a verdict `unjudged` says why.
    """

    problem: str
    where: str
    part: str
    domain: str
    verifier: str
    tokens: int | None
    prompt: str | None
    reference: str | None
    solution: str | None
    kind: str | None
    answer: str | None
    feedback: str
    unjudged: str


@dataclass(frozen=True)
class Overview:
    """What a configuration trains on. `findings` would end its run before the first step; none: all is well."""

    student: str
    window: int
    context_tokens: int
    completion_tokens: int
    reward_functions: tuple[Entry, ...]
    counts: tuple[Count, ...]
    split: SplitReport
    lengths: Lengths | None
    over_long: tuple[OverLong, ...]
    over_long_action: str
    shown: Shown
    findings: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON has it."""
        return dataclasses.asdict(self)


def overview(config: Config, show: str | None = None, quiet: bool = False) -> Overview:
    """What `config` trains on; `show` is the id of the problem that is shown, unset: the first in training.

    No weights are loaded. Raises MopdError where problems or student cannot be read at all, or none has that id.
    """
    problems = prepare_problems(config)
    reader = load_reader(config.student, config.chat.options)
    asked = problems.find(show) if show is not None else None
    findings: list[str] = []
    _try(findings, check_budgets, reader, config)
    lengths, excesses, unread = _measured(reader, problems, config, quiet)
    findings += unread.values()
    kept = _without(problems, unread)
    if config.problems.over_long == "leave_out":
        kept = _try(findings, without_over_long, kept, excesses) or kept
    elif excesses:
        do = f"{excesses[0][1].do}, or set problems.over_long = 'leave_out'"
        count = f"{len(excesses)} of {len(problems.train + problems.held_out)} problems"
        findings.append(f"too long, which ends a run before its first step: {count}\n  what to do: {do}")
    _try(findings, check_template, reader, kept, config)
    _try(findings, kept.check_steps, config.steps, config.problems_per_step)
    can_judge = not config.rewards.functions and _check_references(findings, kept, config, quiet)
    shown = _shown(reader, asked or (kept.train or problems.train)[0], problems, config, can_judge)
    if shown.kind not in (None, "correct"):
        findings.append(f"the solution of problem {shown.problem} is judged {shown.kind}")
    return Overview(
        student=config.student,
        window=reader.window,
        context_tokens=config.context.tokens,
        completion_tokens=config.sampling.completion_tokens,
        reward_functions=tuple(config.rewards.functions),
        counts=_counts(kept, config),
        split=kept.split,
        lengths=lengths,
        over_long=tuple(OverLong(p.id, p.where, excess.law, excess.got) for p, excess in excesses),
        over_long_action=config.problems.over_long,
        shown=shown,
        findings=tuple(findings),
    )


def _try(findings: list[str], check: Callable[..., Any], *arguments: Any) -> Any:
    """What a check returns; None where it refuses, which is one more finding."""
    try:
        return check(*arguments)
    except MopdError as error:
        findings.append(str(error))
        return None


def _without(problems: ProblemSet, unread: Mapping[str, str]) -> ProblemSet:
    """The problems that the student can read: the other checks are of those."""
    train, held_out = (
        tuple(problem for problem in part if problem.id not in unread) for part in (problems.train, problems.held_out)
    )
    return replace(problems, train=train, held_out=held_out)


def _check_references(findings: list[str], problems: ProblemSet, config: Config, quiet: bool) -> bool:
    """Whether verifiers can be asked here; a reference that none can read is a finding."""
    everything = problems.train + problems.held_out
    before = len(findings)
    _try(findings, prepare_verifiers, {problem.verifier for problem in everything}, config)
    if len(findings) > before:
        return False
    with ProgressDisplay(quiet).phase("references", 0) as phase:
        _try(findings, check_references, everything, phase.note)
    return True


# --- counts and lengths ---------------------------------------------------------------------------------------------


def _counts(problems: ProblemSet, config: Config) -> tuple[Count, ...]:
    train, held_out = (
        Counter((_source(problem, config), problem.domain, _verifier(problem, config)) for problem in part)
        for part in (problems.train, problems.held_out)
    )
    return tuple(Count(*key, train[key], held_out[key]) for key in dict.fromkeys([*train, *held_out]))


def _source(problem: Problem, config: Config) -> str:
    """The file or data set that a problem was read from; the generator's name, where one alone generates."""
    return problem.where.rpartition(", ")[0] or config.problems.source or "generated"


def _verifier(problem: Problem, config: Config) -> str:
    return "reward functions" if config.rewards.functions else problem.verifier


def _measured(
    reader: Reader, problems: ProblemSet, config: Config, quiet: bool
) -> tuple[Lengths | None, list[tuple[Problem, Excess]], dict[str, str]]:
    """The lengths of prompts, the problems that are too long, and by id why others cannot be read at all."""
    lengths: list[int] = []
    excesses: list[tuple[Problem, Excess]] = []
    unread: dict[str, str] = {}
    everything = problems.train + problems.held_out
    with ProgressDisplay(quiet).phase("tokens", len(everything)) as phase:
        for problem in everything:
            try:
                lengths.append(len(reader.tokenizer.encode_prompt(problem.messages)))
                if excess := excess_of(reader, problem, config):
                    excesses.append((problem, excess))
            except ProblemError as error:
                unread[problem.id] = f"{problem.named}: {error}"
            phase.advance()
    return _lengths(lengths), excesses, unread


def _lengths(lengths: Sequence[int]) -> Lengths | None:
    if not lengths:
        return None
    lowest, highest = min(lengths), max(lengths)
    width = math.ceil((highest - lowest + 1) / BINS)
    counts = Counter((length - lowest) // width for length in lengths)
    bins = [(lowest + i * width, lowest + (i + 1) * width - 1, counts[i]) for i in range(max(counts) + 1)]
    median, p95 = (int(percentile(lengths, share)) for share in (0.5, 0.95))
    return Lengths(len(lengths), lowest, median, p95, highest, tuple(bins))


# --- one problem ----------------------------------------------------------------------------------------------------


def _shown(reader: Reader, problem: Problem, problems: ProblemSet, config: Config, can_judge: bool) -> Shown:
    try:
        prompt: str | None = reader.tokenizer.render(problem.messages)
        tokens: int | None = len(reader.tokenizer.encode_prompt(problem.messages))
    except ProblemError:  # told as a finding
        prompt = tokens = None
    solution = verifiers.demonstration(problem)
    verdict = judge(problem, solution) if can_judge and solution is not None else None
    return Shown(
        problem=problem.id,
        where=problem.where,
        part="held out" if problem in problems.held_out else "training",
        domain=problem.domain,
        verifier=_verifier(problem, config),
        tokens=tokens,
        prompt=prompt,
        reference=_reference(problem),
        solution=solution,
        kind=verdict.kind if verdict else None,
        answer=verdict.answer if verdict else None,
        feedback=verdict.feedback if verdict else "",
        unjudged="" if verdict else _why_unjudged(config, can_judge),
    )


def _reference(problem: Problem) -> str | None:
    """The reference, or what stands for it: a problem of code has tests."""
    if problem.reference is not None or problem.verifier != "code":
        return problem.reference
    tests = tests_object(problem.columns["tests"])
    return f"tests ({tests['testtype']}{', ' + str(len(tests['inputs'])) if 'inputs' in tests else ''})"


def _why_unjudged(config: Config, can_judge: bool) -> str:
    if config.rewards.functions:
        return "reward functions judge, which are not called here"
    return "it has no solution that could be tried" if can_judge else "its verifier cannot be asked here"
