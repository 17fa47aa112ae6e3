"""What a reward function asks for, and what it is called in metrics."""

from __future__ import annotations

import difflib
import functools
import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any

from mopd.core.errors import VerifierError

RewardFunction = Callable[..., Any]

GIVEN = ("prompts", "completions", "completion_ids", "trainer_state", "log_metric", "log_extra")
"""The arguments that are no columns."""

NOT_PASSED = (*GIVEN, "prompt", "completion")
"""Columns of these names are not passed, as in TRL."""


def unwrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function within any number of partials."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling `function` gives a coroutine: an async function, a partial of one, or an async `__call__`."""
    function = unwrapped(function)
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def _parameters(function: RewardFunction) -> list[inspect.Parameter] | None:
    """The function's parameters; None where it does not tell them, as some built in C do not."""
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return None


def check_parameters(function: RewardFunction, columns: Sequence[str]) -> None:
    """Raises VerifierError where the function asks for what no problem has."""
    known = [*GIVEN, "answer", *columns]
    for parameter in _parameters(function) or []:
        is_needed = parameter.default is parameter.empty and parameter.kind not in (
            parameter.VAR_KEYWORD,
            parameter.VAR_POSITIONAL,
        )
        if is_needed and (parameter.name not in known or parameter.kind is parameter.POSITIONAL_ONLY):
            near = difflib.get_close_matches(parameter.name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "rename it, give it a default, or add it to the problems"
            raise VerifierError(
                "a reward function's parameters are keywords that it is given",
                f"{metric_name(function)} asks for {parameter.name!r}; there are {', '.join(known)}",
                hint,
            )


def asks_for(function: RewardFunction, name: str) -> bool:
    """Whether the function has a parameter of this name and cannot be called without it."""
    return any(p.name == name and p.default is p.empty for p in _parameters(function) or [])


def accepted_arguments(function: RewardFunction, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments to pass: all to a function with `**kwargs`, else those that it names."""
    parameters = _parameters(function)
    if parameters is None or any(p.kind is p.VAR_KEYWORD for p in parameters):
        return arguments
    names = {parameter.name for parameter in parameters}
    return {name: value for name, value in arguments.items() if name in names}


def metric_name(function: RewardFunction) -> str:
    inner = unwrapped(function)
    return re.sub(r"\W+", "_", getattr(inner, "__name__", type(inner).__name__)).strip("_")


def distinct_names(functions: Sequence[RewardFunction]) -> list[str]:
    """A name for each function in metrics; the second of two of a name is NAME_2."""
    names: list[str] = []
    for name in map(metric_name, functions):
        candidates = (name if number == 1 else f"{name}_{number}" for number in range(1, len(functions) + 1))
        names.append(next(candidate for candidate in candidates if candidate not in names))
    return names
