"""Answers as texts: without what is around them, and whether two of them are typed alike.

May import: nothing. Light, since the parent process uses it.
"""

from __future__ import annotations

import re

_MATH_MARKS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"))

_UPRIGHT = re.compile(r"\\(?:ce|text[a-z]*|mathrm|mathbf|mbox)\s*\{([^{}]*(?:\{[^{}]*\}[^{}]*)*)\}")
_INDEX = re.compile(r"(?<=[A-Za-z)\]])_(?:\{(\d+)\}|(\d))(?!\d)")
_TYPED = re.compile(r"(?=.*[A-Za-z])[\w()\[\]{}^.,:;+'!?-]+")


def plain(text: str) -> str:
    """The same answer without the marks of mathematics around it, a full stop behind it, and surplus white space.

    Example: `plain("$ x =  5. $")` is `"x = 5"`.
    """
    text = _without_full_stop(" ".join(text.split()))
    for opening, closing in _MATH_MARKS:
        inside = text[len(opening) : -len(closing)]
        if text == f"{opening}{inside}{closing}" and "$" not in inside:
            text = _without_full_stop(inside.strip())
    return text


def _without_full_stop(text: str) -> str:
    return text[:-1].rstrip() if text.endswith(".") and not text.endswith("..") else text


def are_typed_alike(first: str, second: str) -> bool:
    """Whether two texts with letters differ in nothing but commands for upright letters, indices and spaces.

    So `\\mathrm{H_2O}` is `H2O`, and `\\text{June }5` is `June 5`, whether or not anything can be read of them.
    """
    typed = [_typed(text) for text in (first, second)]
    return typed[0] == typed[1] and _TYPED.fullmatch(typed[0]) is not None


def _typed(text: str) -> str:
    bare = _UPRIGHT.sub(r"\1", text.replace(r"\ ", " "))
    bare = _INDEX.sub(lambda found: found[1] or found[2], _UPRIGHT.sub(r"\1", bare))
    return re.sub(r"(?<!\d)\s+|\s+(?!\d)", "", bare)
