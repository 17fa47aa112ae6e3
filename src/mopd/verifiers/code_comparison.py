"""Whether a program answered what it should have, as the record's `compare` says."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Any

TOLERANCE = 1e-6
"""How much numbers may differ under `float`, absolute or relative: as contests say it, so that 1e-9 is right for 0."""

MOST_CHARACTERS = 400
"""No number that a program prints is longer and needs to be compared by its value."""


def are_same_text(got: str, wanted: str, compare: str) -> bool:
    """Whether a program printed what it should have, as `COMPARISONS` says."""
    if compare == "exact":
        return _stripped_lines(got) == _stripped_lines(wanted)
    if compare == "numbers":
        ours, theirs = ([line.strip() for line in text.strip().split("\n")] for text in (got, wanted))
        return len(ours) == len(theirs) and all(map(_are_same_lines, ours, theirs))
    ours, theirs = got.split(), wanted.split()
    if compare == "tokens":
        return ours == theirs
    return len(ours) == len(theirs) and all(map(_are_close_words, ours, theirs))


def _stripped_lines(text: str) -> list[str]:
    """Lines without trailing white space, and without empty lines at the end."""
    return [line.rstrip() for line in text.rstrip().split("\n")]


def _are_same_lines(got: str, wanted: str) -> bool:
    """The same text, or text with the same words, numbers by their value. Only between numbers is white space free."""
    if got == wanted:
        return True
    ours, theirs = got.split(), wanted.split()
    if not (all(map(_is_number, ours)) and all(map(_is_number, theirs))):
        ours, theirs = _SPACE.split(got), _SPACE.split(wanted)
    return len(ours) == len(theirs) and all(map(_are_same_words, ours, theirs))


_SPACE = re.compile(r"(\s+)")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,9})?", re.ASCII)


def _is_number(word: str) -> bool:
    return len(word) <= MOST_CHARACTERS and _NUMBER.fullmatch(word) is not None


def _are_same_words(got: str, wanted: str) -> bool:
    return got == wanted or (_is_number(got) and _is_number(wanted) and Decimal(got) == Decimal(wanted))


def _are_close_words(got: str, wanted: str) -> bool:
    if got == wanted:
        return True
    if len(got) > MOST_CHARACTERS or "_" in got:  # no number that a program prints, whatever `float` accepts
        return False
    try:
        return math.isclose(float(got), float(wanted), rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    except ValueError:
        return False


def are_same_values(got: Any, wanted: Any, compare: str) -> bool:
    """Whether a function returned what it should have: as JSON has values, so that a tuple is a list."""
    if isinstance(got, list | tuple) and isinstance(wanted, list | tuple):
        return len(got) == len(wanted) and all(are_same_values(a, b, compare) for a, b in zip(got, wanted, strict=True))
    if isinstance(got, dict) and isinstance(wanted, dict):
        ours = {str(key): value for key, value in got.items()}
        return ours.keys() == wanted.keys() and all(are_same_values(ours[k], v, compare) for k, v in wanted.items())
    if compare == "float" and isinstance(got, int | float) and isinstance(wanted, int | float):
        return got == wanted or math.isclose(got, wanted, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    if isinstance(got, str) and isinstance(wanted, str) and compare in ("tokens", "float"):
        return are_same_text(got, wanted, compare)
    return bool(got == wanted)
