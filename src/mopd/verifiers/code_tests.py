"""The tests of a code problem, as data: read from a record, checked, and never run here."""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TEST_TYPES = ("stdin", "functional", "assert")
"""What `testtype` may say."""

COMPARISONS = ("exact", "tokens", "float", "numbers")
"""What `compare` may say: text but for trailing white space; words, whatever is between them; the same, with numbers
equal within 1e-6, absolute or relative; lines, with numbers by their value, as LiveCodeBench compares."""

USUAL_COMPARISON = "numbers"
"""What a record means that does not say."""

NOTHING = "-"
"""What sets write where a record has no answer or no tests, beside null and nothing."""


@dataclass(frozen=True, slots=True)
class StdinTests:
    """A whole program: each input goes to its standard input, and each output is what it must print.

    `time_limit_s` is that of one test; None: the verifier's own.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    time_limit_s: float | None = None


@dataclass(frozen=True, slots=True)
class FunctionalTests:
    """Calls of `function`: each input is the arguments of one call, and each output is what it must return.

    `time_limit_s` is that of one test; None: the verifier's own.
    """

    function: str
    inputs: tuple[tuple[Any, ...], ...]
    outputs: tuple[Any, ...]
    time_limit_s: float | None = None


@dataclass(frozen=True, slots=True)
class AssertTests:
    """Python with assertions about the completion. `entry_point` is the function that a `check` in it is given.

    `time_limit_s` is that of the whole code; None: the verifier's own.
    """

    code: str
    entry_point: str | None = None
    time_limit_s: float | None = None


CodeTests = StdinTests | FunctionalTests | AssertTests


def read_tests(value: Any) -> CodeTests:
    """The tests that a record says: an object, or JSON text of one. Raises ValueError with what must hold.

    An input of a functional test is a list of arguments, its output then any value; or, as LiveCodeBench writes it,
    text with one JSON value a line, one line an argument, its output then JSON text.
    """
    tests = tests_object(value)
    time_limit_s = _time_limit_s(tests.get("time_limit"))
    match tests.get("testtype"):
        case "stdin":
            return StdinTests(*_stdin_pairs(tests), time_limit_s)
        case "functional":
            function = _name(tests, "fn_name")
            if function is None:
                raise ValueError("functional tests have fn_name, the function to call; got nothing")
            return FunctionalTests(function, *_functional_pairs(tests), time_limit_s)
        case "assert":
            return AssertTests(_code(tests.get("code")), _name(tests, "entry_point"), time_limit_s)
        case other:
            raise ValueError(f"testtype is one of {', '.join(TEST_TYPES)}; got {_shown(other)}")


def says_nothing(value: Any) -> bool:
    """Whether a column that is there stands for one that is not."""
    return isinstance(value, str) and value.strip() in ("", NOTHING)


def tests_object(value: Any) -> Mapping[str, Any]:
    """The object that tests are written as, itself or in JSON text, not looked into further. Raises ValueError."""
    found = _from_json(value, "tests are an object, or JSON text of one") if isinstance(value, str) else value
    if not isinstance(found, Mapping):
        raise ValueError(f"tests are an object with testtype; got {_shown(found)}")
    return found


def _stdin_pairs(tests: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    inputs, outputs = _lists(tests)
    for name, texts in (("inputs", inputs), ("outputs", outputs)):
        for number, text in enumerate(texts, start=1):
            if not isinstance(text, str):
                raise ValueError(f"{name} of stdin tests are texts; test {number} has {_shown(text)}")
    return tuple(inputs), tuple(outputs)


def _functional_pairs(tests: Mapping[str, Any]) -> tuple[tuple[tuple[Any, ...], ...], tuple[Any, ...]]:
    calls = [
        _call(given, wanted, number) for number, (given, wanted) in enumerate(zip(*_lists(tests), strict=True), start=1)
    ]
    return tuple(arguments for arguments, _ in calls), tuple(wanted for _, wanted in calls)


def _call(given: Any, wanted: Any, number: int) -> tuple[tuple[Any, ...], Any]:
    """Arguments and result of one test. Text is JSON only where the input is text: beside lists it is a value."""
    if isinstance(given, list | tuple):
        return tuple(given), wanted
    if not isinstance(given, str):
        raise ValueError(f"an input is text or a list of arguments; test {number} has {_shown(given)}")
    must = f"every line of an input is one argument as JSON, and test {number}"
    arguments = tuple(_from_json(line, must) for line in given.split("\n") if line.strip())
    if isinstance(wanted, str):
        wanted = _from_json(wanted, f"an output is JSON text, and test {number}")
    return arguments, wanted


def _lists(tests: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
    inputs, outputs = _list(tests, "inputs"), _list(tests, "outputs")
    if len(inputs) != len(outputs):
        raise ValueError(f"there is one output for each input; got {len(inputs)} inputs and {len(outputs)} outputs")
    if not inputs:
        raise ValueError("there is at least one test; got none")
    return inputs, outputs


def _list(tests: Mapping[str, Any], key: str) -> list[Any]:
    held = tests.get(key)
    if not isinstance(held, list | tuple):
        raise ValueError(f"{key} is a list with one entry a test; got {_shown(held)}")
    return list(held)


def _code(code: Any) -> str:
    if not isinstance(code, str) or not code.strip():
        raise ValueError(f"assert tests have code, the Python that checks; got {_shown(code)}")
    try:
        ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"the code of assert tests is Python; {type(error).__name__}: {error}") from error
    return code


def _name(tests: Mapping[str, Any], key: str) -> str | None:
    """A function's name; None where it is absent or empty, as sets write it beside stdin tests."""
    name = tests.get(key)
    if name is None or name == "":
        return None
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"{key} is the name of a function; got {_shown(name)}")
    return name


def _time_limit_s(limit: Any) -> float | None:
    if limit is None:
        return None
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 < limit < math.inf:
        raise ValueError(f"time_limit is a number of seconds over 0; got {_shown(limit)}")
    return float(limit)


def _from_json(text: str, must: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{must} is not: {_shown(text)} ({str(error) or type(error).__name__})") from error


def _shown(value: Any) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 80 else text[:80] + " ..."
