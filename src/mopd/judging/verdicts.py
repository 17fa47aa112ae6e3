"""Verdicts for groups of rollouts: graders run side by side, and whatever they do, each rollout gets a verdict."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from mopd import sandbox, verifiers
from mopd.config import Config
from mopd.core.errors import VerifierError
from mopd.core.types import VERDICT_KINDS, Group, Problem, Rollout, Verdict
from mopd.sandbox import Limits
from mopd.verifiers import pool
from mopd.verifiers.pool import GraderFailure, pool_size

Judge = Callable[[Sequence[Group], int], tuple[list[Group], dict[str, float]]]
"""(groups, steps done) -> (the groups with a verdict for every rollout, metrics of the judging). Never raises."""


class OuterJudge:
    """A judge around another one, as which it is known."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge

    @property
    def fingerprint(self) -> str:
        """As the judge's own."""
        return getattr(self.judge, "fingerprint", "")

    @property
    def functions(self) -> Sequence[Any]:
        """The judge's reward functions; none where verifiers judge."""
        return getattr(self.judge, "functions", ())


CUT = "The completion was cut at its length limit."
"""The feedback on a truncated completion."""


def prepare_verifiers(names: Collection[str], config: Config) -> None:
    """Set up this process's graders and sandboxes, and see that problems with these verifiers can be judged.

    Raises VerifierError where a verifier does not exist, or code cannot be run safely here.
    """
    limits = config.sandbox
    pool.configure(config.verification.workers, config.verification.time_limit_s)
    sandbox.configure(Limits(limits.time_limit_s, limits.memory_mb * 2**20, limits.processes, limits.output_kb * 2**10))
    for name in sorted(names):
        verifiers.get(name)
    if "code" in names:
        sandbox.check()


def by_verifiers(groups: Sequence[Group], step: int) -> tuple[list[Group], dict[str, float]]:
    """The judge that asks each problem's verifier."""
    return verify(groups), {}


def verify(groups: Sequence[Group]) -> list[Group]:
    """The groups with a verdict for every rollout, in order.

    A truncated completion is a failure of kind `truncated` without asking its verifier. A verifier that raises, or
    whose reward is not a finite number, gives kind `error`: neither success nor failure.
    """
    jobs = [(group.problem, rollout) for group in groups for rollout in group.rollouts]
    verdicts = iter(list(_side_by_side(verdict_of, jobs)))
    return [replace(group, verdicts=tuple(next(verdicts) for _ in group.rollouts)) for group in groups]


def judge_all(completions: Iterable[tuple[Problem | Verdict, str]]) -> Generator[Verdict, None, None]:
    """The verdict on each completion of a problem, in order, as soon as it and those before it are there.

    Where a verdict stands in a problem's place, that is it.

    Closed early, it waits for those that are being judged and begins no more.
    """
    return _side_by_side(lambda one, text: one if isinstance(one, Verdict) else judge(one, text), completions)


def _side_by_side(function: Callable[..., Verdict], jobs: Iterable[tuple[Any, ...]]) -> Generator[Verdict, None, None]:
    """The verdicts of `function` on jobs, in order, as many at once as there are workers."""
    threads = ThreadPoolExecutor(pool_size())
    try:
        yield from threads.map(lambda job: function(*job), jobs)
    finally:
        threads.shutdown(cancel_futures=True)


def verdict_of(problem: Problem, rollout: Rollout) -> Verdict:
    """The verdict on one rollout; never raises."""
    if rollout.is_truncated:
        return Verdict(0.0, "truncated", None, CUT)
    return judge(problem, rollout.text)


def judge(problem: Problem, completion: str) -> Verdict:
    """The verdict on one completion; never raises, even where the verifier calls `sys.exit`.

    A verifier that raises or returns no proper verdict gives kind `error`, with what went wrong as feedback, but
    never with the reference answer in it.
    """
    try:
        verdict = verifiers.get(problem.verifier)(problem, completion)
        fault = _fault_of(verdict)
        if not fault:
            return verdict
        failure = f"returned {fault}"
    except VerifierError as error:
        failure = f"failed: {error}"
    except GraderFailure as error:
        failure = f"failed: {error}{quoted(error.said, [problem.reference])}"
    except (Exception, SystemExit) as error:  # whatever a grader raises is counted, and the run goes on
        failure = f"raised {type(error).__name__}{quoted(error, [problem.reference])}"
    return Verdict(0.0, "error", None, f"The verifier {problem.verifier} {failure}"[:500])


def _fault_of(verdict: Any) -> str:
    """What is wrong with what a verifier returned; empty where it is a verdict to count."""
    if not isinstance(verdict, Verdict):
        return f"an object of type {type(verdict).__name__}"
    if verdict.kind not in VERDICT_KINDS:
        return "a verdict of unknown kind"
    if not (isinstance(verdict.feedback, str) and isinstance(verdict.answer, str | None)):
        return "a verdict whose feedback or answer is no text"
    return "" if math.isfinite(verdict.reward) else f"a reward of {verdict.reward}, which is not finite"


def quoted(said: object, references: Collection[str | None]) -> str:
    """What a failing grader said, to append; withheld where it holds a reference answer or cannot be read."""
    try:
        text = str(said)
    except Exception:
        return ""
    secrets = [reference.strip() for reference in references if reference and reference.strip()]
    if any(secret in text or repr(secret)[1:-1] in text for secret in secrets):
        return " (its message is withheld, since it holds the reference answer)"
    return f": {text}" if text else ""
