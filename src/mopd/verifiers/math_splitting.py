"""LaTeX taken apart where no bracket is open.

May import: nothing.
"""

from __future__ import annotations

import re

_OPENING = {"(", "[", "{", r"\{", r"\lbrace", r"\begin"}
_CLOSING = {")", "]", "}", r"\}", r"\rbrace", r"\end"}
_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|.", re.DOTALL)


def split(text: str, separators: tuple[str, ...]) -> list[str]:
    """The parts of a text between separators that are in no brackets."""
    parts, depth, start = [], 0, 0
    for token in _TOKEN.finditer(text):
        if token[0] in separators and depth == 0:
            parts.append(text[start : token.start()])
            start = token.end()
        elif token[0] in _OPENING:
            depth += 1
        elif token[0] in _CLOSING:
            depth = max(0, depth - 1)
    return [*parts, text[start:]]


def split_at_signs(text: str) -> list[str]:
    """The terms of a sum, without their signs."""
    return [term for part in split(text, ("+",)) for term in split(part, ("-",)) if term.strip()]


def inside_of(text: str, opening: str, closing: str) -> str | None:
    """What is in the brackets around the whole text; None where it has none around it."""
    text = text.strip()
    if not text.startswith(opening) or not text.endswith(closing) or len(text) < len(opening + closing):
        return None
    depth = 0
    for token in _TOKEN.finditer(text):
        if token[0] in _OPENING:
            depth += 1
        elif token[0] in _CLOSING:
            depth -= 1
            if depth == 0 and token.end() < len(text):
                return None
    return text[len(opening) : -len(closing)]
