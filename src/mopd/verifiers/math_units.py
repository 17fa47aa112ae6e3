"""Units behind values: where they begin, and whether two of them measure the same thing.

A unit left out is forgiven, another one is not: 5 km is 5 and 5000 m, but not 5 m. What a text names that is no unit of
measure (5 apples, 3 ways) is a description and says nothing. `pint` knows the units; it is imported when two units are
first compared, since it takes a second: a worker does so before its first task.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

PERCENT = "percent"
DEGREE = "degree"

_WORDS = r"\\(?:text[a-z]*|mathrm|mathsf|mathit|mbox|rm|operatorname)\s*\{(?:[^{}]|\{[^{}]*\})*\}"
_EXPONENT = r"(?:\s*\^\s*(?:\{\s*-?\d+\s*\}|-?\d))"
_PIECE = rf"(?:{_WORDS}{_EXPONENT}?|\\(?:cdot|mu|Omega|degree|AA|times)(?![A-Za-z]){_EXPONENT}?|[/.*~]|\s)"
_RATIO = rf"\\[dt]?frac\s*\{{\s*(?:{_PIECE})+\}}\s*\{{\s*(?:{_PIECE})+\}}"
_CIRCLE = r"\^\s*(?:\\circ|\{\s*\\circ\s*\})(?![A-Za-z])"
_MARKED = re.compile(
    rf"(?P<value>.*?[\w}})\].])\s*(?P<unit>(?:{_CIRCLE}\s*)?(?:(?:{_PIECE})*(?:{_WORDS}{_EXPONENT}?|\\(?:degree|Omega))(?:{_PIECE})*"
    rf"|{_RATIO})|{_CIRCLE}(?:\s*[CF](?![A-Za-z]))?|\\?%)\s*",
    re.DOTALL,
)
_SYMBOL = (
    r"(?:[kKcdMGmnµTp]?(?:m|g|s|L|l|J|W|N|Pa|Hz|V|A|mol|eV|cal|Wh|Ω|F|C|T|Wb|H|B)|h|K|hr|hrs|min|sec|ft|in|yd|mi|lb|"
    r"lbs|oz|gal|mph|kph|kmh|atm|m?bar|psi|rad|ha|pt|qt|AU|ly|u|amu)"
)
_PREFIXED = re.compile(r"[kMGTPcdmnµup]?(?:ohms?|Sv|Bq|Gy|lm|lx|bits?|bytes?|bps|W|Wh|eV|cal|Pa|Hz|kat|M|S)")
_TERM = rf"(?:{_SYMBOL}(?![A-Za-z]){_EXPONENT}?|[A-Za-z]{{3,}}(?![A-Za-z]){_EXPONENT}?)"
_PLAIN = re.compile(
    rf"(?P<value>-?(?:[\d.,]*\d|\\[dt]?frac\{{\d+\}}\{{\d+\}}|.*\d\}}?|.*\\pi))(?P<gap>\s*)"
    rf"(?P<unit>{_TERM}(?:\s*(?:/|per|\\cdot)?\s*{_TERM})*)\s*",
    re.DOTALL,
)
_PIECES = re.compile(rf"(\d+(?:\.\d+)?)\s*(?:({_CIRCLE}|'{{1,2}})|((?:\\[,;: ]|~)*{_WORDS}|[A-Za-z]+))")
_COMPOUND = re.compile(rf"(?:{_PIECES.pattern}\s*(?:\\[,;: ]|~)*){{2,}}".replace("(", "(?:").replace("(?:?", "(?"))
_MINUTES = re.compile(r"(?P<value>-?\d+(?:\.\d+)?)\s*(?P<unit>'{1,2})")
_CURRENCY = re.compile(
    r"(?P<sign>-?)\s*(?:\\?\$|(?P<name>\\text\{ (?:euro|pound_sterling|yen|rupee)\}|\\pounds|\\euro|\\yen)(?![A-Za-z]))"
    r"\s*(?P<value>[\d.,].*)|(?P<amount>.*\d)\s*\\?\$",
    re.DOTALL,
)
_ANGLE = r"[A-Za-z]*(?:sin|cos|tan|cot|sec|csc)h?(?![A-Za-z])"
_NAMES = {"sq": "square", "cu": "cubic", "degrees": DEGREE, "pct": "percent", "percentage": "percent"}
_CIRCLES = {"": DEGREE, "c": "degC", "f": "degF", "celsius": "degC", "fahrenheit": "degF", "k": "kelvin"}
_PRIMES = {"'": "arcminute", "''": "arcsecond"}
_MONEY = ("dollar", "cent", "euro", "pound_sterling", "rupee", "yuan", "yen", "won", "peso", "rs", "usd", "eur")
_DESCRIPTIONS = (
    *("unit", "point", "dot", "pixel", "hand", "turn", "rod", "pole", "chain", "link", "cable", "span", "mark"),
    *("face", "count", "particle", "cycle", "dozen", "pair"),
)
_NO_UNIT = re.compile(
    r"(?<![a-z] )\b(?:and|or)\b|\b(?:or|and) (?:more|less|fewer|greater|higher|lower|above|below)\b"
    r"|\b(?:than|least|most|if|when|for|where|only|mod|is|are|the|of|to|from|between|base)\b"
)


class Quantity(NamedTuple):
    """The text of a value and, as `pint` spells it, of the unit behind it; "" without one."""

    value: str
    unit: str


def quantity(text: str, with_lone_letters: bool = False) -> Quantity:
    """The value and the unit of a text. A single letter is a unit only with a gap before it, and where asked for."""
    money = _CURRENCY.fullmatch(text)
    if money:
        name = re.sub(r"\\text|[\\{} ]", "", money["name"] or "dollar").replace("pounds", "pound_sterling")
        return Quantity(f"{money['sign'] or ''}{money['value'] or money['amount']}".strip(), name)
    minutes = _MINUTES.fullmatch(text)
    if minutes:
        return Quantity(minutes["value"], _spelled(minutes["unit"]))
    marked = _MARKED.fullmatch(text)
    is_of_angle = marked and re.match(_CIRCLE, marked["unit"]) and re.search(rf"\\{_ANGLE}|{_CIRCLE}", marked["value"])
    if marked and not is_of_angle and not _NO_UNIT.search(marked["unit"]):
        return Quantity(marked["value"].strip(), _spelled(marked["unit"]))
    found = _PLAIN.fullmatch(text)
    if found and not re.search(r"[A-Za-z]", re.sub(r"\\[A-Za-z]+", "", found["value"])):
        is_lone = len(re.sub(r"[^A-Za-z]", "", found["unit"])) == 1
        is_word = not re.fullmatch(_SYMBOL + _EXPONENT + "?", found["unit"])
        if not (is_lone and not with_lone_letters) and (found["gap"] or not (is_lone or is_word)):
            return Quantity(found["value"].strip(), _spelled(found["unit"]))
    return Quantity(text, "")


def compound(text: str) -> Quantity | None:
    """A value in several units, from the largest to the smallest, in the smallest: 5 ft 6 in is 66 in; else None."""
    pieces = _PIECES.findall(text) if _COMPOUND.fullmatch(text) else []
    units = [_spelled(circle or unit) for _, circle, unit in pieces]
    measures = [measure(unit) for unit in units]
    total, last = Fraction(0), measures[-1] if measures else None
    for (digits, *_), found in zip(pieces, measures, strict=True):
        if found is None or last is None or found.dimension != last.dimension or found.offset:
            return None
        total += Fraction(digits) * _ratio_of(found, last)
    factors = [found.factor for found in measures if found is not None]
    if len(pieces) < 2 or factors != sorted(factors, reverse=True):
        return None
    return Quantity(f"\\frac{{{total.numerator}}}{{{total.denominator}}}", units[-1])


def _ratio_of(unit: Measure, other: Measure) -> Fraction:
    """How many of the other unit one unit is; angles are measured by a rounded pi, which leaves a noise."""
    return (unit.factor / other.factor).limit_denominator(10**9)


def _spelled(unit: str) -> str:
    """A unit as pint spells it."""
    if unit in _PRIMES:
        return _PRIMES[unit]
    circle = re.search(_CIRCLE, unit)
    unit = re.sub(_CIRCLE, " ", unit)
    unit = re.sub(r"\\[dt]?frac\s*\{(.*)\}\s*\{(.*)\}", r"(\1)/(\2)", unit)
    unit = re.sub(r"\\mu\s*(?=\\)", "micro", unit.replace(r"\mu", "micro")).replace(r"\Omega", "ohm")
    unit = re.sub(r"\\(?:text[a-z]*|mathrm|mathsf|mathit|mathbf|mbox|rm|operatorname)\s*", "", unit)
    unit = re.sub(r"\\(?:cdot|times)\s*", "*", unit.replace(r"\degree", " degree "))
    unit = re.sub(r"\^\s*\{?\s*(-?\d+)\s*\}?", r"**\1", unit.replace("%", "percent").replace("~", " "))
    unit = re.sub(r"micro\s*\{", "{micro", unit).replace("{", " ").replace("}", " ").replace("\\", "")
    unit = re.sub(r"(?<=[A-Za-z])\.(?=[A-Za-z])", "*", unit).replace(".", " ")
    unit = re.sub(r"\s*(\*\*|/|\*)\s*", r"\1", " ".join(unit.replace("micro ", "micro").split()))
    unit = re.sub(r"\bper cent\b", "percent", re.sub(r"\bmetric tons?\b", "tonne", unit))
    unit = " ".join(_NAMES.get(word.lower(), word) for word in unit.split(" "))
    return _CIRCLES.get(unit.lower(), unit) if circle else unit


# --- comparing ------------------------------------------------------------------------------------------------------


class Measure(NamedTuple):
    """What a unit measures, and how a value in it becomes one in base units: times `factor`, plus `offset`."""

    dimension: str
    factor: Fraction
    offset: Fraction


@lru_cache(maxsize=1)
def _registry() -> Any:
    import pint

    return pint.UnitRegistry(non_int_type=Fraction)


@lru_cache(maxsize=256)
def measure(unit: str) -> Measure | None:
    """What a unit measures; None for a description."""
    if unit.rstrip("s").lower() in _MONEY:
        name = unit.rstrip("s").lower()
        return Measure(
            "dollar" if name in ("cent", "usd") else name, Fraction(1, 100 if name == "cent" else 1), Fraction(0)
        )
    if re.search(r"[^\w\s*/()^-]", unit) or len(unit) > 40:
        return None
    names = re.findall(r"[A-Za-z_]+", unit)
    registry = _registry()
    try:
        if not names or any(_is_odd(name, registry) for name in names):
            return None
        one, none = (
            registry.Quantity(Fraction(number), registry.parse_units(unit)).to_root_units() for number in (1, 0)
        )
        dimension = str(sorted((name, str(power)) for name, power in one.unit_items()))
        return Measure(dimension, Fraction(one.magnitude) - Fraction(none.magnitude), Fraction(none.magnitude))
    except Exception:  # whatever pint makes of words that are no units
        return None


def _is_odd(name: str, registry: Any) -> bool:
    """Whether pint takes a word for a unit that nobody means by it: cats are no centi-atmospheres."""
    if name in ("square", "cubic", "per", "sq", "cu"):
        return False
    readings = registry.parse_unit_name(name)
    if not readings:
        return True
    if name.lower().removesuffix("s") in _DESCRIPTIONS:
        return True
    prefix = readings[0][0]
    is_symbol = len(name) < 3 or bool(re.fullmatch(_SYMBOL, name)) or bool(_PREFIXED.fullmatch(name))
    return bool(prefix) and not is_symbol and not name.lower().startswith(prefix)
