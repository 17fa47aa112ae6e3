"""Values of expressions, and when two expressions have the same one.

Numbers are compared exactly where they are fractions, else to a hundred digits, so that no size of theirs matters.
Expressions with letters are equal if they are at every sampled point at which both exist. No expression is simplified:
that can take for ever. Imports sympy and mpmath, so it is imported in worker processes only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

import mpmath  # type: ignore[import-untyped]
import sympy
from sympy.core.function import AppliedUndef

DIGITS = (120, 250)
"""Digits to which numbers are computed, twice: a true difference stays the same, a rounding error shrinks."""

SYMBOLIC_DIGITS = (50, 110)
MAX_EXPONENT = 2**70
MAX_EXACT_BITS = 2**16
POINTS = 9
TO_CARRY_OUT = (sympy.Sum, sympy.Product, sympy.Integral, sympy.Limit, sympy.Derivative)


class Undefined(Exception):
    """The expression has no value here, or none that can be computed."""


# --- exact values ---------------------------------------------------------------------------------------------------


def exact(read: Any) -> Fraction | None:
    """The value of an expression of whole numbers, sums, products and whole powers; None for others and huge ones."""
    if isinstance(read, sympy.Rational):
        return Fraction(int(read.p), int(read.q))
    if isinstance(read, sympy.UnevaluatedExpr):
        return exact(read.args[0])
    if not isinstance(read, (sympy.Add, sympy.Mul, sympy.Pow)):
        return None
    parts = []
    for part in read.args:
        value = exact(part)
        if value is None:
            return None
        parts.append(value)
    return _combined(read, parts)


def _combined(read: Any, parts: list[Fraction]) -> Fraction | None:
    total = parts[0]
    for part in parts[1:]:
        if isinstance(read, sympy.Pow):
            base_bits = max(total.numerator.bit_length(), total.denominator.bit_length())
            if part.denominator != 1 or base_bits * abs(part) > MAX_EXACT_BITS or (total == 0 and part < 0):
                return None
            total = total ** int(part)
        else:
            total = total + part if isinstance(read, sympy.Add) else total * part
        if total.numerator.bit_length() + total.denominator.bit_length() > 2 * MAX_EXACT_BITS:
            return None
    return total


# --- values at points -----------------------------------------------------------------------------------------------

_FUNCTIONS: dict[Any, Any] = {
    **{getattr(sympy, name): getattr(mpmath, name) for name in ("sin", "cos", "tan", "cot", "sec", "csc")},
    **{getattr(sympy, name): getattr(mpmath, name) for name in ("asin", "acos", "atan", "acot", "asec", "acsc")},
    **{getattr(sympy, name): getattr(mpmath, name) for name in ("sinh", "cosh", "tanh", "coth", "sech", "csch")},
    **{getattr(sympy, name): getattr(mpmath, name) for name in ("asinh", "acosh", "atanh", "factorial", "gamma")},
    **{getattr(sympy, name): getattr(mpmath, name) for name in ("binomial", "floor", "exp", "zeta", "erf")},
    **{sympy.ceiling: mpmath.ceil, sympy.Abs: mpmath.fabs, sympy.re: mpmath.re, sympy.im: mpmath.im},
    **{sympy.conjugate: mpmath.conj, sympy.arg: mpmath.arg, sympy.sign: mpmath.sign},
    **{sympy.Max: max, sympy.Min: min},
}
_CONSTANTS: dict[Any, Any] = {
    **{sympy.pi: mpmath.pi, sympy.E: mpmath.e, sympy.EulerGamma: mpmath.euler, sympy.GoldenRatio: mpmath.phi},
    **{sympy.Catalan: mpmath.catalan},
}


def value(read: Any, point: Mapping[Any, Any], is_real: bool) -> Any:
    """The value of an expression where letters, and whatever cannot be computed, have the values of `point`.

    With `is_real` every step must be a real number. Raises Undefined where there is none, or it is too large.
    """
    if read in point:
        return point[read]
    if isinstance(read, sympy.Rational):
        return mpmath.mpf(int(read.p)) / int(read.q)
    if read in _CONSTANTS:
        return +_CONSTANTS[read]
    if read is sympy.I and not is_real:
        return mpmath.mpc(0, 1)
    parts = [value(part, point, is_real) for part in read.args]
    try:
        found = _computed(read, parts, is_real)
    except (ArithmeticError, ValueError, TypeError, NotImplementedError, mpmath.libmp.NoConvergence) as error:
        raise Undefined from error
    if not mpmath.isfinite(found) or (is_real and isinstance(found, mpmath.mpc)):
        raise Undefined
    return found


def _computed(read: Any, parts: list[Any], is_real: bool) -> Any:
    if isinstance(read, sympy.Add):
        return mpmath.fsum(parts)
    if isinstance(read, sympy.Mul):
        return mpmath.fprod(parts)
    if isinstance(read, sympy.Pow):
        return _power(parts[0], parts[1], read.exp, is_real)
    if isinstance(read, sympy.UnevaluatedExpr):
        return parts[0]
    if isinstance(read, sympy.log):
        return mpmath.log(*parts)
    function = _FUNCTIONS.get(read.func)
    if function is None or max((abs(part) for part in parts), default=0) > MAX_EXPONENT:
        raise Undefined
    return function(*parts)


def _power(base: Any, exponent: Any, written: Any, is_real: bool) -> Any:
    """A power; where all is real an odd root of a negative number is negative."""
    if abs(exponent) > MAX_EXPONENT or (base == 0 and exponent == 0):
        raise Undefined
    if is_real and base < 0 and isinstance(written, sympy.Rational) and written.q % 2 and written.q > 1:
        return (-1) ** (written.p % 2) * mpmath.power(-base, exponent)
    return mpmath.power(base, exponent)


# --- equality -------------------------------------------------------------------------------------------------------


def are_equal(first: Any, second: Any) -> bool:
    """Whether two expressions have the same value; with letters, wherever both have one."""
    if first.has(sympy.nan, sympy.zoo) or second.has(sympy.nan, sympy.zoo):
        return False
    if first == second:
        return True
    values = exact(first), exact(second)
    if values[0] is not None and values[1] is not None:
        return values[0] == values[1]
    first, second = _with_same_case(first, second)
    return all(outcome == 0 for outcome in _signs(first - second, first, second))


def ratio(first: Any, second: Any) -> Any:
    """A number that the first expression is of the second at every sampled point; None where there is none."""
    first, second = _with_same_case(first, second)
    found = None
    for point in _points(first, second):
        try:
            values = [value(read, point, True) for read in (first, second)]
            sizes = [_size(read, point, True) for read in (first, second)]
        except Undefined:
            continue
        zeros = [abs(part) <= size * mpmath.mpf(10) ** -30 for part, size in zip(values, sizes, strict=True)]
        if any(zeros):
            if not all(zeros):
                return None
            continue
        quotient = values[0] / values[1]
        if found is not None and abs(quotient - found) > abs(found) * mpmath.mpf(10) ** -30:
            return None
        found = quotient
    return found or None


def digits_of(read: Any, digits: int = 60) -> Fraction | None:
    """A real number to so many digits; None for other expressions."""
    known = exact(read)
    if known is not None:
        return known
    with mpmath.workdps(digits):
        try:
            found = value(read, {}, True)
        except Undefined:
            try:
                complex_found = mpmath.mpmathify(value(read, {}, False))
            except Undefined:
                return None
            if abs(mpmath.im(complex_found)) > abs(complex_found) * mpmath.mpf(10) ** (10 - digits):
                return None
            found = mpmath.re(complex_found)
        return _fraction(found)


def size_of(read: Any) -> Any:
    """The value of an expression without letters, real or complex; None where it has none."""
    with mpmath.workdps(SYMBOLIC_DIGITS[0]):
        try:
            return mpmath.mpc(value(read, {}, False))
        except Undefined:
            return None


def parts_of(read: Any) -> tuple[Fraction, Fraction] | None:
    """The real and the imaginary part of a number to fifty digits; None for other expressions."""
    found = size_of(read) if not read.free_symbols else None
    if found is None:
        return None
    parts = _fraction(mpmath.re(found)), _fraction(mpmath.im(found))
    return None if parts[0] is None or parts[1] is None else (parts[0], parts[1])


def is_multiple(first: Any, second: Any) -> bool:
    """Whether a number is a fraction of small numbers times another one."""
    if not first or not second:
        return False
    with mpmath.workdps(SYMBOLIC_DIGITS[0]):
        quotient = first / second
        if abs(quotient.imag) > abs(quotient) * mpmath.mpf(10) ** -30 or not 1e-6 < abs(quotient) < 1e6:
            return False
        near = Fraction(str(quotient.real)).limit_denominator(10**6)
        return bool(abs(quotient.real - mpmath.mpf(near.numerator) / near.denominator) < mpmath.mpf(10) ** -30)


def _fraction(found: Any) -> Fraction | None:
    sign, mantissa, exponent, _ = mpmath.mpf(found)._mpf_
    if abs(exponent) > MAX_EXACT_BITS:
        return None
    size = int(mantissa) * Fraction(2) ** int(exponent)
    return -size if sign else size


def _with_same_case(first: Any, second: Any) -> tuple[Any, Any]:
    """Both with small letters, unless one of them has a letter in both cases."""
    for names in ([letter.name for letter in read.free_symbols] for read in (first, second)):
        if len({name.lower() for name in names}) < len(names):
            return first, second
    small = [
        read.xreplace({letter: sympy.Symbol(letter.name.lower()) for letter in read.free_symbols})
        for read in (first, second)
    ]
    return small[0], small[1]


def _signs(difference: Any, first: Any, second: Any) -> Iterator[int]:
    """0 for each point at which two expressions agree, 1 for each at which they differ; 1 where there is no point."""
    letters = _unknowns(first) | _unknowns(second)
    digits = SYMBOLIC_DIGITS if letters else DIGITS
    is_anywhere = False
    for is_real in (True, False):
        for place in range(POINTS if letters else 1):
            try:
                with mpmath.workdps(digits[1]):  # where one side does not exist, neither does the difference
                    point = _point(letters, place, is_real)
                    scale = max(_size(read, point, is_real) for read in (difference, first, second))
                    fine = abs(value(difference, point, is_real))
                with mpmath.workdps(digits[0]):
                    coarse = abs(value(difference, point, is_real))
            except Undefined:
                continue
            is_anywhere = True
            yield 0 if _is_rounding(coarse, fine, scale, digits) else 1
        if is_anywhere:
            return
    yield 1


def _is_rounding(coarse: Any, fine: Any, scale: Any, digits: tuple[int, int]) -> bool:
    """Whether a difference is nothing to what it is made of, or shrinks as digits grow."""
    low, high = digits
    with mpmath.workdps(high):
        ten = mpmath.mpf(10)
        return bool(fine <= scale * ten ** (20 - high) or fine <= coarse * ten ** ((low - high) // 3))


def _size(read: Any, point: Mapping[Any, Any], is_real: bool) -> Any:
    """How large the terms are that an expression is made of, however much of them cancels."""
    if isinstance(read, (sympy.Add, sympy.Mul)):
        parts = [_size(part, point, is_real) for part in read.args]
        return mpmath.fsum(parts) if isinstance(read, sympy.Add) else mpmath.fprod(parts)
    return abs(value(read, point, is_real))


def _points(first: Any, second: Any) -> Iterator[Mapping[Any, Any]]:
    letters = _unknowns(first) | _unknowns(second)
    with mpmath.workdps(SYMBOLIC_DIGITS[0]):
        for place in range(POINTS if letters else 1):
            yield _point(letters, place, True)


def _point(letters: set[Any], place: int, is_real: bool) -> dict[Any, Any]:
    """One of some points: first all letters positive, then of both signs, then whole; without `is_real`, complex."""
    values = {}
    for number, letter in enumerate(sorted(letters, key=str)):
        step = mpmath.mpf(7 * number + 3 * place + 2)
        if place < 3 or not is_real:
            found = mpmath.sqrt(step) * (mpmath.mpf(1) / 3 if place == 1 else 1)
        elif place < 6:
            found = (-1) ** (place + number) * mpmath.sqrt(step + 1) / 2
        else:
            found = mpmath.mpf(3 * number + place - 4)
        values[letter] = found if is_real else mpmath.mpc(found, mpmath.sqrt(step + 2) - 2)
    return values


def _unknowns(read: Any) -> set[Any]:
    """Letters, and whatever cannot be computed, which equals nothing but itself."""
    if isinstance(read, (*TO_CARRY_OUT, AppliedUndef)) or not hasattr(read, "args"):
        return {read}
    if isinstance(read, sympy.Symbol) or read in (sympy.oo, -sympy.oo):
        return {read}
    found: set[Any] = set()
    for part in read.args:
        found |= _unknowns(part)
    return found
