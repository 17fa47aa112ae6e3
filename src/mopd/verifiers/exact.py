"""Exact match: the completion, or what is left of it without its thinking, is the reference, both stripped."""

from __future__ import annotations

from mopd.core.thinking import strip_thinking
from mopd.core.types import Problem, Verdict
from mopd.verifiers.pool import GraderFailure


def verify(problem: Problem, completion: str) -> Verdict:
    """Correct iff the completion, whole or without its thinking, is the reference, white space at both ends aside.

    Whole: a reference may be about thinking tags.

    Raises GraderFailure where the problem has no reference.
    """
    reference = (problem.reference or "").strip()
    if not reference:
        raise GraderFailure("the problem has no reference answer")
    if completion.strip() == reference:
        return Verdict(1.0, "correct", reference)
    answer = strip_thinking(completion)
    if not answer:
        return Verdict(0.0, "unparsable", None, "The completion is empty.")
    if answer == reference:
        return Verdict(1.0, "correct", answer)
    return Verdict(0.0, "wrong", answer, "The answer is wrong.")
