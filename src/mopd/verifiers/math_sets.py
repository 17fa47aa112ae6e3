"""Sets of real numbers as segments of the line, so that the same set is the same however it is written.

An interval, a union, a set of points and a solved inequality are all segments. Imported in worker processes only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import sympy

from mopd.verifiers.math_answers import (
    Bracketed,
    Common,
    Inequality,
    Listed,
    Named,
    Reading,
    Union,
    Value,
    Words,
)
from mopd.verifiers.math_expressions import FUNCTION, Undecided, expression
from mopd.verifiers.math_numbers import number
from mopd.verifiers.math_reading import name_of
from mopd.verifiers.math_values import Undefined, digits_of

_INFINITE = {r"\infty": 1, r"+\infty": 1, r"-\infty": -1}
_ALL = (r"\mathbb{R}", r"\mathbf{R}", r"\R", r"\text{all real numbers}")
_NONE = (r"\emptyset", r"\varnothing")
_ALL_IN_WORDS = ("all real numbers", "all reals", "all real x", "any real number", "real numbers", "every real number")
_NONE_IN_WORDS = ("no solution", "no solutions", "no real solution", "no real solutions", "empty set")
TURNED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "!=": "!="}
"""Relations as they stand when both sides change places."""


class End(NamedTuple):
    """An end of a segment: `size` is -1, 0 or 1 for minus infinity, a number, infinity; `order` is the number."""

    size: int
    order: Fraction
    latex: str


class Segment(NamedTuple):
    """All numbers between two ends, with or without them."""

    start: End
    has_start: bool
    stop: End
    has_stop: bool


_LOW, _HIGH = End(-1, Fraction(0), r"-\infty"), End(1, Fraction(0), r"\infty")
_LINE = (Segment(_LOW, False, _HIGH, False),)


def is_solved(reading: Reading) -> bool:
    """Whether a reading has no inequality that is still to be solved."""
    if isinstance(reading, Listed):
        return all(map(is_solved, reading.items))
    if isinstance(reading, (Union, Common)):
        return all(map(is_solved, reading.parts))
    return not isinstance(reading, Inequality) or solved(reading) is not None


def is_set(reading: Reading) -> bool:
    """Whether a reading can only be a set of numbers."""
    if isinstance(reading, Value):
        return reading.latex in (*_ALL, *_NONE)
    if isinstance(reading, Words):
        return reading.text in (*_ALL_IN_WORDS, *_NONE_IN_WORDS)
    if isinstance(reading, Listed):
        return any(isinstance(item, (Inequality, Union)) for item in reading.items) and _have_one_name(reading)
    return isinstance(reading, (Union, Common, Inequality))


def _have_one_name(listed: Listed) -> bool:
    """Whether the items of a list are about one unknown, and not about one each."""
    names = {item.name.lower() for item in listed.items if isinstance(item, Named)}
    for item in listed.items:
        known = solved(item) if isinstance(item, Inequality) else None
        names |= {known[0]} if known is not None else set()
    return len(names) < 2


def are_same_set(reference: Reading, answer: Reading, are_same: Callable[[Reading, Reading], bool]) -> bool:
    """Whether two readings are the same set of numbers; False where one is no set of numbers.

    Raises Undecided where the numbers of the reference cannot be found; an answer of which that holds is another set.
    """
    try:
        segments = _merged(_segments(reference)), _merged(_segments_of_answer(answer))
    except Undefined:
        return False
    return len(segments[0]) == len(segments[1]) and all(
        one.has_start == other.has_start
        and one.has_stop == other.has_stop
        and _are_same_end(one.start, other.start, are_same)
        and _are_same_end(one.stop, other.stop, are_same)
        for one, other in zip(*segments, strict=True)
    )


def _segments_of_answer(answer: Reading) -> Sequence[Segment]:
    try:
        return _segments(answer)
    except Undecided as error:
        raise Undefined from error


def _are_same_end(first: End, second: End, are_same: Callable[[Reading, Reading], bool]) -> bool:
    return first.size == second.size and (first.size != 0 or are_same(Value(first.latex), Value(second.latex)))


def solved(inequality: Inequality) -> tuple[str, tuple[Segment, ...]] | None:
    """The name and the numbers of an inequality that says what values the name has; None for any other."""
    places = [
        place
        for place, side in enumerate(inequality.sides)
        if name_of(side.removeprefix("-")) and not FUNCTION.search(side) and r"\sqrt" not in side
    ]
    if len(places) != 1 or len(inequality.sides) > 3 or (len(inequality.sides) == 3 and places != [1]):
        return None
    side = inequality.sides[places[0]]
    is_turned = side.startswith("-")
    found: Sequence[Segment] = _LINE
    for place, relation in enumerate(inequality.relations):
        is_left = place == places[0]
        bound = inequality.sides[place + 1 if is_left else place]
        bound = _negative(bound) if is_turned else bound
        try:
            part = _bounded(
                relation if is_left != is_turned else TURNED[relation],
                bound,
                is_absolute=side.startswith(("|", r"\l")),
            )
        except Undefined:
            return None
        found = _common(found, part)
    return name_of(side.removeprefix("-")).lower(), tuple(found)


def _negative(bound: str) -> str:
    return f"-{bound}" if number(bound) else f"-({bound})"


def _bounded(relation: str, bound: str, is_absolute: bool) -> Sequence[Segment]:
    end = _end(Value(bound))
    if is_absolute:
        positive = _bounded(relation, bound, is_absolute=False)
        mirrored = _bounded(TURNED[relation], _negative(bound), is_absolute=False)
        return _common(positive, mirrored) if relation in ("<", "<=") else _merged((*positive, *mirrored))
    below = Segment(_LOW, False, end, relation == "<=")
    above = Segment(end, relation == ">=", _HIGH, False)
    return {"<": (below,), "<=": (below,), ">": (above,), ">=": (above,), "!=": (below, above)}[relation]


# --- segments -------------------------------------------------------------------------------------------------------


def _segments(reading: Reading) -> Sequence[Segment]:
    """The segments of a set. Raises Undefined for what is none."""
    if isinstance(reading, (Value, Words)) and is_set(reading):
        name = reading.latex if isinstance(reading, Value) else reading.text
        return _LINE if name in (*_ALL, *_ALL_IN_WORDS) else ()
    if isinstance(reading, Named):
        is_number = isinstance(reading.value, Value) and not is_set(reading.value)
        return _segments(Listed((reading.value,)) if is_number else reading.value)
    if isinstance(reading, Bracketed) and len(reading.items) == 2:
        start, stop = _end(reading.items[0]), _end(reading.items[1])
        return (Segment(start, reading.opening == "[", stop, reading.closing == "]"),)
    if isinstance(reading, (Union, Common)):
        return _of_parts(reading)
    if isinstance(reading, Inequality):
        known = solved(reading)
        return known[1] if known is not None else _solution(reading)
    if isinstance(reading, Listed):
        return _of_several(reading)
    raise Undefined


def _of_parts(reading: Union | Common) -> Sequence[Segment]:
    if isinstance(reading, Common):
        return _in_all([_segments(part) for part in reading.parts])
    found = [segment for part in reading.parts for segment in _segments(part)]
    for part in reading.but:
        found = list(_common(found, _others(_segments(part))))
    return found


def _in_all(parts: Sequence[Sequence[Segment]]) -> Sequence[Segment]:
    found = parts[0]
    for part in parts[1:]:
        found = _common(found, part)
    return found


def _solution(inequality: Inequality) -> Sequence[Segment]:
    """The numbers that satisfy an inequality with one unknown. Raises Undecided where they cannot be found."""
    sides = [expression(side) for side in inequality.sides]
    letters = {letter for side in sides for letter in side.free_symbols}
    if len(letters) != 1:
        raise Undecided
    unknown = sympy.Symbol("x", real=True)
    sides = [side.xreplace(dict.fromkeys(letters, unknown)).doit() for side in sides]
    try:
        relations = map(sympy.Rel, sides, sides[1:], inequality.relations)
        return _of_solutions(sympy.And(*relations).as_set())
    except (NotImplementedError, TypeError, ValueError, AttributeError) as error:
        raise Undecided from error


def _of_solutions(found: Any) -> Sequence[Segment]:
    if isinstance(found, sympy.Union):
        return [segment for part in found.args for segment in _of_solutions(part)]
    if isinstance(found, sympy.FiniteSet):
        return [Segment(_bound(end), True, _bound(end), True) for end in found.args]
    if isinstance(found, sympy.Interval):
        return (Segment(_bound(found.start), not found.left_open, _bound(found.end), not found.right_open),)
    if found is sympy.S.Reals or found is sympy.S.EmptySet:
        return _LINE if found is sympy.S.Reals else ()
    raise Undecided


def _bound(end: Any) -> End:
    return _end(Value(sympy.latex(end)))


def _of_several(listed: Listed) -> Sequence[Segment]:
    """Conditions hold all together, unless the text says or, or no number satisfies all; numbers are points."""
    if not all(isinstance(item, (Inequality, Union, Common, Bracketed, Named)) for item in listed.items):
        return [Segment(end, True, end, True) for end in map(_end, listed.items)]
    parts = [_segments(item) for item in listed.items]
    if all(isinstance(item, (Inequality, Named)) for item in listed.items) and not listed.is_or:
        common = _in_all(parts)
        if common:
            return common
    return [segment for part in parts for segment in part]


def _end(reading: Reading) -> End:
    if not isinstance(reading, Value) or reading.unit:
        raise Undefined
    latex = reading.latex.replace(" ", "")
    if latex in _INFINITE:
        return _HIGH if _INFINITE[latex] > 0 else _LOW
    written = number(reading.latex)
    order: Any = written.value if written else digits_of(expression(reading.latex))
    if order is None:
        raise Undefined
    return End(0, order, reading.latex)


def _key(end: End) -> tuple[int, Fraction]:
    return end.size, end.order


def _merged(segments: Sequence[Segment]) -> list[Segment]:
    """The same set in segments that do not touch, in order."""
    found: list[Segment] = []
    for segment in sorted(segments, key=lambda each: (_key(each.start), not each.has_start)):
        if _is_empty(segment):
            continue
        last = found[-1] if found else None
        touches = last is not None and (
            _key(last.stop) > _key(segment.start)
            or (_key(last.stop) == _key(segment.start) and (last.has_stop or segment.has_start))
        )
        if last is None or not touches:
            found.append(segment)
        elif (_key(segment.stop), segment.has_stop) > (_key(last.stop), last.has_stop):
            found[-1] = last._replace(stop=segment.stop, has_stop=segment.has_stop)
    return found


def _is_empty(segment: Segment) -> bool:
    start, stop = _key(segment.start), _key(segment.stop)
    return start > stop or (start == stop and not (segment.has_start and segment.has_stop))


def _common(first: Sequence[Segment], second: Sequence[Segment]) -> list[Segment]:
    """What is in both sets."""
    found = []
    for one in first:
        for other in second:
            start, has_start = max(((_key(s.start), not s.has_start), s) for s in (one, other))[1][:2]
            stop, has_stop = min(((_key(s.stop), s.has_stop), s) for s in (one, other))[1][2:]
            found.append(Segment(start, has_start, stop, has_stop))
    return _merged(found)


def _others(segments: Sequence[Segment]) -> list[Segment]:
    """All numbers that are not in a set."""
    found, start, has_start = [], _LOW, False
    for segment in _merged(segments):
        found.append(Segment(start, has_start, segment.start, not segment.has_start and segment.start.size == 0))
        start, has_start = segment.stop, not segment.has_stop and segment.stop.size == 0
    return _merged([*found, Segment(start, has_start, _HIGH, False)])
