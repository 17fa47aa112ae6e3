"""When two values are equal: each in its unit, decimals as rounded numbers, all else exactly.

Imported in worker processes only.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

import sympy

from mopd.verifiers import math_values as values
from mopd.verifiers.math_answers import Value
from mopd.verifiers.math_expressions import Undecided, expression, has_like_terms, is_calculation
from mopd.verifiers.math_numbers import Number, are_same_number, number
from mopd.verifiers.math_units import DEGREE, PERCENT, measure

_PARTS_OF_DEGREE = {DEGREE: 1, "deg": 1, "arcminute": 60, "arcsecond": 3600}

_COMPLEX = re.compile(
    r"(?P<real>[-+]?\s*\d+(?:\.\d+)?(?=\s*[-+]))?\s*(?P<imaginary>[-+]?\s*(?:\d+(?:\.\d+)?)?)\s*(?:\\cdot\s*)?i"
)


def are_same_quantities(reference: Value, answer: Value) -> bool:
    """Whether two values are equal, each in its unit. A unit left out is forgiven; a percent sign in excess is not."""
    units = reference.unit, answer.unit
    if units[0] == units[1]:
        return _are_same_values(reference.latex, answer.latex)
    if units == (PERCENT, ""):
        hundredth = Fraction(1, 100)
        return any(_are_same_values(reference.latex, answer.latex, factor) for factor in (Fraction(1), hundredth))
    if units == ("", PERCENT):
        return _are_same_values(reference.latex, answer.latex, Fraction(100))
    if not all(units):
        if _are_same_values(reference.latex, answer.latex):
            return True
        return DEGREE in units and _are_same_values(_in_radians(reference), _in_radians(answer))
    return _are_same_measured(reference, answer)


def _in_radians(value: Value) -> str:
    part = _PARTS_OF_DEGREE.get(value.unit.removesuffix("s"))
    return rf"({value.latex}) \cdot \frac{{\pi}}{{{180 * part}}}" if part else value.latex


def _are_same_measured(reference: Value, answer: Value) -> bool:
    """Whether two values with different units are the same quantity. A unit that measures nothing is no unit."""
    measures = measure(reference.unit), measure(answer.unit)
    if measures[0] is None or measures[1] is None:
        return _are_same_values(reference.latex, answer.latex)
    if measures[0].dimension != measures[1].dimension:
        return False
    angles = [_in_radians(each) for each in (reference, answer)]
    if "radian" in measures[0].dimension and angles != [reference.latex, answer.latex]:
        return _are_same_values(angles[0], angles[1])
    if measures[0].offset == measures[1].offset:
        return _are_same_values(reference.latex, answer.latex, measures[0].factor / measures[1].factor)
    numbers = number(reference.latex), number(answer.latex)
    if numbers[0] is None or numbers[1] is None:
        return False
    base = [each.value * found.factor + found.offset for each, found in zip(numbers, measures, strict=True)]  # type: ignore[union-attr]
    return base[0] == base[1]


def _are_same_values(reference: str, answer: str, factor: Fraction = Fraction(1)) -> bool:
    """Whether the reference, times a factor, has the value of the answer."""
    if reference == answer and factor == 1:
        return True
    wanted, given = number(reference), number(answer)
    if wanted is not None and given is not None:
        return are_same_number(wanted.times(factor), given)
    if wanted is not None and is_calculation(answer, wanted.is_exact):
        return False
    if wanted is not None or given is not None:
        written, other = (wanted.times(factor), answer) if wanted is not None else (given, reference)
        assert written is not None
        read = expression(other) if wanted is not None else _carried_out(reference)
        return _is_value_of(written, read, Fraction(1) if wanted is not None else factor)
    parts = [(_parts(text), expression(text)) for text in (reference, answer)]
    if parts[0][0] is not None or parts[1][0] is not None:
        return factor == 1 and _are_same_parts(*parts)
    wanted_value, given_value = parts[0][1], parts[1][1]
    is_same = factor == 1 and _are_equal(wanted_value, given_value)
    if not is_same:
        carried_out = _carried_out(reference)
        if factor != 1 or carried_out is not wanted_value:
            is_same = _are_equal(carried_out if factor == 1 else carried_out * sympy.Rational(factor), given_value)
    return is_same and (bool(wanted_value.free_symbols) or not has_like_terms(answer) or has_like_terms(reference))


def _parts(text: str) -> tuple[Number, Number] | None:
    """The real and the imaginary part of a complex number that is written with decimals."""
    found = _COMPLEX.fullmatch(text)
    if found is None or "." not in text:
        return None
    signed = [(found[group] or "0").replace(" ", "") for group in ("real", "imaginary")]
    parts = number(signed[0]), number(signed[1] + "1" if signed[1] in ("", "+", "-") else signed[1])
    return None if parts[0] is None or parts[1] is None else (parts[0], parts[1])


def _are_same_parts(
    first: tuple[tuple[Number, Number] | None, Any], second: tuple[tuple[Number, Number] | None, Any]
) -> bool:
    """Whether two complex numbers are the same in both parts, of which at least one is written with decimals."""
    if first[0] is not None and second[0] is not None:
        return all(map(are_same_number, first[0], second[0]))
    written, read = (first[0], second[1]) if first[0] is not None else (second[0], first[1])
    found = values.parts_of(read)
    if written is None or found is None:
        return False
    return all(
        part.stands_for(size) or abs(part.value - size) * 10**40 <= max(map(abs, found))
        for part, size in zip(written, found, strict=True)
    )


def _carried_out(reference: str) -> Any:
    """What a reference stands for; a sum or an integral in it is computed. Raises Undecided."""
    read = expression(reference)
    kinds = (sympy.Integral, sympy.Sum, sympy.Product, sympy.Limit)
    if not isinstance(read, sympy.Expr) or not read.has(*kinds):
        return read
    found = read.doit()
    if found.has(*kinds, sympy.Piecewise):
        raise Undecided
    return found


def _is_value_of(written: Number, read: Any, factor: Fraction) -> bool:
    """Whether a number is the value of an expression times a factor; of a decimal, rounded."""
    if isinstance(read, sympy.MatrixBase) or not isinstance(read, sympy.Expr):
        return False
    read = read if factor == 1 else read * sympy.Rational(factor)
    if not written.last_place or read.free_symbols:
        return values.are_equal(sympy.Rational(written.value), read)
    found = values.digits_of(read)
    return found is not None and (written.stands_for(found) or values.are_equal(sympy.Rational(written.value), read))


def _are_equal(reference: Any, answer: Any) -> bool:
    if isinstance(reference, (sympy.MatrixBase, sympy.MatrixExpr)) or isinstance(
        answer, (sympy.MatrixBase, sympy.MatrixExpr)
    ):
        return _are_equal_matrices(reference, answer)
    if not isinstance(reference, sympy.Expr) or not isinstance(answer, sympy.Expr):
        return bool(reference == answer)
    return values.are_equal(reference, answer)


def _are_equal_matrices(first: Any, second: Any) -> bool:
    found = [each.doit() for each in (first, second)]
    if not all(isinstance(each, sympy.MatrixBase) for each in found) or found[0].shape != found[1].shape:
        return False
    return all(map(values.are_equal, found[0].flat(), found[1].flat()))
