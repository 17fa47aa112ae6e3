"""Values for every integer k in their first period, so that a + kb is the same family wherever a begins.

Imported in worker processes only.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import sympy

from mopd.verifiers.math_answers import Bracketed, Listed, Named, Reading, Union, Value
from mopd.verifiers.math_declarations import PARAMETER
from mopd.verifiers.math_expressions import expression

_K = sympy.Symbol(PARAMETER.removeprefix("\\"))


def in_first_period(reading: Reading) -> Reading:
    """The same values for k in all integers, shifted so that k = 0 is the first that is not negative.

    Only a value, or an interval, whose first end is a + kb for numbers a and b is shifted.
    """
    if isinstance(reading, Named):
        return replace(reading, value=in_first_period(reading.value))
    if isinstance(reading, Listed):
        return replace(reading, items=tuple(map(in_first_period, reading.items)))
    if isinstance(reading, Union):
        return replace(reading, parts=tuple(map(in_first_period, reading.parts)))
    if isinstance(reading, Bracketed) and all(isinstance(item, Value) for item in reading.items):
        return replace(reading, items=_shifted([item for item in reading.items if isinstance(item, Value)]))
    return _shifted([reading])[0] if isinstance(reading, Value) else reading


def _shifted(values: list[Value]) -> tuple[Value, ...]:
    """Values with the k for which the first of them is in its first period."""
    found = [expression(value.latex) for value in values]
    k = _shift(found[0])
    if k is None:
        return tuple(values)
    return tuple(
        replace(value, latex=sympy.latex(sympy.expand(each).subs(_K, k)))
        for value, each in zip(values, found, strict=True)
    )


def _shift(first: Any) -> Any:
    """What to put for k in a + kb; None where the expression is no such value."""
    if first.free_symbols != {_K}:
        return None
    expanded = sympy.expand(first)
    step, start = sympy.diff(expanded, _K), expanded.subs(_K, 0)
    if step.free_symbols or not step.is_real or not start.is_real or step.is_zero is not False:
        return None
    return sympy.sign(step) * (_K - sympy.floor(start / abs(step)))
