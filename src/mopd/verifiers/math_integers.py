"""Values for every integer, which are the same wherever they begin, and residues.

Imported in worker processes only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import sympy

from mopd.verifiers.math_answers import (
    Bracketed,
    Congruent,
    Family,
    Inequality,
    Listed,
    Named,
    Reading,
    Union,
    Value,
)
from mopd.verifiers.math_declarations import INTEGERS, PARAMETER
from mopd.verifiers.math_expressions import expression

_K = sympy.Symbol(PARAMETER.removeprefix("\\"))


def are_same_families(reference: Reading, answer: Reading, are_same: Callable[[Reading, Reading], bool]) -> bool:
    """Whether two readings are the same values for every integer. One may leave out what its letter may be.

    But an inequality has other solutions without its declaration.
    """
    if isinstance(reference, Family) and isinstance(answer, Family) and reference.domain and answer.domain:
        if reference.domain == answer.domain == INTEGERS:
            return are_same(_in_first_period(reference.renamed), _in_first_period(answer.renamed))
        return reference.domain == answer.domain and are_same(reference.renamed, answer.renamed)
    written = [each.written if isinstance(each, Family) else each for each in (reference, answer)]
    return not any(map(_has_inequality, written)) and are_same(*written)


def _has_inequality(reading: Reading) -> bool:
    return isinstance(reading, Inequality) or (isinstance(reading, Listed) and any(map(_has_inequality, reading.items)))


def are_congruent(reference: Reading, answer: Reading, are_same: Callable[[Reading, Reading], bool]) -> bool:
    """Whether two residues are the same to the same modulus. A name may be left out, and so may the modulus."""
    if not isinstance(reference, Congruent) or not isinstance(answer, Congruent):
        residues = [each.residue if isinstance(each, Congruent) else each for each in (reference, answer)]
        return isinstance(residues[0], Value) and isinstance(residues[1], Value) and are_same(*residues)
    names = {each.name for each in (reference, answer)} - {""}
    if len(names) > 1 or not are_same(reference.modulus, answer.modulus):
        return False
    modulus, first, second = (expression(each.latex) for each in (answer.modulus, reference.residue, answer.residue))
    if all(isinstance(each, sympy.Integer) for each in (modulus, first, second)) and modulus != 0:
        return bool((first - second) % modulus == 0)
    return are_same(reference.residue, answer.residue)


# --- periods --------------------------------------------------------------------------------------------------------


def _in_first_period(reading: Reading) -> Reading:
    """The same values for k in all integers, shifted so that k = 0 is the first that is not negative.

    Only a value, or an interval, whose first end is a + kb for numbers a and b is shifted.
    """
    if isinstance(reading, Named):
        return replace(reading, value=_in_first_period(reading.value))
    if isinstance(reading, Listed):
        return replace(reading, items=tuple(map(_in_first_period, reading.items)))
    if isinstance(reading, Union):
        return replace(reading, parts=tuple(map(_in_first_period, reading.parts)))
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
