"""Numbers as they are written: exact ones, and decimals, which may be rounded; numbers to a base; times of the day.

May import: nothing. What is read here needs no parser.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fractions import Fraction

ROUNDED_DIGITS = 6
"""A decimal with at least so many significant digits stands for every number that rounds to it."""

TRUSTED_DIGITS = 12
"""Digits of a decimal behind these are not compared: computers print such as 0.30000000000000004 for 0.3."""

MAX_DIGITS = 3000
MAX_POWER = 5000

_INTEGER = r"\d+|\d{1,3}(?:,\d{3})+(?=\.\d)"
_LITERAL = re.compile(
    r"(?P<sign>[-+]?)\s*(?P<negative>-)?\s*"
    rf"(?:(?P<number>(?:{_INTEGER})?(?:\.\d*)?)"
    r"|\\[dtc]?frac\s*\{\s*(?P<top>-?\d+)\s*\}\s*\{\s*(?P<bottom>-?\d+)\s*\}"
    r"|(?P<over>\d+)\s*/\s*(?P<under>\d+))"
    r"(?:\s*(?:\\times|\\cdot)\s*10\s*\^\s*(?:\{\s*(?P<power>[-+]?\d+)\s*\}|(?P<digit>\d)))?"
)
_DIGITS = r"(-?[0-9A-Za-z]+(?:\.[0-9A-Za-z]+)?)"
_BASED = re.compile(rf"\(?\s*{_DIGITS}\s*\)?\s*_\s*(?:\{{\s*(.+?)\s*\}}|(\d|\\[a-z]+\{{[a-z]+\}}))")
_WITH_BASE = re.compile(
    rf"{_DIGITS}\s*(?:\\text\s*\{{)?\s*\(?\s*(?:in |to )?base[ -]\s*\}}?\s*(\d+|[a-z]+)"
    r"\s*(?:\\text\s*\{\s*)?\)?\s*\}?"
)
_HEXADECIMAL = re.compile(r"\(?\s*[A-Fa-f]{2,}\s*\)?\s*_\s*\{\s*16\s*\}")
_BASE_NAMES = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_CLOCK = re.compile(
    r"(\d{1,2})(?::(\d{2}))?(?::(\d{2}))?\s*((?:a|p)\.?\s?m\.?|noon|midnight|o'?\s?clock)?", re.IGNORECASE
)
_POINT_IN_TIME = re.compile(r"(?<=^\d)\.(?=\d\d\s*[ap]\.?\s?m)|(?<=^\d\d)\.(?=\d\d\s*[ap]\.?\s?m)", re.IGNORECASE)
_TWELVES = ("noon", "midnight")


@dataclass(frozen=True, slots=True)
class Number:
    """A number as it is written. `last_place` is the worth of a decimal's last digit, 0 for exact numbers."""

    value: Fraction
    last_place: Fraction = Fraction(0)
    digits: int = 0

    @property
    def is_exact(self) -> bool:
        """Whether it stands for no number but itself."""
        return not self.last_place or self.digits < ROUNDED_DIGITS

    def times(self, factor: Fraction) -> Number:
        """The same number in a unit so many times smaller."""
        return replace(self, value=self.value * factor, last_place=self.last_place * abs(factor))

    def stands_for(self, value: Fraction) -> bool:
        """Whether an exact value is this one, or rounds to this decimal. Only itself is a whole number rounded."""
        distance = abs(self.value - value)
        if distance == 0 or not self.last_place:
            return distance == 0
        if self.digits >= TRUSTED_DIGITS and distance * 10**TRUSTED_DIGITS <= abs(self.value):
            return True
        return self.digits >= ROUNDED_DIGITS and value.denominator > 1 and 2 * distance <= self.last_place


def are_same_number(first: Number, second: Number) -> bool:
    """Whether two numbers are equal, or the one with more digits rounds to the other."""
    if first.last_place and second.last_place:
        rounded, other = (first, second) if first.last_place > second.last_place else (second, first)
        return rounded.stands_for(other.value) or _is_noise(other, rounded.value)
    return first.stands_for(second.value) or second.stands_for(first.value)


def _is_noise(number: Number, value: Fraction) -> bool:
    return number.digits >= TRUSTED_DIGITS and abs(number.value - value) * 10**TRUSTED_DIGITS <= abs(value)


def number(text: str) -> Number | None:
    """The number that a text is, where it is one: digits, a decimal, a fraction of whole numbers, times 10^n."""
    found = _LITERAL.fullmatch(text) if len(text) <= MAX_DIGITS else None
    if found is None or found["number"] in ("", "."):
        return None
    power = int(found["power"] or found["digit"] or 0)
    if abs(power) > MAX_POWER:
        return None
    sign = -1 if (found["sign"] == "-") != bool(found["negative"]) else 1
    scale = sign * Fraction(10) ** power
    if found["number"] is None:
        top, bottom = int(found["top"] or found["over"]), int(found["bottom"] or found["under"])
        return Number(top * scale / bottom) if bottom else None
    digits = found["number"].replace(",", "")
    whole, point, places = digits.partition(".")
    exact = Fraction(int(whole + places or 0), 10 ** len(places)) * scale
    if not point or (not places and not power):
        return Number(exact)
    return Number(exact, abs(scale) / 10 ** len(places), len((whole + places).lstrip("0")))


# --- bases ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Based:
    """A number to a base other than ten, by its digits."""

    digits: str
    base: int


def based(text: str) -> Based | None:
    """The number to a base that a text is: 1011_2, (1011)_{2}, 1011 base two."""
    text = re.sub(r"(?<=\d) (?=\d+ ?_)", "", text)
    found = _BASED.fullmatch(text) or _WITH_BASE.fullmatch(text)
    if found is None or not (re.search(r"\d", found[1]) or _HEXADECIMAL.fullmatch(text)):
        return None
    written = re.sub(r"\\[a-z]+|[{}()\s]|base", "", next(group for group in found.groups()[1:] if group))
    base = int(written) if written.isdecimal() and len(written) < 3 else 0
    base = _BASE_NAMES.index(written) + 2 if written in _BASE_NAMES else base
    try:
        int(found[1].replace(".", ""), base or 1)
    except ValueError:
        return None
    sign, digits = ("-", found[1][1:]) if found[1].startswith("-") else ("", found[1])
    return Based(sign + (digits.lstrip("0").upper() or "0"), base)


# --- times of the day -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Clock:
    """A time of the day in seconds; `half` is "a" or "p" where the text says which half of the day."""

    seconds: int
    half: str

    def is_same(self, other: Clock) -> bool:
        """Whether both are one time. Where only one says which half of the day it is, the other may be in either."""
        if self.half == other.half:
            return self._seconds_of_day() == other._seconds_of_day()
        if self.half and other.half:
            return False
        told, untold = (self, other) if self.half else (other, self)
        return told._seconds_of_day() in (untold.seconds, untold.seconds % 86400) or (
            untold.seconds < 13 * 3600 and untold.seconds % 43200 == told._seconds_of_day() % 43200
        )

    def _seconds_of_day(self) -> int:
        if not self.half:
            return self.seconds % 86400
        return self.seconds % 43200 + (43200 if self.half == "p" else 0)


def clock(text: str) -> Clock | None:
    """The time of the day that a text is: 2:30, 12:00:05, 3:15 p.m., 3 pm."""
    bare = re.sub(r"\\(?:text|mathrm|textrm|mbox)\s*\{([^{}]*)\}", r" \1", text).replace(r"\colon", ":")
    written = " ".join(bare.replace(" :", ":").replace(": ", ":").split())
    found = _CLOCK.fullmatch(_POINT_IN_TIME.sub(":", "12 " + written if written.lower() in _TWELVES else written))
    if found is None or (found[2] is None and found[4] is None):
        return None
    hours, minutes, seconds = (int(group or 0) for group in found.groups()[:3])
    if found[4] and found[4].lower().startswith("o"):
        return Clock(3600 * hours, "") if found[2] is None and 0 < hours <= 12 else None
    half = {"n": "p", "m": "a"}.get(found[4][0].lower(), found[4][0].lower()) if found[4] else ""
    if hours > (12 if half else 24) or minutes > 59 or seconds > 59 or (half and hours == 0):
        return None
    return Clock(3600 * hours + 60 * minutes + seconds, half)
