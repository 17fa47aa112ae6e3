"""Multiple choice: the option that the last <answer>...</answer> outside thinking means."""

from __future__ import annotations

from mopd.core.thinking import strip_thinking
from mopd.core.types import Problem, Verdict
from mopd.verifiers.options import Options, chosen, joined, listed_options, reference_labels
from mopd.verifiers.pool import GraderFailure

_OPENING, _CLOSING = "<answer>", "</answer>"


def verify(problem: Problem, completion: str) -> Verdict:
    """Correct iff the last closed answer tag means the reference's option, in whatever form.

    Raises GraderFailure where the problem has no reference, or one that means no option, and the answer is another
    text.
    """
    reference, answer = _reference(problem), last_tagged(strip_thinking(completion))
    if answer is None:
        return _no_answer()
    if answer == reference:
        return Verdict(1.0, "correct", answer)
    right = labels_of(problem)
    if not right:
        raise GraderFailure("the reference is no letter of an option, so nobody can say whether another text is right")
    given = chosen(answer, options_of(problem))
    if given == right:
        return Verdict(1.0, "correct", answer)
    return _wrong(answer, "is wrong" if given else "is not the letter of an option, alone or with the option's text")


def verify_letter(problem: Problem, completion: str) -> Verdict:
    """Correct iff the last closed answer tag holds the reference's letter and nothing else, as the paper has it."""
    reference, answer = _reference(problem), last_tagged(strip_thinking(completion))
    if answer is None:
        return _no_answer()
    right = labels_of(problem)
    if answer == (joined(right) or reference):
        return Verdict(1.0, "correct", answer)
    if not right:
        raise GraderFailure("the reference is no letter of an option, so nobody can say whether another text is right")
    return _wrong(answer, "is wrong" if len(answer) == 1 else "is not the letter of the right option and nothing else")


def _reference(problem: Problem) -> str:
    reference = (problem.reference or "").strip()
    if not reference:
        raise GraderFailure("the problem has no reference answer")
    return reference


def _no_answer() -> Verdict:
    return Verdict(0.0, "unparsable", None, f"There is no {_OPENING}...{_CLOSING} in the completion.")


def _wrong(answer: str, why: str) -> Verdict:
    return Verdict(0.0, "wrong", answer, f"The chosen option {answer[:20]!r} {why}.")


def options_of(problem: Problem) -> Options:
    """The options that the problem's last turn lists."""
    return listed_options(problem.messages[-1]["content"]) if problem.messages else {}


def labels_of(problem: Problem) -> frozenset[str]:
    """The labels of the options that the problem's reference means; none where it means none for certain."""
    return reference_labels(problem.reference or "", options_of(problem))


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
