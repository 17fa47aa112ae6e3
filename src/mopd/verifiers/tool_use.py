"""Tool use: the completion's calls equal the reference's, no more and no fewer.

A completion writes its calls in one of four formats; thinking spans hold none:

- lines, `Action: name` and then `Action Input: {json}`, a pair for each call;
- blocks, `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`, one for each call;
- JSON, `{"tool_calls": [...]}`, a list of calls or one call, where it is the whole completion;
- such JSON in fenced blocks, tagged json or not at all.

Text around lines and blocks is not read. A completion that mixes formats is `unparsable`: nothing says which of its
calls are meant. A call in JSON is `{"type": "function", "function": {"name", "arguments"}}`, or its inner object alone,
or `{"Action", "Action_Input"}`; `parameters` is another word for `arguments`. Its input is an object, or text that is
one in JSON; null, blank text and nothing are the input of a call without arguments. A reference is JSON, in any of
these forms; without a call in it, a completion without a call is right.

Each name is paired with its own input; JSON is read by a JSON parser, so nested braces and braces in strings do no
harm. Calls are compared as a multiset, or in order where the problem's column `ordered` is true; 2 equals 2.0, and
differs from "2"; 1 differs from true.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

from mopd.core.fences import Fences
from mopd.core.files import is_unicode
from mopd.core.thinking import strip_thinking
from mopd.core.types import Problem, Verdict
from mopd.verifiers.pool import GraderFailure

Call = tuple[str, dict[str, Any]]
"""A tool's name and its input."""

MAX_COMPLETION_CHARACTERS = 100_000
"""A longer completion, thinking aside, is `unparsable`."""

MAX_NESTING = 64
"""An input with objects and lists deeper in each other than this is `unparsable`."""

NO_CALL = "None of the tools is of use here."
"""A completion without a call, as a demonstration."""

_MARK = re.compile(r'^[ \t]*(Action|Action Input):|(<tool_call>)|"tool_calls"', re.MULTILINE)
_CLOSING = re.compile(r"\s*</tool_call>")
_SPACE = re.compile(r"\s*")
_NOTHING = re.compile(r"[ \t\r]*(?:\n|\Z)\s*+(?=\Z|[A-Z][A-Za-z ]{0,30}:)")
_DECODER = json.JSONDecoder()

_KEYS = (("name", ("arguments", "parameters")), ("Action", ("Action_Input",)))
"""What calls in JSON call their name and their input."""

_ABOUT = frozenset({"type", "id", "index", "call_id", "status"})
"""What else a call without an input may hold: with any other key, that may be the input under a name of its own."""


class _UnreadableError(ValueError):
    """Calls that cannot be read; the text says why and quotes nothing but a call's name."""


def verify(problem: Problem, completion: str) -> Verdict:
    """Correct iff the completion's calls are the reference's, no more and no fewer.

    Raises GraderFailure where the problem has no reference or one that cannot be read.
    """
    wanted, is_ordered = _reference_calls(problem), bool(problem.columns.get("ordered"))
    calls = read_calls(completion)
    if isinstance(calls, str):
        return Verdict(0.0, "unparsable", None, calls)
    answer = json.dumps([{"Action": name, "Action_Input": given} for name, given in calls], ensure_ascii=False)
    if _are_equal(calls, wanted, is_ordered):
        return Verdict(1.0, "correct", answer)
    if not calls:
        what = "There is no call in the completion: no `Action: name`, no <tool_call>, no JSON of calls."
        return Verdict(0.0, "unparsable", None, what)
    return Verdict(0.0, "wrong", answer, _what_is_wrong(calls, wanted, is_ordered))


def read_calls(completion: str) -> list[Call] | str:
    """The calls of a completion, none where it holds none; or, as text, why they cannot be read."""
    text = strip_thinking(completion)
    if not text:
        return "There is no call in the completion: it is empty."
    if len(text) > MAX_COMPLETION_CHARACTERS:
        return f"The completion has over {MAX_COMPLETION_CHARACTERS} characters."
    try:
        whole = _json_of(text)
        return _marked_calls(text) if whole is None else _listed_calls(whole)
    except _UnreadableError as error:
        return str(error)


def has_calls(reference: str) -> bool:
    """False for a reference in which no call is right."""
    try:
        return bool(_list_of_calls(json.loads(reference)))
    except (ValueError, RecursionError):
        return True


def demonstrate(reference: str) -> str:
    """The reference's calls as lines of a completion."""
    calls = [_name_and_input(call) for call in _list_of_calls(json.loads(reference))]
    return "\n".join(f"Action: {name}\nAction Input: {_as_text(given)}" for name, given in calls) or NO_CALL


def _as_text(given: Any) -> str:
    """An input as a model is to write it: with letters, where JSON may have escapes."""
    if isinstance(given, str) and given.strip() and "\\u" not in given:
        return given
    given = _input_of(given, "The input")
    text = json.dumps(given, ensure_ascii=False)
    return text if is_unicode(text) else json.dumps(given)


def _reference_calls(problem: Problem) -> list[Call]:
    try:
        return _listed_calls(json.loads(problem.reference or ""))
    except (ValueError, RecursionError) as error:
        raise GraderFailure(f"the reference is no list of calls in JSON: {type(error).__name__}") from error


# --- reading --------------------------------------------------------------------------------------------------------


def _json_of(text: str) -> Any:
    """The JSON that a text is; None where it is none that could hold calls."""
    if not text.startswith(("{", "[")):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _marked_calls(text: str) -> list[Call]:
    """The calls in lines, in blocks or in fences; none where there are none of them."""
    fenced, text = _fenced_calls(text)
    calls: list[Call] = []
    formats: set[bool] = set()
    position = 0
    while mark := _MARK.search(text, position):
        if not (mark[1] or mark[2]):
            raise _UnreadableError('JSON with "tool_calls" counts where it is valid and the whole completion.')
        formats.add(mark[2] is None)
        if len(formats) > 1:
            raise _UnreadableError("The completion mixes lines `Action: name` with <tool_call> blocks.")
        call, position = _in_lines(text, mark) if mark[1] else _in_block(text, mark.end())
        calls.append(call)
    if fenced and calls:
        raise _UnreadableError("The completion mixes calls in a fenced block with calls in another format.")
    return fenced or calls


def _fenced_calls(text: str) -> tuple[list[Call], str]:
    """The calls in fenced blocks that hold JSON of calls and nothing else, and the text without these blocks."""
    calls: list[Call] = []
    rest, position = "", 0
    for block in Fences(text).closed():
        value = _json_of(block.text.strip()) if block.tag.lower() in ("", "json") else None
        if value is not None and _holds_calls(value):
            calls += _listed_calls(value)
            rest, position = rest + text[position : block.begin], block.end
    return calls, rest + text[position:]


def _holds_calls(value: Any) -> bool:
    """Whether JSON in a fence is about calls; it may also be an example of something else."""
    try:
        calls = _list_of_calls(value)
        return bool(calls) and all(isinstance(_name_and_input(call)[0], str) for call in calls)
    except _UnreadableError:
        return isinstance(value, dict) and "tool_calls" in value


def _in_lines(text: str, mark: re.Match[str]) -> tuple[Call, int]:
    """The call whose first label is at `mark`, and where it ends."""
    if mark[1] == "Action Input":
        raise _UnreadableError("An Action Input stands without an Action before it.")
    label = _MARK.search(text, mark.end())
    name = text[mark.end() : label.start() if label else None].strip()
    if label is None or label[1] != "Action Input":
        raise _UnreadableError(f"The action {name[:40]!r} has no Action Input.")
    if not name:
        raise _UnreadableError("An Action has no name.")
    if _NOTHING.match(text, label.end()):
        return (name, {}), label.end()
    what = f"The Action Input of {name[:40]!r}"
    given, end = _decode(text, label.end(), what)
    return (name, _input_of(given, what)), end


def _in_block(text: str, start: int) -> tuple[Call, int]:
    """The call in the block whose content begins at `start`, and where the block ends."""
    call, end = _decode(text, start, "What follows a <tool_call>")
    closing = _CLOSING.match(text, end)
    if closing is None:
        raise _UnreadableError("A <tool_call> is not closed behind its JSON object.")
    return _call_of(call), closing.end()


def _decode(text: str, start: int, what: str) -> tuple[Any, int]:
    """The JSON that begins at or behind white space from `start`, and where it ends."""
    space = _SPACE.match(text, start)
    try:
        return _DECODER.raw_decode(text, space.end() if space else start)
    except (ValueError, RecursionError):
        raise _UnreadableError(f"{what} is not valid JSON.") from None


def _listed_calls(value: Any) -> list[Call]:
    return [_call_of(call) for call in _list_of_calls(value)]


def _list_of_calls(value: Any) -> list[Any]:
    """The list of calls that JSON is, or has as `tool_calls`; a call alone is a list of one."""
    calls = value
    if isinstance(value, dict) and "tool_calls" in value:
        calls = [] if value["tool_calls"] is None else value["tool_calls"]  # null, as servers write it
    if isinstance(calls, dict) and any(key in calls for key in ("name", "function", "Action")):
        calls = [calls]
    if not isinstance(calls, list):
        raise _UnreadableError('The JSON is neither a call nor a list of calls nor an object with a list "tool_calls".')
    return calls


def _call_of(value: Any) -> Call:
    """A call in JSON."""
    name, given = _name_and_input(value)
    return name, _input_of(given, f"The input of {name[:40]!r}")


def _name_and_input(value: Any) -> tuple[str, Any]:
    """The name and the input, as they are given, of a call in JSON; None for an input that is not there."""
    inner = value.get("function") if isinstance(value, dict) else None
    call = inner if isinstance(inner, dict) else value
    for name_key, input_keys in _KEYS if isinstance(call, dict) else ():
        name, given = call.get(name_key), [key for key in input_keys if key in call]
        if not isinstance(name, str) or not name.strip():
            continue
        if len(given) > 1:
            raise _UnreadableError(f"A call in JSON has its input twice, as {' and as '.join(given)}.")
        if given or {*call} <= {name_key} | _ABOUT:
            return name.strip(), call[given[0]] if given else None
    raise _UnreadableError("A call in JSON lacks its name or its input (name and arguments, Action and Action_Input).")


def _input_of(given: Any, what: str) -> dict[str, Any]:
    """An input as an object: nothing, null and blank text are an empty one."""
    if isinstance(given, str) and given.strip():
        try:
            given = json.loads(given)
        except (ValueError, RecursionError):
            raise _UnreadableError(f"{what} is not valid JSON.") from None
    elif isinstance(given, str) or given is None:
        return {}
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise _UnreadableError(f"{what} is not a JSON object.")
    if _depth(given) > MAX_NESTING:
        raise _UnreadableError(f"{what} nests over {MAX_NESTING} deep.")
    return given


def _depth(value: Any) -> int:
    """How deep objects and lists are in each other; without recursion, which a completion could exhaust."""
    depth, level = -1, [value]
    while level:
        depth += 1
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return depth


# --- comparing ------------------------------------------------------------------------------------------------------


def _are_equal(calls: list[Call], wanted: list[Call], is_ordered: bool) -> bool:
    ours, theirs = ([_canonical(call) for call in found] for found in (calls, wanted))
    return ours == theirs if is_ordered else sorted(ours) == sorted(theirs)


def _canonical(value: Any) -> str:
    return json.dumps(_with_plain_numbers(value), sort_keys=True)


def _with_plain_numbers(value: Any) -> Any:
    """Whole floats as integers, so that 2.0 is written as 2; truth values stay what they are."""
    if isinstance(value, dict):
        return {key: _with_plain_numbers(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_plain_numbers(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _what_is_wrong(calls: list[Call], wanted: list[Call], is_ordered: bool) -> str:
    """Feedback that names what the completion wrote, never what it should have written."""
    if len(calls) != len(wanted):
        return f"The number of calls, {len(calls)}, is wrong."
    (name, given), right = _first_difference(calls, wanted, is_ordered)
    if right is None:
        return f"The action {name[:40]!r} is wrong."
    if set(given) != set(right):
        return f"The names of the parameters of {name[:40]!r} are wrong."
    key = next(key for key, value in given.items() if _canonical(value) != _canonical(right[key]))
    return f"The value of {key[:40]!r} in the call of {name[:40]!r} is wrong."


def _first_difference(calls: list[Call], wanted: list[Call], is_ordered: bool) -> tuple[Call, dict[str, Any] | None]:
    """The first call that is not wanted, with the input wanted for it; None where its action is not wanted.

    In any order, only calls are compared that are not on both sides.
    """
    if is_ordered:
        call, right = next(
            (call, right) for call, right in zip(calls, wanted, strict=True) if _canonical(call) != _canonical(right)
        )
        return call, right[1] if call[0] == right[0] else None
    surplus = Counter(map(_canonical, calls)) - Counter(map(_canonical, wanted))
    missing = Counter(map(_canonical, wanted)) - Counter(map(_canonical, calls))
    call = next(call for call in calls if _canonical(call) in surplus)
    return call, next(
        (given for name, given in wanted if name == call[0] and _canonical((name, given)) in missing), None
    )
