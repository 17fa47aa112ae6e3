"""Tool use: the calls written as `Action: name` and `Action Input: {json}` equal the reference's calls.

Each name is paired with the input that follows it; JSON is read by a JSON parser, so nested braces and braces in
strings do no harm. Calls are compared as a multiset, or in order where the problem's column `ordered` is true; 2
equals 2.0.
"""

from __future__ import annotations

import json
import re
from typing import Any

from mopd.types import Problem, Verdict
from mopd.verifiers.pool import GraderFailure

Call = tuple[str, Any]
"""A tool's name and its input."""

MAX_COMPLETION_CHARACTERS = 100_000
"""A longer completion is `unparsable`."""

_LABEL = re.compile(r"^[ \t]*(Action|Action Input):", re.MULTILINE)
_DECODER = json.JSONDecoder()


def verify(problem: Problem, completion: str) -> Verdict:
    """Correct iff the completion's calls are the reference's, no more and no fewer.

    Raises GraderFailure where the problem has no reference or one that cannot be read.
    """
    wanted = _reference_calls(problem)
    if len(completion) > MAX_COMPLETION_CHARACTERS:
        return Verdict(0.0, "unparsable", None, f"The completion has over {MAX_COMPLETION_CHARACTERS} characters.")
    calls = read_calls(completion)
    if isinstance(calls, str):
        return Verdict(0.0, "unparsable", None, calls)
    answer = json.dumps([{"Action": name, "Action_Input": given} for name, given in calls])
    if _are_equal(calls, wanted, bool(problem.columns.get("ordered"))):
        return Verdict(1.0, "correct", answer)
    return Verdict(0.0, "wrong", answer, _what_is_wrong(calls, wanted))


def read_calls(completion: str) -> list[Call] | str:
    """The calls of a completion, at least one; or, as text, why they cannot be read."""
    labels = list(_LABEL.finditer(completion))
    calls: list[Call] = []
    pending: str | None = None
    ends = [*(label.start() for label in labels), len(completion)][1:]
    for label, end in zip(labels, ends, strict=True):
        body = completion[label.end() : end]
        if label[1] == "Action":
            if pending is not None:
                return f"The action {pending[:40]!r} has no Action Input."
            pending = body.strip()
            continue
        if pending is None:
            return "An Action Input stands without an Action before it."
        try:
            given, _ = _DECODER.raw_decode(body.lstrip())
        except (ValueError, RecursionError):
            return f"The Action Input of {pending[:40]!r} is not valid JSON."
        if not isinstance(given, dict):
            return f"The Action Input of {pending[:40]!r} is not a JSON object."
        calls.append((pending, given))
        pending = None
    if pending is not None:
        return f"The action {pending[:40]!r} has no Action Input."
    return calls or "There is no line `Action: name` in the completion."


def demonstrate(reference: str) -> str:
    """The reference's calls as a completion writes them."""
    calls = json.loads(reference)
    return "\n".join(f"Action: {call['Action']}\nAction Input: {_as_text(call['Action_Input'])}" for call in calls)


def _as_text(given: Any) -> str:
    return given if isinstance(given, str) else json.dumps(given)


def _reference_calls(problem: Problem) -> list[Call]:
    try:
        calls = json.loads(problem.reference or "")
        wanted = [(call["Action"].strip(), json.loads(_as_text(call["Action_Input"]))) for call in calls]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise GraderFailure(
            f"the reference is no list of calls with Action and Action_Input: {type(error).__name__}"
        ) from error
    if not wanted:
        raise GraderFailure("the reference has no calls")
    return wanted


def _are_equal(calls: list[Call], wanted: list[Call], is_ordered: bool) -> bool:
    ours, theirs = ([_canonical(call) for call in found] for found in (calls, wanted))
    return ours == theirs if is_ordered else sorted(ours) == sorted(theirs)


def _canonical(call: Call) -> str:
    return json.dumps([call[0], _with_plain_numbers(call[1])], sort_keys=True)


def _with_plain_numbers(value: Any) -> Any:
    """Whole floats as integers, so that 2.0 is written as 2; truth values stay what they are."""
    if isinstance(value, dict):
        return {key: _with_plain_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_plain_numbers(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _what_is_wrong(calls: list[Call], wanted: list[Call]) -> str:
    """Feedback that names what the completion wrote, never what it should have written."""
    if len(calls) != len(wanted):
        return f"The number of calls, {len(calls)}, is wrong."
    for (name, given), (right_name, right) in zip(calls, wanted, strict=True):
        if name != right_name:
            return f"The action {name[:40]!r} is wrong."
        if isinstance(right, dict) and set(given) != set(right):
            return f"The names of the parameters of {name[:40]!r} are wrong."
        for key, value in given.items():
            if _canonical((key, value)) != _canonical((key, right[key])):
                return f"The value of {key[:40]!r} in the call of {name[:40]!r} is wrong."
    return "The order of the calls is wrong."
