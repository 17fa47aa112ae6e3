"""Verifiers by name. `get(name)` returns a function (problem, completion) -> verdict.

`math` and `reasoning_gym` run their graders in worker processes with a time limit that can kill; `code` runs programs
in a sandbox; `exact`, `multiple_choice` and `tool_use` are plain functions of strings. `register` adds one of your own.

May import: `core`, `sandbox`. A new verifier: a module with `verify`, and `demonstrate` where answers have a format,
known by name below; what may hang or crash is graded in a worker (`pool`).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable

from mopd.core.errors import VerifierError
from mopd.core.types import Problem, Verifier
from mopd.verifiers import code, exact, math, multiple_choice, reasoning_gym_tasks, tool_use

_VERIFIERS: dict[str, Verifier] = {
    "code": code.verify,
    "exact": exact.verify,
    "multiple_choice": multiple_choice.verify,
    "multiple_choice_letter": multiple_choice.verify_letter,
    "math": math.verify,
    "reasoning_gym": reasoning_gym_tasks.verify,
    "tool_use": tool_use.verify,
}

MULTIPLE_CHOICE = ("multiple_choice", "multiple_choice_letter")
"""The verifiers whose problems list options in their prompts."""

_DEMONSTRATIONS: dict[str, Callable[[str], str]] = {
    "code": code.demonstrate,
    "math": math.demonstrate,
    "multiple_choice": multiple_choice.demonstrate,
    "multiple_choice_letter": multiple_choice.demonstrate,
    "tool_use": tool_use.demonstrate,
}


def get(name: str) -> Verifier:
    """The verifier called `name`. Raises VerifierError naming the nearest known one."""
    if name not in _VERIFIERS:
        near = difflib.get_close_matches(name, list(_VERIFIERS), n=1)
        do = f"did you mean {near[0]}?" if near else "or add one with mopd.verifiers.register"
        raise VerifierError(
            f"a verifier is one of {', '.join(sorted(_VERIFIERS))}", f"there is no verifier {name!r}", do
        )
    return _VERIFIERS[name]


def demonstration(problem: Problem) -> str | None:
    """A completion that solves the problem: its column `solution`, else its reference in the verifier's format.

    Some files have the bare answer in `solution`: what equals the reference is no completion. None where a problem has
    neither, or a reference that cannot be read.
    """
    solution = problem.columns.get("solution")
    if isinstance(solution, str) and solution.strip() and solution != problem.reference:
        return solution
    if problem.reference is None:
        return None
    return in_format(problem.verifier, problem.reference)


def in_format(verifier: str, answer: str) -> str | None:
    """A completion that gives `answer` as a verifier reads it; None for what cannot be an answer in its format."""
    try:
        return _DEMONSTRATIONS.get(verifier, str)(answer)
    except (ValueError, KeyError, TypeError):
        return None


def register(name: str) -> Callable[[Verifier], Verifier]:
    """A decorator that makes a function (problem, completion) -> Verdict known under `name` in this process.

    It runs in this process, in threads and without a time limit. Its feedback may be shown to the model, so that it
    must not hold the reference answer. What it raises becomes kind `error`.
    """

    def add(verifier: Verifier) -> Verifier:
        _VERIFIERS[name] = verifier
        return verifier

    return add
