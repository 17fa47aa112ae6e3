"""Exact match: the completion, stripped, equals the reference, stripped."""

from __future__ import annotations

from mopd.types import Problem, Verdict


def verify(problem: Problem, completion: str) -> Verdict:
    """Correct iff the whole completion is the reference, white space at both ends aside."""
    answer = completion.strip()
    if not answer:
        return Verdict(0.0, "unparsable", None, "The completion is empty.")
    if problem.reference is not None and answer == problem.reference.strip():
        return Verdict(1.0, "correct", answer)
    return Verdict(0.0, "wrong", answer, "The answer is wrong.")
