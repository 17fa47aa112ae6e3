"""Fenced blocks of Markdown, as CommonMark has them, in completions.

Where models write otherwise than CommonMark reads, this reader is kinder, and so no library for Markdown serves:

- an opening fence may be indented at will (in CommonMark four columns make it text), since models indent by habit;
- a fence behind a line `<answer>` or `<think>` is a fence (in CommonMark it is text of a block of HTML), and so is one
  behind `<answer>` on the same line; its block may end on a line with the closing tag;
- lines of an item of a list that are indented too little stay in their block (in CommonMark it ends).

A block that is left open at the end of the text is none. (In CommonMark the end closes it.)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_CONTAINERS = r"(?:(?:>|[-*+](?=[ \t])|[0-9]{1,9}[.)](?=[ \t]))[ \t]*)*"

_TAG = r"(?:<(?!think>)[A-Za-z][\w-]*>[ \t]*)?"
_END_TAGS = re.compile(r"(?:</[A-Za-z][\w-]*>\s*)*")

OPENING = rf"[ \t]*{_CONTAINERS}{_TAG}(?:`{{3,}}(?=[^`\n]*$)|~{{3,}})"
"""What opens a block at the beginning of a line, as a pattern (MULTILINE): behind the quotes and items of lists that
the line is in or begins, and a tag such as <answer>; and behind backticks no other backtick."""

_BEGIN = re.compile(f"^{OPENING}", re.MULTILINE)
_OPENING = re.compile(rf"([ \t]*{_CONTAINERS}){_TAG}(`{{3,}}|~{{3,}})([^\n]*)")
_FENCE = re.compile(r"([ \t]*)(`{3,}|~{3,})(.*)", re.DOTALL)
_ITEM = re.compile(r"^[ \t]*(?:>[ \t]*)*(?:[-*+]|[0-9]{1,9}[.)])[ \t]", re.MULTILINE)
_QUOTE = re.compile(r" {0,3}>[ \t]?")

CLOSES_WITHIN = 3
"""A closing fence is indented at most so many columns further than what it is in, the text or an item of a list; else
it is text of the block."""


@dataclass(frozen=True, slots=True)
class FencedBlock:
    """A closed block: its tag, empty where it has none, and its text without the indentation and quotes of its fence.

    It begins at `begin` with its opening fence, or with the quotes and items before it; `end` is behind its closing
    fence, or behind the quote that it was in.
    """

    begin: int
    tag: str
    text: str
    end: int


class Fences:
    """The fenced blocks of one text."""

    def __init__(self, text: str) -> None:
        self._text = text
        item = _ITEM.search(text)
        self._first_item = len(text) if item is None else item.start()

    def closed(self) -> Iterator[FencedBlock]:
        """The closed blocks, in order. What a block holds is no other block, and behind one left open there is none."""
        position = 0
        while opening := _BEGIN.search(self._text, position):
            block = self.block_at(opening.start())
            if block is None:
                return
            yield block
            position = block.end

    def block_at(self, begin: int, is_strict: bool = False) -> FencedBlock | None:
        """The block whose opening fence begins at `begin`; None where it is not closed.

        Where it `is_strict`, another opening fence with a word behind it (```python) says that this one was left open.
        """
        opening = _OPENING.match(self._text, begin)
        if opening is None:
            return None
        before, fence, info = opening[1], opening[2], opening[3]
        quotes, columns = before.count(">"), _columns(before)
        is_in_item = self._first_item <= begin or columns > CLOSES_WITHIN
        within = CLOSES_WITHIN + (columns if is_in_item else 0)
        lines: list[str] = []
        for position, end in _lines(self._text, opening.end() + 1):
            line = _without_quotes(self._text[position:end], quotes)
            found = None if line is None else _FENCE.fullmatch(line)
            if line is None or (found and _closes(found, fence, within)):  # or the quote has ended, and it with it
                behind = position - 1 if found is None else end - len(found[3].lstrip())
                return FencedBlock(begin, _tag(info), "\n".join(lines), behind)
            if is_strict and found and found[3].strip() and "`" not in found[3]:
                return None
            lines.append(_without_indentation(line, columns))
        return None


def _lines(text: str, begin: int) -> Iterator[tuple[int, int]]:
    """Where each line begins and ends, from the line on that begins at `begin`."""
    while begin <= len(text):
        end = text.find("\n", begin)
        yield begin, (len(text) if end < 0 else end)
        begin = len(text) + 1 if end < 0 else end + 1


def _closes(line: re.Match[str], fence: str, within: int) -> bool:
    is_bare = line[2].startswith(fence) and _END_TAGS.fullmatch(line[3].lstrip()) is not None
    return is_bare and len(line[1].expandtabs(4)) <= within


def _tag(info: str) -> str:
    """The first word behind a fence, as R Markdown and Pandoc also write it: {python}, {.python .numbered}."""
    words = info.replace("{", " {").split() if info.lstrip().startswith("{") else info.split()
    return words[0].lstrip("{.").rstrip("}") if words else ""


def _columns(before: str) -> int:
    """How far a fence is indented, in the quote that it may be in."""
    quoted = before.rpartition(">")[2]
    return len(quoted.expandtabs(4)) - (">" in before and quoted[:1] in (" ", "\t"))


def _without_quotes(line: str, quotes: int) -> str | None:
    """A line without the marks of quotes; None where it is not in them."""
    begin = 0
    for _ in range(quotes):
        mark = _QUOTE.match(line, begin)
        if mark is None:
            return None
        begin = mark.end()
    return line[begin:]


def _without_indentation(line: str, columns: int) -> str:
    """A line without its first `columns` columns, as far as they are white space. A tab goes to a multiple of four."""
    column = 0
    for index, character in enumerate(line):
        if column >= columns or character not in " \t":
            return " " * (column - columns) + line[index:]
        column += 1 if character == " " else 4 - column % 4
    return " " * (column - columns)
