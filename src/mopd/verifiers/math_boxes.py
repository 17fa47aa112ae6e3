r"""Boxes in a text: which are complete, which count, and how deep brackets are in each other.

`\fbox{7}` and `\boxed 7` are boxes, too. May import: `math_units`. Every function takes linear time, whatever the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from mopd.verifiers.math_units import quantity

_BOX_OR_BRACE = re.compile(
    r"\\(?:boxed|fbox)(?:\s*\{|\s+(?P<bare>-?\d+(?:\.\d+)?))|\\(?!\\(?:boxed|fbox)).|[{}]", re.DOTALL
)
_PERCENT = re.compile(r"\s*\$?\s*(?:\\?%|\\text\s*\{\s*percent|percent\b|pct\b)")
_UNIT = re.compile(r"(?:\s|~|\\[,;: ])*(?:\\(?:text|mathrm|mbox)\s*\{[^{}]*\}(?:\^\{?-?\d\}?)?|\^\s*\{?\\circ\}?)")
"""What may be the unit of a number that is in the box without it."""

_SENTENCE_END = re.compile(r"[.!?](?=\s)|\n\s*\n")


class Box(NamedTuple):
    """Where a box begins and ends, its braces included, and what it holds."""

    start: int
    end: int
    content: str


def outer_boxes(text: str) -> tuple[list[Box], bool]:
    """The complete boxes that are in no other complete box, in order, and whether the last box is left open.

    Escaped braces do not count, and an unclosed brace hides no later box.
    """
    closed: list[tuple[int, int, int, int]] = []  # where a box begins, its content begins and ends, the box ends
    starts: list[tuple[int, int, int]] = []  # of open boxes: braces open before it, where it and its content begin
    depth = 0
    for token in _BOX_OR_BRACE.finditer(text):
        if token["bare"]:
            closed.append((token.start(), *token.span("bare"), token.end()))
        elif token[0].startswith(("\\boxed", "\\fbox")):
            starts.append((depth, token.start(), token.end()))
            depth += 1
        elif token[0] == "{":
            depth += 1
        elif token[0] == "}" and depth > 0:
            depth -= 1
            if starts and starts[-1][0] == depth:
                _, start, inside = starts.pop()
                while closed and closed[-1][0] > start:
                    closed.pop()
                closed.append((start, inside, token.start(), token.end()))
    is_open = bool(starts) and not (closed and closed[-1][0] > starts[-1][1])
    return [Box(start, end, text[inside:stop].strip()) for start, inside, stop, end in closed], is_open


def last_boxed(text: str) -> str | None:
    """The content of the last \\boxed{...}; None where there is none, or the last one is empty or never closed."""
    closed, is_open = outer_boxes(text)
    return closed[-1].content or None if closed and not is_open else None


def last_sentence_boxes(text: str) -> list[str]:
    """What the boxes of the last sentence that has any hold; no box is twice in it."""
    closed, is_open = outer_boxes(text)
    if is_open or not closed:
        return []
    first = len(closed) - 1
    while first > 0 and not _SENTENCE_END.search(text[closed[first - 1].end : closed[first].start]):
        first -= 1
    return _without_repeats(box.content for box in closed[first:])


def unboxed(reference: str) -> str | None:
    """A reference without its boxes: what they hold, as a list where there are several; None where one is left open."""
    closed, is_open = outer_boxes(reference)
    if is_open:
        return None
    contents = [box.content + _unit_behind(reference, box) for box in closed]
    return ", ".join(_without_repeats(contents)) if closed else reference


def _unit_behind(text: str, box: Box) -> str:
    """The unit or the percent sign that stands behind a box instead of in it."""
    if _PERCENT.match(text, box.end):
        return r"\%"
    found = _UNIT.match(text, box.end)
    return found[0] if found and quantity(f"5{found[0]}").unit else ""


def _without_repeats(contents: Iterable[str]) -> list[str]:
    return [content for content in dict.fromkeys(contents) if content]


def nesting(text: str) -> int:
    """How deep brackets of any kind are in each other, at most; closing ones need not match."""
    depth = deepest = 0
    for character in text:
        if character in "([{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in ")]}":
            depth -= 1
    return deepest
