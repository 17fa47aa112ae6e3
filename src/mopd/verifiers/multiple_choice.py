"""Multiple choice: the letter inside the last <answer>...</answer>, exact after stripping white space."""

from __future__ import annotations

from mopd.types import Problem, Verdict

_OPENING, _CLOSING = "<answer>", "</answer>"


def verify(problem: Problem, completion: str) -> Verdict:
    """Correct iff the last closed answer tag holds the reference letter and nothing else."""
    answer = last_tagged(completion)
    if answer is None:
        return Verdict(0.0, "unparsable", None, f"There is no {_OPENING}...{_CLOSING} in the completion.")
    if problem.reference is not None and answer == problem.reference.strip():
        return Verdict(1.0, "correct", answer)
    return Verdict(0.0, "wrong", answer, f"The chosen option {answer[:20]!r} is wrong.")


def last_tagged(text: str) -> str | None:
    """The stripped text inside the last closed answer tag; None where there is none or it is empty. Linear time."""
    end = text.rfind(_CLOSING)
    start = text.rfind(_OPENING, 0, end) if end >= 0 else -1
    inside = text[start + len(_OPENING) : end].strip() if start >= 0 else ""
    return inside or None
