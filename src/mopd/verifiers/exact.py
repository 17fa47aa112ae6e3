"""Exact match: the completion without its thinking, stripped, equals the reference, stripped."""

from __future__ import annotations

from mopd.core.thinking import strip_thinking
from mopd.core.types import Problem, Verdict
from mopd.verifiers.pool import GraderFailure


def verify(problem: Problem, completion: str) -> Verdict:
    """Correct iff the whole completion but for thinking spans is the reference, white space at both ends aside.

    Raises GraderFailure where the problem has no reference.
    """
    reference = (problem.reference or "").strip()
    if not reference:
        raise GraderFailure("the problem has no reference answer")
    answer = strip_thinking(completion)
    if not answer:
        return Verdict(0.0, "unparsable", None, "The completion is empty.")
    if answer == reference:
        return Verdict(1.0, "correct", answer)
    return Verdict(0.0, "wrong", answer, "The answer is wrong.")
