"""What a model is told of the tests that its program failed."""

from __future__ import annotations

import builtins

from mopd.verifiers.code_cases import Case

SHOWN_CHARACTERS = 300
"""Inputs, outputs and messages are shown in feedback up to this length each."""


def feedback(failures: list[Case], code: str) -> str:
    """What is said of failures, as text that can be encoded: programs and tests may hold halves of surrogate pairs."""
    return _told(failures, code).encode("utf-8", "backslashreplace").decode()


def _told(failures: list[Case], code: str) -> str:
    """The first error, else the first timeout, else the shortest wrong public case, else that hidden tests fail."""
    raised = [case for case in failures if case.outcome == "raised"]
    if raised:
        return _error_text(raised[0], code)
    late = [case for case in failures if case.outcome == "timeout"]
    if late:
        return "The program ran over its time limit" + (
            f" on the input:\n{_short(late[0].given)}" if late[0].given else "."
        )
    public = [case for case in failures if case.given or case.message]
    if not public:
        return "The answer to a hidden test is wrong."
    case = min(public, key=lambda case: len(case.given))
    if case.message or not case.wanted:
        return f"{case.message or 'A test fails:'}\n{_short(case.given)}".strip()
    return (
        f"Wrong answer on the input:\n{_short(case.given)}\nexpected:\n{_short(case.wanted)}\ngot:\n{_short(case.got)}"
    )


def _error_text(case: Case, code: str) -> str:
    """Of an error its built-in name and the line of the program; its message only where the test may be shown."""
    kind = getattr(builtins, case.raised, None)
    is_builtin = isinstance(kind, type) and issubclass(kind, BaseException)
    name = case.raised if is_builtin or case.message or case.given else "an exception of its own"
    said = f"{name}: {_short(case.message)}" if case.message and name else case.message or name
    lines = code.split("\n")
    where = ""
    if case.line is not None and 0 < case.line <= len(lines):
        where = f" in line {case.line} (`{_short(lines[case.line - 1].strip())}`)"
    return f"The program fails{where}: {said or 'an error'}" + (
        f"\non the input:\n{_short(case.given)}" if case.given else ""
    )


def _short(text: str) -> str:
    """`text`, or its beginning and end around how much is left out."""
    if len(text) <= SHOWN_CHARACTERS:
        return text.rstrip("\n")
    half = SHOWN_CHARACTERS // 2
    return f"{text[:half]} ... ({len(text) - 2 * half} characters left out) ... {text[-half:]}".rstrip("\n")
