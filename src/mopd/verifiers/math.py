"""Mathematics: the last balanced \\boxed{...}, judged equivalent to the reference by math-verify in a worker process."""

from __future__ import annotations

from typing import Any

from mopd.types import Problem, Verdict
from mopd.verifiers.pool import GraderFailure, grade

MAX_ANSWER_CHARACTERS = 2000
"""A longer box is no answer to grade: it is `unparsable`, so that no expression can occupy the grader."""


def verify(problem: Problem, completion: str) -> Verdict:
    """Correct iff the last balanced box is mathematically equal to the reference.

    Raises GraderFailure where math-verify fails or runs over its time limit.
    """
    answer = last_boxed(completion)
    if answer is None:
        return Verdict(0.0, "unparsable", None, "There is no complete \\boxed{} in the completion.")
    if len(answer) > MAX_ANSWER_CHARACTERS:
        return Verdict(0.0, "unparsable", answer[:80], f"The box holds over {MAX_ANSWER_CHARACTERS} characters.")
    if problem.reference is None:
        raise GraderFailure("the problem has no reference answer")
    if grade("math", {"reference": problem.reference, "answer": answer}):
        return Verdict(1.0, "correct", answer)
    return Verdict(0.0, "wrong", answer, f"The boxed answer {answer[:80]!r} is wrong.")


def last_boxed(text: str) -> str | None:
    """The content of the last \\boxed{...} whose braces balance; None where there is none or it is empty. Linear time."""
    last: str | None = None
    open_boxes: list[tuple[int, int]] = []  # (depth outside the box, where its content starts)
    depth, position = 0, 0
    while position < len(text):
        if text.startswith("\\boxed{", position):
            position += len("\\boxed{")
            open_boxes.append((depth, position))
            depth += 1
            continue
        if text[position] == "\\":  # \{ and \} are no braces
            position += 2
            continue
        if text[position] == "{":
            depth += 1
        elif text[position] == "}" and depth > 0:
            depth -= 1
            if open_boxes and open_boxes[-1][0] == depth:
                _, start = open_boxes.pop()
                if not open_boxes:
                    last = text[start:position]
        position += 1
    return last.strip() or None if last is not None else None


def grade_in_worker(task: dict[str, Any]) -> bool:
    """Runs in the worker: whether `answer` equals `reference`, both as LaTeX. Raises where the reference cannot be parsed."""
    from math_verify import parse
    from math_verify import verify as equivalent

    reference = parse(f"\\boxed{{{strip_box(task['reference'])}}}", parsing_timeout=None)
    if not reference:
        raise ValueError(f"the reference answer {task['reference']!r} cannot be parsed")
    answer = parse(f"\\boxed{{{task['answer']}}}", parsing_timeout=None)
    return bool(equivalent(reference, answer, timeout_seconds=None))


def strip_box(reference: str) -> str:
    """A reference given with its box, without it."""
    return last_boxed(reference) or reference
