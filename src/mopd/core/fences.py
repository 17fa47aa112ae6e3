"""Fenced blocks of Markdown: where one begins, and where it ends."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

OPENING = r"[ \t]*(?:`{3,}(?=[^`\n]*$)|~{3,})"
"""What opens a block at the beginning of a line, as a pattern (MULTILINE): behind backticks no other backtick."""

_OPENING = re.compile(r"([ \t]*)(`{3,}|~{3,})([^\n]*)\n?")
_FENCE = re.compile(r"^([ \t]*)(`{3,}|~{3,})([^\n]*)$", re.MULTILINE)

_BEGIN = re.compile(f"^{OPENING}", re.MULTILINE)

DEEPER = 3
"""A closing fence may stand this much further to the right than its opening fence, as in CommonMark."""


@dataclass(frozen=True, slots=True)
class FencedBlock:
    """A block whose opening fence, with the word behind it, begins at `begin`; `end` is behind its closing fence."""

    begin: int
    info: str
    content: str
    end: int


def block_at(text: str, begin: int, is_strict: bool = False) -> FencedBlock | None:
    """The block whose opening fence begins at `begin`; None where it is not closed.

    Where it `is_strict`, another opening fence with a word behind it (```python) says that this one was left open.
    """
    opening = _OPENING.match(text, begin)
    if opening is None:
        return None
    depth, fence, info = len(opening[1]), opening[2], opening[3].strip()
    for line in _FENCE.finditer(text, opening.end()):
        if len(line[1]) > depth + DEEPER or line[2][0] != fence[0]:
            continue
        if line[3].strip():
            if is_strict and "`" not in line[3]:
                return None
        elif len(line[2]) >= len(fence):
            return FencedBlock(begin, info, text[opening.end() : max(opening.end(), line.start() - 1)], line.end())
    return None


def closed_blocks(text: str) -> Iterator[FencedBlock]:
    """The closed blocks of a text, in order; what a block holds is no other block."""
    position = 0
    while opening := _BEGIN.search(text, position):
        block = block_at(text, opening.start())
        position = opening.end() if block is None else block.end
        if block is not None:
            yield block
