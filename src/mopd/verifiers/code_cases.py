"""What came of one test, and how it is read from what a program and its sandbox said."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from mopd.sandbox import Ended

_RAISED = re.compile(r"(\w[\w.]*)(?:: (.*))?")
_LINE = re.compile(r'\s*File "<completion>", line (\d+)')


@dataclass(frozen=True)
class Case:
    """What came of one test. Texts are there for public tests alone, and for what happened before any test."""

    outcome: Literal["passed", "wrong", "raised", "timeout", "not run"]
    raised: str = ""
    line: int | None = None
    message: str = ""
    given: str = ""
    wanted: str = ""
    got: str = ""


def without_texts(case: Case) -> Case:
    """The case as it is kept of a hidden test: without the test's texts, and without what the program said."""
    return Case(case.outcome, case.raised, case.line)


def case_of_end(ended: Ended) -> Case:
    """The case of a program whose sandbox ended with it."""
    if ended.reason == "time":
        return Case("timeout")
    return Case("wrong", message="It wrote too much." if ended.reason == "output" else "It ended its own process.")


def case_of_traceback(stderr: str, status: int, given: str) -> Case:
    """The error that a traceback of the program ends in; of whatever else it wrote, nothing is believed."""
    lines = stderr.rstrip().split("\n")
    match = _RAISED.fullmatch(lines[-1])
    numbers = [int(found[1]) for line in lines if (found := _LINE.match(line))]
    if match is None or not numbers:
        how = f"signal {-status}" if status < 0 else f"exit code {status}"
        return Case("raised", message=f"It ended with {how}.", given=given)
    return Case("raised", match[1], numbers[-1], match[2] or "", given)


def case_of_raised(reply: dict[str, Any]) -> Case:
    """The case of a call that raised, as the reply says: the program may have written it, so no type is believed."""
    line = reply.get("line")
    return Case(
        "raised", str(reply["raised"]), line if isinstance(line, int) else None, str(reply.get("message") or "")
    )
