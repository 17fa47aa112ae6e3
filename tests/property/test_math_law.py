"""The law of mathematics: pairs that are equal or unequal by construction, at any size, are never misjudged.

A case is a value that is known exactly, and two ways to write it, or one way to write it and one to write another.
"""

from __future__ import annotations

from fractions import Fraction
from math import isqrt, prod

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mopd.core.types import Problem
from mopd.judging.verdicts import judge
from mopd.verifiers import pool

FUZZ = settings.default.max_examples >= 2000
CASES = 20_000 if FUZZ else 210
KINDS = 11

law = settings(max_examples=CASES // KINDS + 1, deadline=None, suppress_health_check=list(HealthCheck), database=None)

digits = st.integers(1, 10**6)
powers = st.integers(-46, 40)
"""A value of up to six digits times ten to such a power is between 1e-46 and 1e46."""
signs = st.sampled_from([1, -1])
small = st.integers(1, 60)


@pytest.fixture(autouse=True, scope="module")
def workers():
    yield pool.configure(2, 30.0)
    pool.configure(2, 10.0)


def check(reference, answer, is_equal):
    verdict = judge(Problem("p", (), reference, "math"), f"So $\\boxed{{{answer}}}$.")
    assert (verdict.kind == "correct") == is_equal, (reference, answer, verdict.kind, verdict.feedback)
    assert verdict.kind in ("correct", "wrong"), (reference, answer, verdict.kind, verdict.feedback)


def places(value, power):
    """`value` times 10^`power` as a decimal without an exponent."""
    digits = str(abs(value))
    if power >= 0:
        text = digits + "0" * power
    else:
        digits = digits.rjust(1 - power, "0")
        text = f"{digits[:power]}.{digits[power:]}"
    return ("-" if value < 0 else "") + text


def ways_of_number(value, power):
    """Ways to write `value` times 10^`power`."""
    yield places(value, power)
    yield rf"{value} \times 10^{{{power}}}"
    yield rf"{places(value, -2)} \cdot 10^{{{power + 2}}}"
    yield f"{value}e{power}"
    exact = value * Fraction(10) ** power
    yield rf"\frac{{{exact.numerator}}}{{{exact.denominator}}}"
    yield rf"\dfrac{{{3 * exact.numerator}}}{{{3 * exact.denominator}}}"
    yield rf"x = {exact.numerator}/{exact.denominator}"


def ways_of_root(factor, radicand, power):
    r"""Ways to write factor * sqrt(radicand) * 10^power, which is no fraction for radicands without squares."""
    yield rf"{factor}\sqrt{{{radicand}}} \cdot 10^{{{power}}}"
    yield rf"\frac{{{factor * radicand}}}{{\sqrt{{{radicand}}}}} \times 10^{{{power}}}"
    yield rf"{factor} \cdot {radicand}^{{1/2}} \cdot 10^{{{power}}}"
    yield f"{factor}*sqrt({radicand})*10^({power})"
    if factor > 0:
        yield rf"\sqrt{{{factor * factor * radicand} \cdot 10^{{{2 * power}}}}}"


def ways_of_complex(real, imaginary, power):
    """Ways to write (real + imaginary i) 10^power."""
    unit = rf"10^{{{power}}}"
    yield rf"({real} + {imaginary}i) \cdot {unit}".replace("+ -", "- ")
    yield rf"{imaginary}\mathrm{{i}} \cdot {unit} + {real} \cdot {unit}"
    yield rf"\frac{{{imaginary} - {real} i}}{{-i}} {unit}".replace("- -", "+ ")
    yield rf"{real}\times {unit} + {imaginary} \cdot i \cdot {unit}".replace("+ -", "- ")


def chosen(data, ways):
    return data.draw(st.sampled_from(list(ways)))


@law
@given(
    value=digits, sign=signs, power=powers, change=st.sampled_from(["none", "digit", "power", "sign"]), data=st.data()
)
def test_numbers(value, sign, power, change, data):
    first = chosen(data, ways_of_number(sign * value, power))
    other = {
        "none": (sign * value, power),
        "digit": (sign * value + 1, power),
        "power": (sign * value, power + 1),
        "sign": (-sign * value, power),
    }[change]
    second = chosen(data, ways_of_number(*other) if other[0] else ["0"])
    check(first, second, change == "none")


@law
@given(
    value=digits,
    power=powers,
    radicand=st.sampled_from([2, 3, 5, 6, 7, 10, 11, 13]),
    is_equal=st.booleans(),
    data=st.data(),
)
def test_roots_and_powers(value, power, radicand, is_equal, data):
    first = chosen(data, ways_of_root(value, radicand, power))
    changed = data.draw(
        st.sampled_from([(value + 1, radicand, power), (value, radicand + 4, power), (value, radicand, power - 1)])
    )
    check(first, chosen(data, ways_of_root(*((value, radicand, power) if is_equal else changed))), is_equal)


@law
@given(real=small, imaginary=small, signs=st.tuples(signs, signs), power=powers, is_equal=st.booleans(), data=st.data())
def test_complex_numbers(real, imaginary, signs, power, is_equal, data):
    value = (signs[0] * real, signs[1] * imaginary)
    others = [(value[0], -value[1]), (value[0] + 1, value[1])] + ([value[::-1]] if value[0] != value[1] else [])
    other = value if is_equal else data.draw(st.sampled_from(others))
    check(chosen(data, ways_of_complex(*value, power)), chosen(data, ways_of_complex(*other, power)), is_equal)


@law
@given(
    start=small,
    length=small,
    power=powers,
    kind=st.sampled_from(["()", "[]", "(]", "[)"]),
    is_equal=st.booleans(),
    data=st.data(),
)
def test_intervals(start, length, power, kind, is_equal, data):
    ends = [(start, power), (start + length, power)]
    first = kind[0] + ", ".join(places(*end) for end in ends) + kind[1]
    changes = [
        (ends[0], (start + length + 1, power)),
        ((start, power - 1), ends[1]),
        (ends[0], (start + length, power + 1)),
    ]
    other = ends if is_equal else data.draw(st.sampled_from(changes))
    low, high = (rf"{end[0]} \cdot 10^{{{end[1]}}}" for end in other)
    left, right = (r"\le" if bracket in "[]" else "<" for bracket in kind)
    second = data.draw(
        st.sampled_from(
            [
                rf"\left{kind[0]}{low}, {high}\right{kind[1]}",
                rf"{low} {left} x {right} {high}",
                rf"x \in {kind[0]}{low}, {high}{kind[1]}",
                rf"{kind[0]}{low}, {high}) \cup ({low}, {high}{kind[1]}",
            ]
        )
    )
    check(first, second, is_equal)


@law
@given(
    values=st.lists(digits, min_size=2, max_size=5, unique=True), power=powers, is_equal=st.booleans(), data=st.data()
)
def test_sets_and_tuples(values, power, is_equal, data):
    is_set = data.draw(st.booleans())
    other = list(values) if is_equal else [values[0] * 10_000_019, *values[1:]]
    if is_set:
        other = data.draw(st.permutations(other))
    elif not is_equal:
        other = values[::-1]
    ways = [
        ", ".join(chosen(data, list(ways_of_number(value, power))[:6]) for value in each) for each in (values, other)
    ]
    brackets = (r"\{%s\}", "%s") if is_set else ("(%s)", r"\left(%s\right)")
    check(brackets[0] % ways[0], brackets[1] % ways[1], is_equal)


def ways_of_fraction(top, bottom):
    """Ways to write a fraction, which is no decimal for most denominators."""
    exact = Fraction(top, bottom)
    sign, top, bottom = "-" if exact < 0 else "", abs(exact.numerator), exact.denominator
    yield rf"{sign}\frac{{{top}}}{{{bottom}}}"
    yield rf"{sign}\dfrac{{{7 * top}}}{{{7 * bottom}}}"
    yield f"{sign}{top}/{bottom}"
    if top > bottom:
        yield rf"{sign}{top // bottom}\frac{{{top % bottom}}}{{{bottom}}}" if top % bottom else f"{sign}{top // bottom}"
    if bottom % 2 and bottom % 5 and bottom > 1:
        period, rest = "", top % bottom
        first = rest
        while not period or rest != first:
            period += str(rest * 10 // bottom)
            rest = rest * 10 % bottom
        yield rf"{sign}{top // bottom}.\overline{{{period}}}"
        yield f"{sign}{top // bottom}.({period})"


@law
@given(top=st.integers(1, 10**9), sign=signs, bottom=st.integers(1, 999), is_equal=st.booleans(), data=st.data())
def test_fractions(top, sign, bottom, is_equal, data):
    others = [(sign * top + 1, bottom), (-sign * top, bottom), (sign * top, bottom + 1)]
    other = (sign * top, bottom) if is_equal else data.draw(st.sampled_from(others))
    check(chosen(data, ways_of_fraction(sign * top, bottom)), chosen(data, ways_of_fraction(*other)), is_equal)


@law
@given(base=st.integers(2, 40), exponent=st.integers(2, 300), factor=small, is_equal=st.booleans(), data=st.data())
def test_powers(base, exponent, factor, is_equal, data):
    """Powers with hundreds of digits are compared to the last one."""

    def ways(base, exponent, factor):
        yield rf"\frac{{{factor}}}{{{base}^{{{exponent}}}}}"
        yield rf"\frac{{{factor}}}{{{base**exponent}}}"
        yield rf"\frac{{{factor * base}}}{{{base}^{{{exponent + 1}}}}}"
        yield f"{factor}/{base**exponent}"

    changes = [(base, exponent + 1, factor), (base, exponent, factor + 1), (base + 1, exponent, factor)]
    other = (base, exponent, factor) if is_equal else data.draw(st.sampled_from(changes))
    check(chosen(data, ways(base, exponent, factor)), chosen(data, ways(*other)), is_equal)


@law
@given(value=digits, places=st.integers(0, 30), change=st.integers(0, 3), power=powers, data=st.data())
def test_decimals_of_roots(value, places, change, power, data):
    """A decimal of a root is one if it has six digits or more, all of them right."""
    radicand = data.draw(st.sampled_from([2, 3, 5, 6, 7, 10, 11, 13]))
    count = places + 1
    scaled = isqrt(radicand * value * value * 10 ** (2 * 60))
    drop = len(str(scaled)) - count
    rounded = (scaled + 10**drop // 2) // 10**drop
    right = count >= 6 and change == 0
    written = f"{rounded + change}e{power + drop - 60}" if count == 1 else ""
    mantissa = str(rounded + change)
    written = written or rf"{mantissa[0]}.{mantissa[1:]} \cdot 10^{{{power + drop - 60 + len(mantissa) - 1}}}"
    distance = abs((rounded + change) * 10**drop - scaled)
    is_trusted = count >= 12 and distance * 10**12 <= (rounded + change) * 10**drop
    check(rf"{value}\sqrt{{{radicand}}} \cdot 10^{{{power}}}", written, right or is_trusted)


@law
@given(terms=st.lists(st.integers(1, 400), min_size=2, max_size=4), kind=st.sampled_from("+-*"), data=st.data())
def test_the_question_is_no_answer(terms, kind, data):
    """A sum, a difference, a product of numbers is never the number that it makes, nor are terms that make one."""
    value = prod(terms) if kind == "*" else terms[0] + (1 if kind == "+" else -1) * sum(terms[1:])
    text = (r" \cdot " if kind == "*" else f" {kind} ").join(map(str, terms))
    check(str(value), data.draw(st.sampled_from([text, f"({text})", text.replace(" ", "")])), False)
    check(text, str(value), True)
    if kind != "*" and value:
        for constant in (r"\pi", r"\sqrt{7}", "i"):
            check(f"{value}{constant}", f" {kind} ".join(f"{term}{constant}" for term in terms), False)


LENGTHS = {"mm": -3, "cm": -2, "m": 0, "km": 3}
MASSES = {"mg": -3, "g": 0, "kg": 3}


@law
@given(
    value=digits, power=st.integers(-30, 30), change=st.sampled_from(["none", "unit", "kind", "digit"]), data=st.data()
)
def test_units(value, power, change, data):
    one, two = data.draw(st.sampled_from(sorted(LENGTHS))), data.draw(st.sampled_from(sorted(LENGTHS)))
    given = power + LENGTHS[one] - LENGTHS[two] + (change == "unit")
    unit = data.draw(st.sampled_from(sorted(MASSES))) if change == "kind" else two
    forms = [r"\text{ %s}", r"\,\mathrm{%s}", r"\mbox{ %s}"]
    written = [data.draw(st.sampled_from(forms)) % name for name in (one, unit)]
    number = value + 1 if change == "digit" else value
    first = chosen(data, list(ways_of_number(value, power))[:3]) + written[0]
    check(first, chosen(data, list(ways_of_number(number, given))[:3]) + written[1], change == "none")


@law
@given(a=small, b=small, c=small, power=powers, is_equal=st.booleans(), data=st.data())
def test_expressions_with_letters(a, b, c, power, is_equal, data):
    def ways(a, b, c):
        scale = rf"10^{{{power}}}"
        yield rf"{scale}(x + {a})({b}y - {c})"
        yield rf"{scale}({b}xy - {c}x + {a * b}y - {a * c})"
        yield rf"\frac{{({b}y - {c})(x^2 - {a * a})}}{{x - {a}}} \cdot {scale}"

    other = (a, b, c) if is_equal else data.draw(st.sampled_from([(a + 1, b, c), (a, b + 1, c), (a, b, c + 1)]))
    check(chosen(data, ways(a, b, c)), chosen(data, ways(*other)), is_equal)
