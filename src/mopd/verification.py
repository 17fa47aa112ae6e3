"""Verdicts for groups of rollouts: graders run side by side, and whatever they do, each rollout gets a verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from mopd import verifiers
from mopd.types import Group, Problem, Rollout, Verdict
from mopd.verifiers.pool import pool_size


def verify(groups: Sequence[Group]) -> list[Group]:
    """The groups with a verdict for every rollout, in order.

    A truncated completion is a failure of kind `truncated` without asking its verifier. A verifier that raises, or
    whose reward is not a finite number, gives kind `error`: neither success nor failure.
    """
    jobs = [(group.problem, rollout) for group in groups for rollout in group.rollouts]
    with ThreadPoolExecutor(pool_size()) as threads:
        verdicts = iter(list(threads.map(lambda job: verdict_of(*job), jobs)))
    return [replace(group, verdicts=tuple(next(verdicts) for _ in group.rollouts)) for group in groups]


def verdict_of(problem: Problem, rollout: Rollout) -> Verdict:
    """The verdict on one rollout; never raises."""
    if rollout.is_truncated:
        return Verdict(0.0, "truncated", None, "The completion was cut at its length limit.")
    return judge(problem, rollout.text)


def judge(problem: Problem, completion: str) -> Verdict:
    """The verdict on one completion; a grader that fails gives kind `error`, with what it said as feedback."""
    try:
        verdict = verifiers.get(problem.verifier)(problem, completion)
        if isinstance(verdict, Verdict) and math.isfinite(verdict.reward):
            return verdict
        failure = f"returned {verdict!r}, not a verdict with a finite reward"
    except Exception as error:  # whatever a grader raises is counted, and the run goes on
        failure = f"raised {type(error).__name__}: {error}"
    return Verdict(0.0, "error", None, f"The verifier {problem.verifier} {failure}"[:500])
