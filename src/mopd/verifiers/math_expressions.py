"""LaTeX as an expression of sympy, and whether it is a calculation that was not carried out.

Imported in worker processes only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from typing import Any

import sympy  # type: ignore[import-untyped]
from latex2sympy2_extended import (  # type: ignore[import-untyped]
    NormalizationConfig,
    latex2sympy,
    normalize_latex,
)
from latex2sympy2_extended.latex2sympy2 import ConversionConfig  # type: ignore[import-untyped]

from mopd.verifiers.math_values import TO_CARRY_OUT, exact

_NORMAL = NormalizationConfig(basic_latex=True, units=False, malformed_operators=False, nits=False, boxed="none")
_READING = ConversionConfig(interpret_as_mixed_fractions=False, lowercase_symbols=False)
_DECIMAL = re.compile(r"(?<![\w.])\d*\.\d+(?![\d.])|(?<![\w.])\d+\.(?!\d)")
_DEGREES = re.compile(r"(\d+|\\frac\{\d+\}\{\d+\})\s*\^\s*(?:\\circ|\{\s*\\circ\s*\})(?![A-Za-z])")
_TEXT_IN_TEXT = re.compile(r"\\(?:text|mathrm)\s*\{([^{}]*)\}")
_TWO_NUMBERS = re.compile(r"(?<![\^_])\d \d|[.\d]\s*_|(?<!\\)\.\d+\.")
_CALCULATION = re.compile(
    r"[\w)}]\s*(?:[-+/]|\\(?:cdot|times|div)(?![A-Za-z]))|\\(?:[dt]?binom|frac\s*\{\s*\\frac)|\)\s*\("
)
"""What the parser carries out without a trace: it reads 1/2 + 1/3 as 5/6."""

_CALCULATING = re.compile(r"\\(?:int|sum|prod|lim|gcd|lcm|max|min|det|bmod|mod)(?![A-Za-z])|\\frac\s*\{d\}")


class Unreadable(Exception):
    """The text is no mathematics that can be read."""


class Undecided(Exception):
    """What the reference stands for cannot be computed."""


@lru_cache(maxsize=64)
def expression(latex: str) -> Any:
    """The expression that LaTeX stands for; decimals are fractions in it, and i is the imaginary unit.

    Raises Unreadable.
    """
    if _TWO_NUMBERS.search(latex):
        raise Unreadable
    latex = _DECIMAL.sub(_as_fraction, _DEGREES.sub(r"(\1 \\cdot \\frac{\\pi}{180})", latex))
    try:
        read = latex2sympy(
            normalize_latex(latex, _NORMAL),
            is_real=None,
            convert_degrees=False,
            normalization_config=None,
            conversion_config=_READING,
        )
    except MemoryError:
        raise
    except Exception as error:
        raise Unreadable from error
    if not isinstance(read, (sympy.Basic, sympy.MatrixBase)):
        raise Unreadable
    return _with_imaginary_unit(read)


def _as_fraction(decimal: re.Match[str]) -> str:
    value = Fraction(decimal[0])
    return f"\\frac{{{value.numerator}}}{{{value.denominator}}}"


def _with_imaginary_unit(read: Any) -> Any:
    """The expression with i as the imaginary unit, unless a sum or the like counts with it."""
    letters = {letter for letter in read.free_symbols if letter.name in ("i", "imath")}
    if not letters or any(node.atoms(sympy.Symbol) & letters for node in _nodes(read, TO_CARRY_OUT)):
        return read
    return read.xreplace(dict.fromkeys(letters, sympy.I))


def _nodes(read: Any, kinds: tuple[type, ...]) -> Iterator[Any]:
    if isinstance(read, sympy.Basic):
        yield from (node for node in sympy.preorder_traversal(read) if isinstance(node, kinds))


def _is_to_be_carried_out(read: Any) -> bool:
    """Whether what is no plain number is a calculation rather than its result: 3 + 4, 2/3 times 5, an integral.

    A power, a root, a factorial and a number times a power of ten are ways to write a number.
    """
    for node in _nodes(read, (sympy.Add, sympy.Mul, *TO_CARRY_OUT)):
        if isinstance(node, TO_CARRY_OUT):
            return True
        terms = [term for term in node.args if term != -1 and not _is_way_to_write(term, node)]
        if len([term for term in terms if exact(term) is not None]) > 1:
            return True
    return False


def _is_way_to_write(factor: Any, node: Any) -> bool:
    """Whether a factor of a product is a division by a number, a percent sign or a power of ten."""
    if isinstance(node, sympy.Add):
        return False
    is_power = isinstance(factor, sympy.Pow)
    is_inverse = is_power and factor.exp == -1 and not isinstance(factor.base, (sympy.Add, sympy.Mul))
    return factor == 1 or is_inverse or (is_power and factor.base == 10)


def is_calculation(latex: str) -> bool:
    """Whether what is no plain number is still to be calculated."""
    read = expression(latex)
    if isinstance(read, sympy.Rational) and _CALCULATION.search(latex):
        return True
    return bool(_CALCULATING.search(latex)) or _is_to_be_carried_out(read)
