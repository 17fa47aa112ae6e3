"""Multiple choice: the letter inside the last <answer>...</answer> outside thinking, white space aside."""

from __future__ import annotations

from mopd.core.thinking import strip_thinking
from mopd.core.types import Problem, Verdict
from mopd.verifiers.pool import GraderFailure

_OPENING, _CLOSING = "<answer>", "</answer>"


def verify(problem: Problem, completion: str) -> Verdict:
    """Correct iff the last closed answer tag holds the reference letter and nothing else.

    Raises GraderFailure where the problem has no reference.
    """
    reference = (problem.reference or "").strip()
    if not reference:
        raise GraderFailure("the problem has no reference answer")
    answer = last_tagged(strip_thinking(completion))
    if answer is None:
        return Verdict(0.0, "unparsable", None, f"There is no {_OPENING}...{_CLOSING} in the completion.")
    if answer == reference:
        return Verdict(1.0, "correct", answer)
    reason = "is wrong" if len(answer) == 1 else "is not the letter of the right option and nothing else"
    return Verdict(0.0, "wrong", answer, f"The chosen option {answer[:20]!r} {reason}.")


def demonstrate(reference: str) -> str:
    """The reference letter as a completion gives it."""
    return f"{_OPENING}\n{reference.strip()}\n{_CLOSING}"


def last_tagged(text: str) -> str | None:
    """The stripped text inside the last closed answer tag; None where there is none or it is empty. Linear time.

    It runs to the first closing tag after the last opening tag that has one: stray tags around it do no harm.
    """
    start = text.rfind(_OPENING, 0, max(text.rfind(_CLOSING), 0))
    if start < 0:
        return None
    start += len(_OPENING)
    return text[start : text.find(_CLOSING, start)].strip() or None
