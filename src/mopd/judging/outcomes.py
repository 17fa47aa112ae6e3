"""What comes of calls of a user's functions: values, what was logged, or why there is neither."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

if TYPE_CHECKING:
    import torch

LARGEST = float(np.finfo(np.float32).max)
"""Rewards beyond this, in which training could not compute, count as not finite."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a call gave nothing that counts. `said` is what the function itself said, which may quote an answer."""

    what: str
    said: object = ""


LOGGERS = ("log_metric", "log_extra")
"""The arguments by which a function logs."""

Value = float | None | Failure
"""What one function gave one rollout: a finite number, None where it does not apply, or why it gave no reward."""


@dataclass
class Log:
    """What one call logged. Each call has its own: what a call that was given up on still writes, nobody reads."""

    metrics: dict[str, list[float]] = field(default_factory=dict)
    columns: dict[str, list[Any]] = field(default_factory=dict)

    def metric(self, name: str, value: Any) -> None:
        """A figure of the whole call; several of a name are averaged, and one that is not finite is left out."""
        number = value_of(value)
        if isinstance(number, float):
            self.metrics.setdefault(str(name), []).append(number)

    def column(self, name: str, values: Sequence[Any]) -> None:
        """A value a rollout, for groups.jsonl."""
        self.columns.setdefault(str(name), []).extend(values)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a process answers: values or a Failure, and what was logged, all of which can be sent."""

    outcome: Any
    metrics: dict[str, list[float]] = field(default_factory=dict)
    columns: dict[str, list[Any]] = field(default_factory=dict)


def listed(found: Any) -> list[Value] | Failure:
    """The values of what a call returned, however many."""
    if isinstance(found, np.ndarray) or _is_tensor(found):
        found = list(found) if found.ndim else found.item()  # numbers of a list keep their precision
    if isinstance(found, Failure):
        return found
    if not isinstance(found, list | tuple):
        return Failure(f"returned no list, but an object of type {type(found).__name__}")
    return [value_of(value) for value in found]


def values_of(found: Any, count: int) -> list[Value]:
    """One value a rollout, of what a call returned."""
    values = listed(found)
    if isinstance(values, list) and len(values) != count:
        values = Failure(f"returned {len(values)} values for {count} rollouts")
    return [values] * count if isinstance(values, Failure) else values


def value_of(value: Any) -> Value:
    """The value that an object of any kind is."""
    if value is None or isinstance(value, Failure):
        return value
    if isinstance(value, np.generic) or (_is_tensor(value) and value.numel() == 1):
        value = _as_meant(value)
    if not isinstance(value, int | float):
        return Failure(f"returned an object of type {type(value).__name__} as a reward")
    if -LARGEST <= value <= LARGEST:  # false for NaN
        return _without_float32(float(value))
    return Failure("returned a reward that is not finite")


def _is_tensor(value: Any) -> TypeGuard[torch.Tensor]:
    """Whether a value is a tensor. Who has made one has imported torch; for who has not, it would take seconds."""
    return "torch" in sys.modules and isinstance(value, sys.modules["torch"].Tensor)


def _as_meant(value: np.generic | torch.Tensor) -> Any:
    """A number as Python has it; one of low precision as the shortest decimal that it stands for.

    In float32, 0.9 is 0.89999998. Beside 0.1 that is no 1 for Python, though it is one for who added them in float32.
    """
    number = value.item()
    if not isinstance(number, float) or not math.isfinite(number):
        return number
    for digits in range(1, 10):
        short = float(f"{number:.{digits}g}")
        again = value.new_tensor(short) if _is_tensor(value) else type(value)(short)
        if again.item() == number:
            return short
    return number


def _without_float32(value: float) -> float:
    """A number that went through float32, as `tolist` of a tensor gives it, as the decimal that it stood for.

    By chance, no other number but a whole one or a short binary fraction is a float32 exactly.
    """
    if value.is_integer() or float(np.float32(value)) != value:
        return value
    return float(_as_meant(np.float32(value)))


def json_value(value: Any) -> str | float | None:
    """What JSON can hold of a value that a function logged."""
    if value is None or isinstance(value, str):
        return value
    number = value_of(value)
    return number if isinstance(number, float) else text_of(value)


def text_of(value: Any) -> str:
    """A short text of any object."""
    try:
        return str(value)[:500]
    except Exception:  # a user's object may refuse
        return f"an object of type {type(value).__name__}"
