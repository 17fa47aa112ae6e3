"""Mathematics: the last balanced \\boxed{...}, judged equivalent to the reference by math-verify in a worker process.

What math-verify decides is its own: 1/2 equals 0.5, 50 equals 50\\%, x = 5 equals 5, 5 cm equals 5, (1, 2) differs from
[1, 2]. Four things are decided here. A box in a thinking span is none. The same text is the same answer, whatever
math-verify makes of it. A full stop at the end is no part of an answer. And where math-verify cannot read the
*reference*, only the same text is right, and any other answer gets kind `error`, not `wrong`: nobody can tell whether
it is.
"""

from __future__ import annotations

import re
from typing import Any

from mopd.core.thinking import strip_thinking
from mopd.core.types import Problem, Verdict
from mopd.verifiers.pool import GraderFailure, grade

MAX_ANSWER_CHARACTERS = 2000
"""A longer box is no answer to grade: it is `unparsable`, so that no expression can occupy the grader."""

MAX_NESTING = 16
"""Brackets deeper in each other than this make a box `unparsable`: math-verify's parser slows down without bound."""

_WARM_UP = (r"\left(\frac{1}{2}, \sqrt{3}\right)", r"x = (y+1)^2 \cdot 5\%", r"\{1, 2\} \cup [0, 1)", r"\text{no}")
_BOX_OR_BRACE = re.compile(r"\\boxed\s*\{|\\(?!\\boxed).|[{}]", re.DOTALL)
_MATH_MARKS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"))
_SPACED_THOUSANDS = re.compile(r"-?\d{1,3}(?: \d{3})+(?:\.\d+)?")
_MIXED_NUMBER = re.compile(r"(-?\d+) (\d+)/(\d+)")


def verify(problem: Problem, completion: str) -> Verdict:
    """Correct iff the last balanced box is mathematically equal to the reference.

    Raises GraderFailure where the problem has no reference, or math-verify fails, cannot read the reference, or runs
    over its time limit.
    """
    reference_text = plain(unboxed(problem.reference or ""))
    if not reference_text:
        raise GraderFailure("the problem has no reference answer")
    answer = last_boxed(strip_thinking(completion))
    if answer is None:
        return Verdict(0.0, "unparsable", None, "There is no complete \\boxed{} in the completion.")
    if len(answer) > MAX_ANSWER_CHARACTERS:
        return Verdict(0.0, "unparsable", answer[:80], f"The box holds over {MAX_ANSWER_CHARACTERS} characters.")
    answer_text = plain(answer)
    if answer_text == reference_text:
        return Verdict(1.0, "correct", answer)
    if nesting(answer_text) > MAX_NESTING:
        return Verdict(0.0, "unparsable", answer, f"The box nests brackets over {MAX_NESTING} deep.")
    finding = grade(__name__, {"reference": reference_text, "answer": answer_text})
    if finding == "equal":
        return Verdict(1.0, "correct", answer)
    if finding == "unreadable answer":
        return Verdict(0.0, "unparsable", answer, f"The boxed answer {answer[:80]!r} cannot be read as mathematics.")
    if finding == "unreadable reference":
        raise GraderFailure("math-verify cannot read the reference answer, and the boxed answer is another text")
    return Verdict(0.0, "wrong", answer, f"The boxed answer {answer[:80]!r} is wrong.")


def demonstrate(reference: str) -> str:
    """The reference as a completion gives it."""
    return f"\\boxed{{{unboxed(reference)}}}"


def last_boxed(text: str) -> str | None:
    """The content of the \\boxed{...} that closes last; None where none closes or that one is empty. Linear time.

    Escaped braces do not count, an unclosed box or brace hides no later box, of boxes in each other the outer counts.
    """
    span = None
    starts: list[tuple[int, int]] = []  # of the boxes still open: (braces open before it, where its content begins)
    depth = 0
    for token in _BOX_OR_BRACE.finditer(text):
        if token[0].startswith("\\boxed"):
            starts.append((depth, token.end()))
            depth += 1
        elif token[0] == "{":
            depth += 1
        elif token[0] == "}" and depth > 0:
            depth -= 1
            if starts and starts[-1][0] == depth:
                span = starts.pop()[1], token.start()
    return text[slice(*span)].strip() or None if span is not None else None


def nesting(text: str) -> int:
    """How deep brackets of any kind are in each other, at most; closing ones need not match. Linear time."""
    depth = deepest = 0
    for character in text:
        if character in "([{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in ")]}":
            depth -= 1
    return deepest


def unboxed(reference: str) -> str:
    """A reference given with its box, without it."""
    return last_boxed(reference) or reference


def plain(text: str) -> str:
    """The same answer without the marks of mathematics around it, a full stop behind it, and surplus white space.

    Two ways to write numbers that math-verify misreads are written in its own: 1 000 and 1 2/3.
    Examples: `plain("$ x =  5. $")` is `"x = 5"`, `plain("1 2/3")` is `"1\\frac{2}{3}"`.
    """
    text = _without_full_stop(" ".join(text.split()))
    for opening, closing in _MATH_MARKS:
        inside = text[len(opening) : -len(closing)]
        if text == f"{opening}{inside}{closing}" and "$" not in inside:
            text = _without_full_stop(inside.strip())
    if _SPACED_THOUSANDS.fullmatch(text):
        return text.replace(" ", "")
    return _MIXED_NUMBER.sub(r"\1\\frac{\2}{\3}", text) if _MIXED_NUMBER.fullmatch(text) else text


def _without_full_stop(text: str) -> str:
    return text[:-1].rstrip() if text.endswith(".") and not text.endswith("..") else text


# --- in the worker --------------------------------------------------------------------------------------------------


def prepare_worker() -> None:
    """Import math-verify, let its parser learn common forms, and silence its warning that no time limit is set."""
    import logging

    import math_verify

    logging.getLogger(math_verify.__name__).setLevel(logging.ERROR)
    for latex in _WARM_UP:
        _are_equal(_parse(latex), _parse(latex))


def grade_in_worker(task: dict[str, Any]) -> str:
    """Whether `answer` equals `reference`: "equal", "different", "unreadable answer" or "unreadable reference".

    Where the comparison raises, the answer is at fault (and "different") if the reference compares with itself;
    otherwise the exception is passed on.
    """
    reference, answer = _parse(task["reference"]), _parse(task["answer"])
    if not reference:
        return "unreadable reference"
    if not answer:
        return "unreadable answer"
    try:
        return "equal" if _are_equal(reference, answer) else "different"
    except MemoryError:
        raise
    except Exception:
        _are_equal(reference, reference)
        return "different"


def _parse(latex: str) -> list[Any]:
    """The expression math-verify reads in the whole box, or none.

    As LaTeX only: its other way, to look for a number anywhere in the text, reads "n \\equiv 1 \\pmod 3" as 3.
    """
    from math_verify import LatexExtractionConfig, parse

    as_latex = [LatexExtractionConfig(boxed_match_priority=0)]
    read = parse(f"\\boxed{{{latex}}}", as_latex, fallback_mode="no_fallback", parsing_timeout=None)
    return list(read)


def _are_equal(reference: list[Any], answer: list[Any]) -> bool:
    from math_verify import verify as equivalent

    return bool(equivalent(reference, answer, timeout_seconds=None, raise_on_error=True))
