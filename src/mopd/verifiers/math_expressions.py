"""LaTeX as an expression of sympy, and whether it is a calculation that was not carried out.

Imported in worker processes only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any

import sympy
from latex2sympy2_extended import (
    NormalizationConfig,
    latex2sympy,
    normalize_latex,
)
from latex2sympy2_extended.latex2sympy2 import ConversionConfig

from mopd.verifiers.math_splitting import split_at_signs
from mopd.verifiers.math_values import TO_CARRY_OUT, exact, is_multiple, size_of

_NORMAL = NormalizationConfig(basic_latex=True, units=False, malformed_operators=False, nits=False, boxed="none")
_READING = ConversionConfig(interpret_as_mixed_fractions=False, lowercase_symbols=False)
_DECIMAL = re.compile(r"(?<![\w.])\d*\.\d+(?![\d.])|(?<![\w.])\d+\.(?!\d)")
_DEGREES = re.compile(r"(\d+|\\frac\{\d+\}\{\d+\})\s*\^\s*(?:\\circ|\{\s*\\circ\s*\})(?![A-Za-z])")
_TWO_NUMBERS = re.compile(r"(?<![\^_])\d \d|[.\d]\s*_|(?<!\\)\.\d+\.")
_CALCULATION = re.compile(
    r"[\w)}]\s*(?:[-+/]|\\(?:cdot|times|div)(?![A-Za-z]))|\\(?:[dt]?binom|frac\s*\{\s*\\frac)|\)\s*\("
)
"""What the parser carries out without a trace: it reads 1/2 + 1/3 as 5/6."""

_CALCULATING = re.compile(
    r"\\(?:int|sum|prod|lim|gcd|lcm|max|min|det|bmod|mod|begin)(?![A-Za-z])|\\frac\s*\{d\}"
    r"|\\(?:cdot|times|div)\s*1(?![\d.])|(?<![\d.])1\s*\\(?:cdot|times)(?!\s*10\s*\^)"
)
_LETTER = re.compile(r"(?<![\\A-Za-z])[A-Za-z]")
FUNCTION = re.compile(r"\\(?:exp|log|lg|ln|sec|csc|(?:arc)?(?:sin|cos|tan|cot)h?)(?![A-Za-z])")
_COMMAND = re.compile(r"\\[A-Za-z]+")
_WAYS_TO_WRITE = (sympy.exp, sympy.factorial)
"""Functions of numbers that stay in answers; any other one of a number is still to be looked up."""


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


def is_calculation(latex: str, is_exact: bool) -> bool:
    """Whether what should be a number, and is no plain one, is still to be calculated: 3 + 4, 2/3 times 5, x/x.

    A power, a root, a factorial and a number times a power of ten are ways to write a number. A function or a product
    of what is no fraction may be the only way to write it, unless it `is_exact`: 3 is no `\\log_2 8`.
    """
    read = expression(latex)
    if read.free_symbols or set(_LETTER.findall(_COMMAND.sub(" ", latex))) - {"e", "i"}:
        return True
    if isinstance(read, sympy.Rational) and (_CALCULATION.search(latex) or FUNCTION.search(latex)):
        return True
    return bool(_CALCULATING.search(latex)) or any(
        isinstance(node, TO_CARRY_OUT)
        or (is_exact and isinstance(node, sympy.Function) and not isinstance(node, _WAYS_TO_WRITE))
        or _has_several_numbers(node, is_exact)
        for node in _nodes(read, (sympy.Function, sympy.Add, sympy.Mul, *TO_CARRY_OUT))
    )


def _has_several_numbers(node: Any, is_exact: bool) -> bool:
    """Whether a sum or a product has two numbers that make one, beside a denominator and a power of ten."""
    terms = node.args
    if isinstance(node, sympy.Mul):
        terms = [term for term in terms if term not in (1, -1)]
        tens = [place for place, term in enumerate(terms) if isinstance(term, sympy.Pow) and term.base == 10]
        kept = [term for place, term in enumerate(terms) if place not in tens[:1]]
        terms = [term for term in kept if not _is_denominator(term, terms)]
        return len([term for term in terms if is_exact or exact(term) is not None]) > 1
    return isinstance(node, sympy.Add) and len([term for term in terms if exact(term) is not None]) > 1


def _is_denominator(factor: Any, factors: Sequence[Any]) -> bool:
    """Whether a factor is what a fraction divides by: a number, or all that is not written as digits."""
    if not isinstance(factor, sympy.Pow) or factor.exp != -1 or isinstance(factor.base, (sympy.Add, sympy.Mul)):
        return False
    return isinstance(factor.base, sympy.Rational) or all(each is factor or each.is_Rational for each in factors)


def has_like_terms(latex: str) -> bool:
    """Whether a sum has terms that make one: 3\\pi + 4\\pi, 3i + 4i, \\sqrt2 + \\sqrt8."""
    sums: list[list[Any]] = [[*node.args] for node in _nodes(expression(latex), (sympy.Add,))]
    if "i" in latex:  # the parser adds these without a trace
        sums.append([expression(term) for term in split_at_signs(latex)])
    for terms in sums:
        sizes = [_simple_size(term) for term in terms]
        for place, size in enumerate(sizes):
            if size is not None and any(is_multiple(size, other) for other in sizes[:place] if other is not None):
                return True
    return False


def _simple_size(term: Any) -> Any:
    """The value of a term of numbers, roots of numbers, pi and the like; None for any other."""
    if not isinstance(term, sympy.Expr) or term.free_symbols or term == 0:
        return None
    if any(not isinstance(node.base, (sympy.Rational, sympy.NumberSymbol)) for node in _nodes(term, (sympy.Pow,))):
        return None
    return size_of(term)
