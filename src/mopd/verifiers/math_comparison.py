"""When two readings are the same answer. Imported in worker processes only."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import sympy

from mopd.verifiers import math_values as values
from mopd.verifiers.math_answers import (
    Bracketed,
    Chain,
    Common,
    Congruent,
    Either,
    Family,
    Inequality,
    Listed,
    Named,
    Ratio,
    Reading,
    Union,
    Value,
    Words,
)
from mopd.verifiers.math_expressions import Undecided, Unreadable, expression
from mopd.verifiers.math_integers import are_congruent, are_same_families
from mopd.verifiers.math_numbers import Based, Clock, number
from mopd.verifiers.math_quantities import are_same_quantities
from mopd.verifiers.math_sets import TURNED, are_same_set, is_set, is_solved, solved

_CASED = "="
"""Begins a name whose case counts."""


def are_same(reference: Reading, answer: Reading) -> bool:
    """Whether an answer is what the reference is."""
    if isinstance(reference, Either):
        return any(are_same(each, answer) for each in reference.readings)
    if isinstance(answer, Either):
        return any(are_same(reference, each) for each in answer.readings)
    if isinstance(reference, Family) or isinstance(answer, Family):
        return are_same_families(reference, answer, are_same)
    if isinstance(reference, Congruent) or isinstance(answer, Congruent):
        return are_congruent(reference, answer, are_same)
    if isinstance(reference, (Named, Chain)) or isinstance(answer, (Named, Chain)):
        return _are_same_equations(reference, answer)
    if is_set(reference) or is_set(answer):
        return _are_same_sets(reference, answer)
    if _is_matrix(reference) or _is_matrix(answer):
        reference, answer = _as_matrix(reference), _as_matrix(answer)
    if isinstance(reference, Listed) or isinstance(answer, Listed):
        return _are_same_lists(reference, answer)
    if isinstance(reference, Bracketed) and isinstance(answer, Bracketed):
        is_interval = len(reference.items) == 2
        brackets = [(each.opening, each.closing) for each in (reference, answer)]
        return _are_same_in_order(reference.items, answer.items) and (not is_interval or brackets[0] == brackets[1])
    return _are_same_single(reference, answer)


def _is_matrix(reading: Reading) -> bool:
    return isinstance(reading, Value) and r"\begin" in reading.latex


def _as_matrix(reading: Reading) -> Reading:
    """A tuple as the column that it is beside a matrix, a tuple of tuples as its rows."""
    if not isinstance(reading, Bracketed):
        return reading
    lines = [item.items if isinstance(item, Bracketed) else (item,) for item in reading.items]
    if not all(isinstance(item, Value) for line in lines for item in line):
        return reading
    rows = r" \\ ".join(" & ".join(item.latex for item in line if isinstance(item, Value)) for line in lines)
    return Value(rf"\begin{{pmatrix}}{rows}\end{{pmatrix}}")


def _are_same_single(reference: Reading, answer: Reading) -> bool:
    if isinstance(reference, Ratio) or isinstance(answer, Ratio):
        return _are_same_ratios(reference, answer)
    if isinstance(reference, Clock) or isinstance(answer, Clock):
        return _are_same_times(reference, answer)
    if isinstance(reference, Words) and isinstance(answer, Words):
        return reference.text == answer.text
    if isinstance(reference, Based) and isinstance(answer, Based):
        return reference == answer
    if isinstance(reference, Based) and isinstance(answer, Value):
        return reference.digits == answer.latex.lstrip("0")
    if isinstance(answer, Based) and isinstance(reference, Value):
        return answer.digits == reference.latex.lstrip("0")
    found = _as_value(reference), _as_value(answer)
    return found[0] is not None and found[1] is not None and are_same_quantities(found[0], found[1])


def _as_value(reading: Reading) -> Value | None:
    """A value; words that may be a product are one."""
    if isinstance(reading, Words) and not reading.is_marked and " " not in reading.text:
        return Value(" ".join(reading.text))
    return reading if isinstance(reading, Value) else None


def _are_same_times(first: Reading, second: Reading) -> bool:
    """Times are the same by the clock; 12:16 is the ratio 3:4 where the other is no time but is written as a ratio."""
    if isinstance(first, Clock) and isinstance(second, Clock):
        return first.is_same(second)
    for told, bare in ((first, second), (second, first)):  # 3 p.m. without what stands behind the hour
        if isinstance(told, Clock) and told.half and told.seconds % 3600 == 0 and isinstance(bare, Value):
            return bare.latex == str(told.seconds // 3600) and not bare.unit
    ratios = []
    for each in (first, second):
        if isinstance(each, Clock) and not each.half and each.seconds % 60 == 0:
            ratios.append((each.seconds // 3600, each.seconds // 60 % 60))
        elif isinstance(each, Value) and (found := re.fullmatch(r"(\d+)\s*:\s*(\d+)", each.latex)):
            ratios.append((int(found[1]), int(found[2])))
    return len(ratios) == 2 and ratios[0][0] * ratios[1][1] == ratios[1][0] * ratios[0][1]


def _are_same_ratios(first: Reading, second: Reading) -> bool:
    ours, theirs = _terms(first), _terms(second)
    if ours is None or theirs is None or len(ours) != len(theirs):
        return False
    return all(values.are_equal(one * theirs[0], other * ours[0]) for one, other in zip(ours, theirs, strict=True))


def _terms(reading: Reading) -> list[Any] | None:
    """The terms of a ratio; 10:20:30 may be one."""
    if isinstance(reading, Clock) and not reading.half:
        return [
            sympy.Integer(part) for part in (reading.seconds // 3600, reading.seconds // 60 % 60, reading.seconds % 60)
        ]
    if not isinstance(reading, Ratio) or not all(isinstance(item, Value) for item in reading.items):
        return None
    return [expression(item.latex) for item in reading.items if isinstance(item, Value)]


# --- several values -------------------------------------------------------------------------------------------------


def _are_same_in_order(first: Sequence[Reading], second: Sequence[Reading]) -> bool:
    return len(first) == len(second) and all(map(are_same, first, second))


def _are_same_lists(reference: Reading, answer: Reading) -> bool:
    """Lists without an order; a tuple has its order, and values with different names have that of the names."""
    first, second = _items(reference), _items(answer)
    if _differ_in_case(first) or _differ_in_case(second):
        first, second = _with_case(first), _with_case(second)
    if isinstance(reference, Bracketed) or (isinstance(answer, Bracketed) and _have_own_names(first)):
        orders = (_ordered(reference), _ordered(answer))
        if orders[0] is not None and orders[1] is not None:
            return _are_same_in_order(orders[0], orders[1])
    if _have_own_names(first) != _have_own_names(second) and len(first) == len(second):
        named, others = (first, second) if _have_own_names(first) else (second, first)
        if not any(isinstance(item, Named) for item in others):
            orders_of_named = (named, sorted(named, key=_sort_key))
            return any(
                _are_same_in_order(*((order, others) if named is first else (others, order)))
                for order in orders_of_named
            )
    return _are_same_unordered(first, second)


def _are_same_unordered(first: Sequence[Reading], second: Sequence[Reading]) -> bool:
    """Whether each item of either list is one of the other list."""
    return all(any(are_same(item, other) for other in second) for item in first) and all(
        any(are_same(other, item) for other in first) for item in second
    )


def _items(reading: Reading) -> Sequence[Reading]:
    return reading.items if isinstance(reading, (Listed, Bracketed)) else (reading,)


def _ordered(reading: Reading) -> Sequence[Reading] | None:
    """The items of a reading that is compared with a tuple, in order."""
    if isinstance(reading, Bracketed):
        return reading.items
    items = _items(reading)
    return sorted(items, key=_sort_key) if _have_own_names(items) else items


def _have_own_names(items: Sequence[Reading]) -> bool:
    """Whether all items have names, which differ in more than an index: x_1 and x_2 are two values of one x."""
    names = [re.sub(r"_.*", "", _name(item)) for item in items]
    return len(items) > 1 and all(names) and len(set(names)) == len(names)


def _name(item: Reading) -> str:
    return item.name if isinstance(item, Named) else ""


def _sort_key(item: Reading) -> tuple[str, str]:
    return _name(item).lower(), _name(item)


def _same_name(first: Named, second: Named) -> bool:
    """Whether two names are one. Case does not count, but where a list has a name in both cases."""
    return first.name == second.name or (first.name[0] != _CASED and first.name.lower() == second.name.lower())


def _differ_in_case(items: Sequence[Reading]) -> bool:
    names = {_name(item) for item in items}
    return len({name.lower() for name in names}) < len(names)


def _with_case(items: Sequence[Reading]) -> Sequence[Reading]:
    return [replace(item, name=_CASED + item.name) if isinstance(item, Named) else item for item in items]


def _are_same_sets(reference: Reading, answer: Reading) -> bool:
    if isinstance(reference, Inequality) and isinstance(answer, Inequality):
        return _are_same_inequalities(reference, answer)
    return is_solved(answer) and are_same_set(reference, answer, are_same)


def _are_same_inequalities(first: Inequality, second: Inequality) -> bool:
    known = solved(first), solved(second)
    if known[0] is not None and known[1] is not None:
        return known[0][0] == known[1][0] and are_same_set(first, second, are_same)
    if known[0] is not None:
        return False
    if known[1] is not None:
        return _is_solution(first, second)
    if len(first.sides) != len(second.sides):
        return False
    back = Inequality(second.sides[::-1], tuple(TURNED[sign] for sign in second.relations[::-1]))
    for other in (second, back):
        if first.relations == other.relations:
            pairs = zip(first.sides, other.sides, strict=True)
            if all(are_same_quantities(Value(one), Value(two)) for one, two in pairs):
                return True
            if len(first.sides) == 2:
                quotient = values.ratio(_difference(*first.sides), _difference(*other.sides))
                if quotient is not None and (quotient > 0 or first.relations == ("!=",)):
                    return True
    return False


def _is_solution(reference: Inequality, answer: Inequality) -> bool:
    """Whether a solved inequality is the solution of a reference; False where nobody can tell."""
    try:
        return are_same_set(reference, answer, are_same)
    except Undecided:
        return False


# --- equations ------------------------------------------------------------------------------------------------------


def _are_same_equations(reference: Reading, answer: Reading) -> bool:
    if isinstance(reference, Named) and isinstance(answer, Named) and not _are_solved_otherwise(reference, answer):
        return _same_name(reference, answer) and are_same(reference.value, answer.value)
    if isinstance(answer, Chain) and isinstance(reference, Named) and _is_numeric([reference.value]):
        return _is_true(answer) and are_same(reference.value, answer.sides[-1])
    sides = _two_sides(reference), _two_sides(answer)
    if sides[0] is not None and sides[1] is not None:
        return values.ratio(_difference(*sides[0]), _difference(*sides[1])) is not None
    if isinstance(answer, Chain):
        return _is_true(answer) and are_same(reference, answer.sides[-1])
    if isinstance(reference, Chain):
        return _is_true(reference) and are_same(reference.sides[-1], answer)
    if isinstance(reference, Named) and not isinstance(answer, Named):
        if isinstance(answer, Listed) and not isinstance(reference.value, Listed) and not is_set(answer):
            return _are_same_lists(reference, answer)
        return are_same(reference.value, answer)
    return isinstance(answer, Named) and are_same(reference, answer.value)


def _are_solved_otherwise(first: Named, second: Named) -> bool:
    """Whether two equations with unknowns may be one, solved for different names: y = 2x and x = y/2."""
    return not _same_name(first, second) and not _is_numeric([first.value]) and not _is_numeric([second.value])


def _two_sides(reading: Reading) -> tuple[str, str] | None:
    """The sides of an equation of values, where at least one has an unknown."""
    if isinstance(reading, Named) and isinstance(reading.value, Value):
        return reading.name, reading.value.latex
    if isinstance(reading, Chain) and len(reading.sides) == 2 and not _is_numeric(reading.sides):
        sides = [_as_value(side) for side in reading.sides]
        if sides[0] is not None and sides[1] is not None:
            return sides[0].latex, sides[1].latex
    return None


def _difference(first: str, second: str) -> Any:
    return expression(first) - expression(second)


def _is_numeric(readings: Sequence[Reading]) -> bool:
    found = [_as_value(reading) for reading in readings]
    return all(each is not None and not expression(each.latex).free_symbols for each in found)


def _is_true(chain: Chain) -> bool:
    """Whether an equation is one of numbers, all of which are equal."""
    if not _is_numeric(chain.sides):
        return False
    sides = [side for side in chain.sides if isinstance(side, Value)]
    return all(values.are_equal(expression(sides[0].latex), expression(side.latex)) for side in sides[1:])


# --- what can be read -----------------------------------------------------------------------------------------------


def check_readable(reading: Reading, must_have_value: bool) -> None:
    """Raises Unreadable where a value in a reading is no expression, or must have a value and divides by zero."""
    for latex in _values_in(reading):
        if number(latex) is None and latex.replace(" ", "") not in (r"\infty", r"+\infty", r"-\infty"):
            found = expression(latex)
            if must_have_value and found.has(sympy.nan, sympy.zoo):
                raise Unreadable


def _values_in(reading: Reading) -> Iterator[str]:
    if isinstance(reading, Value):
        yield reading.latex
    elif isinstance(reading, Inequality):
        yield from reading.sides
    elif isinstance(reading, Named):
        yield from _values_in(reading.value)
    elif isinstance(reading, Family):
        yield from _values_in(reading.written)
    elif isinstance(reading, Congruent):
        yield from (reading.residue.latex, reading.modulus.latex)
    elif isinstance(reading, Either):
        yield from _values_in(reading.readings[0])
    elif isinstance(reading, (Listed, Bracketed, Union, Common, Ratio, Chain)):
        parts = {
            Listed: "items",
            Bracketed: "items",
            Union: "parts",
            Common: "parts",
            Ratio: "items",
            Chain: "sides",
        }
        for part in getattr(reading, parts[type(reading)]):
            yield from _values_in(part)
