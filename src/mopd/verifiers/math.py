"""Mathematics: the last box, judged equal to the reference in a worker process.

The parts: `math_boxes` finds what is boxed, `math_plain` takes it as a text, `math_notation` writes it in one way,
`math_reading` takes it apart (with `math_splitting` and `math_declarations`) into `math_answers`, `math_numbers` and
`math_units` know numbers and units, `math_expressions`, `math_values`, `math_sets` and `math_integers` compute,
`math_quantities` and `math_comparison` decide. A box in a thinking span is none.
The same text is the same answer, whatever can be read of it. Where the *reference* cannot be read, any other answer
gets kind `error`, not `wrong`: nobody can tell whether it is.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from mopd.core.thinking import strip_thinking
from mopd.core.types import Problem, Verdict
from mopd.verifiers.math_boxes import last_boxed, last_sentence_boxes, nesting, unboxed
from mopd.verifiers.math_plain import are_typed_alike, plain
from mopd.verifiers.pool import GraderFailure, grade

if TYPE_CHECKING:
    from mopd.verifiers.math_answers import Reading

MAX_ANSWER_CHARACTERS = 2000
"""A longer box is no answer to grade: it is `unparsable`, so that no expression can occupy the grader."""

MAX_NESTING = 16
"""Brackets deeper in each other than this make a box `unparsable`: the parser slows down without bound."""

_WARM_UP = (r"\left(\frac{1}{2}, \sqrt{3}\right)", r"x = (y+1)^2 \cdot 5\%", r"\{1, 2\} \cup [0, 1)", r"\text{no}")
_LETTER = re.compile(r"(?<!\\)\b[A-Za-z]+|\\(?:text|mathrm|mbox)")
_MARKED_UNIT = re.compile(r"\d[\d}]*\s*\\(?:[,;: ]|text[a-z]*|mathrm|mbox)|\d\s*[A-Za-z]{2}")


def verify(problem: Problem, completion: str) -> Verdict:
    """Correct iff the last box is mathematically equal to the reference.

    Where the reference is a list, and the last sentence with boxes has as many, these boxes are the answer. Raises
    GraderFailure where the problem has no reference, or it cannot be read, or the grader fails or is late.
    """
    reference = unboxed(problem.reference or "")
    if reference is None:
        raise GraderFailure("the last box of the reference answer is not closed")
    reference_text = plain(reference)
    if not reference_text:
        raise GraderFailure("the problem has no reference answer")
    own = strip_thinking(completion)
    answer = last_boxed(own)
    if answer is None:
        return Verdict(0.0, "unparsable", None, "The completion does not end on a complete \\boxed{}.")
    if len(answer) > MAX_ANSWER_CHARACTERS:
        return Verdict(0.0, "unparsable", answer[:80], f"The box holds over {MAX_ANSWER_CHARACTERS} characters.")
    answer_text = plain(answer)
    if answer_text == reference_text or are_typed_alike(answer_text, reference_text):
        return Verdict(1.0, "correct", answer)
    if nesting(answer_text) > MAX_NESTING:
        return Verdict(0.0, "unparsable", answer, f"The box nests brackets over {MAX_NESTING} deep.")
    task = {"reference": reference_text, "answer": answer_text, "boxes": _boxes_to_try(own)}
    return _verdict(grade(__name__, task), answer)


def _boxes_to_try(text: str) -> list[str]:
    """The boxes of the last sentence that has any, where they are several answers of a common size."""
    boxes = [plain(content) for content in last_sentence_boxes(text)]
    is_small = sum(map(len, boxes)) <= MAX_ANSWER_CHARACTERS and all(nesting(box) <= MAX_NESTING for box in boxes)
    return boxes if len(boxes) > 1 and is_small else []


def _verdict(finding: dict[str, Any], answer: str) -> Verdict:
    kind, used = finding["kind"], finding["answer"] or answer
    if kind == "equal":
        return Verdict(1.0, "correct", used)
    if kind == "unreadable answer":
        return Verdict(0.0, "unparsable", used, f"The boxed answer {used[:80]!r} cannot be read as mathematics.")
    if kind == "unreadable reference":
        raise GraderFailure(
            "the verifier cannot read the reference answer, or compute it, and the boxed answer is another text"
        )
    return Verdict(0.0, "wrong", used, f"The boxed answer {used[:80]!r} is wrong.")


def demonstrate(reference: str) -> str:
    """The reference as a completion gives it."""
    return f"\\boxed{{{unboxed(reference) or reference}}}"


# --- in the worker --------------------------------------------------------------------------------------------------


def prepare_worker() -> None:
    """Import the libraries, and let the parser learn common forms."""
    for latex in _WARM_UP:
        grade_in_worker({"reference": latex, "answer": f"{latex}+0", "boxes": []})
    grade_in_worker({"reference": r"5\text{ km}", "answer": r"5\text{ m}", "boxes": []})  # imports pint


def grade_in_worker(task: dict[str, Any]) -> dict[str, Any]:
    """`kind`: "equal", "different", "unreadable answer" or "unreadable reference"; `answer`: several boxes, if used."""
    from mopd.verifiers import math_comparison, math_expressions, math_values

    reference_text, answer_text, boxes = task["reference"], task["answer"], task["boxes"]
    reference = _read(reference_text, answer_text, is_reference=True)
    if reference is None:
        return {"kind": "unreadable reference", "answer": None}
    used = None
    if boxes and len(boxes) == _count_of(reference):
        answer_text = used = ", ".join(boxes)
    answer = _read(answer_text, reference_text, is_reference=False)
    if answer is None:
        return {"kind": "unreadable answer", "answer": used}
    try:
        is_equal = math_comparison.are_same(reference, answer)
    except (math_values.Undefined, math_expressions.Unreadable):
        is_equal = False
    except math_expressions.Undecided:
        return {"kind": "unreadable reference", "answer": used}
    return {"kind": "equal" if is_equal else "different", "answer": used}


def _read(text: str, other: str, is_reference: bool) -> Reading | None:
    """What a text is; None where it cannot be read. What the other one is decides whether `5 m` has a unit."""
    from mopd.verifiers import math_comparison, math_expressions, math_notation, math_reading

    with_lone_letters = bool(_MARKED_UNIT.search(text + " | " + other)) or not _LETTER.search(other)
    try:
        reading = math_reading.read(math_reading.Text(math_notation.latex(text), with_lone_letters))
        math_comparison.check_readable(reading, must_have_value=is_reference)
    except (math_reading.Unread, math_expressions.Unreadable, RecursionError):
        return None
    return reading


def _count_of(reading: Reading) -> int:
    """How many values a list has, or sets a union; 1 for what is neither."""
    from mopd.verifiers.math_answers import Either, Listed, Named, Union

    if isinstance(reading, Either):
        return max(map(_count_of, reading.readings))
    if isinstance(reading, Named):
        return _count_of(reading.value)
    if isinstance(reading, Union):
        return len(reading.parts)
    return len(reading.items) if isinstance(reading, Listed) else 1
