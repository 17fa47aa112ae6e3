"""Whether a program answered what it should have, as the record's `compare` says."""

from __future__ import annotations

import math
from typing import Any


def are_same_text(got: str, wanted: str, compare: str) -> bool:
    """Whether a program printed what it should have, as `COMPARISONS` says."""
    if compare == "exact":
        return _stripped_lines(got) == _stripped_lines(wanted)
    ours, theirs = got.split(), wanted.split()
    if compare == "tokens":
        return ours == theirs
    return len(ours) == len(theirs) and all(map(_are_close_words, ours, theirs))


def _stripped_lines(text: str) -> list[str]:
    """Lines without trailing white space, and without empty lines at the end."""
    return [line.rstrip() for line in text.rstrip().split("\n")]


def _are_close_words(got: str, wanted: str) -> bool:
    if got == wanted:
        return True
    if len(got) > 400 or "_" in got:  # no number that a program prints, whatever `float` accepts
        return False
    try:
        return math.isclose(float(got), float(wanted), rel_tol=1e-6)
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
        return got == wanted or math.isclose(got, wanted, rel_tol=1e-6)
    if isinstance(got, str) and isinstance(wanted, str) and compare != "exact":
        return are_same_text(got, wanted, compare)
    return bool(got == wanted)
