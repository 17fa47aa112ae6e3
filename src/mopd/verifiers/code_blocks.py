"""Blocks of code in a completion, and which of them is the program that is judged."""

from __future__ import annotations

import ast
import builtins
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from mopd.sandbox.harness.names import unbound_names

_CONTAINERS = r"(?:(?:>|[-*+](?=[ \t])|[0-9]{1,9}[.)](?=[ \t]))[ \t]*)*"
_FENCE = re.compile(rf"([ \t]*{_CONTAINERS})(`{{3,}}|~{{3,}})(.*)")
"""An opening fence, behind the quotes and items of lists that its line is in or begins."""

_CLOSING = re.compile(r"([ \t]*)(`{3,}|~{3,})[ \t]*")
_ITEM = re.compile(r"[ \t]*(?:>[ \t]*)*(?:[-*+]|[0-9]{1,9}[.)])[ \t]")
_QUOTE = re.compile(r" {0,3}>[ \t]?")

CLOSES_WITHIN = 3
"""A closing fence is indented at most so many columns further than what it is in, the text or an item of a list; else
it is text of the block."""

_PYTHON = re.compile(r"(?:python|py)[\d.]*(?:[^\w.-].*)?|\S+\.py", re.IGNORECASE)
"""A tag that says Python: python, py, python3, {.python}, python:main.py, main.py. A session of it (pycon) is none."""

_ACTS = {"print", "input", "open", "exec"}
"""Builtin functions that a whole program calls, if it neither defines nor imports anything."""


@dataclass(frozen=True)
class Block:
    """A closed fenced block: its tag, empty where it has none, and its text without the fence's indentation."""

    tag: str
    text: str


def last_block(completion: str) -> str | None:
    """The last fenced block that is a Python program; None where no closed block is Python. Linear in its length.

    Blocks with another language's tag are none; one without a tag is, if it is Python that defines, imports, reads or
    prints something. A session of the interpreter is none, and neither is a block that needs a name which only a block
    before it defines, as an example of its use does. Where that leaves no block, it is the last one tagged Python, else
    the last one without a tag, so that its error can be told.
    """
    blocks = [block for block in blocks_of(completion) if not block.tag or _PYTHON.fullmatch(block.tag)]
    if len(blocks) > 1:
        blocks = _programs(blocks) or [block for block in blocks if block.tag] or blocks
    return blocks[-1].text if blocks else None


def demonstrate(program: str) -> str:
    """A program as a completion gives it."""
    return f"```python\n{program}\n```"


def blocks_of(completion: str) -> Iterator[Block]:
    """The closed fenced blocks, as CommonMark has them, in order.

    It is kinder than CommonMark in two ways: an opening fence may be indented at will, since models indent by habit,
    and lines of an item of a list that are indented too little stay in the block.
    """
    fence, tag, quotes, columns, lines = "", "", 0, 0, list[str]()
    had_item = False
    for line in completion.split("\n"):
        inside = _without_quotes(line, quotes) if fence else None
        if fence and inside is None:  # the quote ends here, and the block with it
            yield Block(tag, "\n".join(lines))
            fence = ""
        if not fence:
            had_item = had_item or _ITEM.match(line) is not None
            opening = _FENCE.fullmatch(line.rstrip("\r")) if "```" in line or "~~~" in line else None
            if opening and not (opening[2][0] == "`" and "`" in opening[3]):
                fence, tag, lines = opening[2], _tag(opening[3]), []
                quotes, columns = opening[1].count(">"), _columns(opening[1])
        elif _closes(inside or "", fence, columns if had_item or columns > CLOSES_WITHIN else 0):
            yield Block(tag, "\n".join(lines))
            fence = ""
        else:
            lines.append(_without_indentation(inside or "", columns))


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


def _closes(line: str, fence: str, columns: int) -> bool:
    closing = _CLOSING.fullmatch(line.rstrip("\r"))
    if closing is None or not closing[2].startswith(fence):
        return False
    return len(closing[1].expandtabs(4)) <= columns + CLOSES_WITHIN


def _without_indentation(line: str, columns: int) -> str:
    """A line without its first `columns` columns, as far as they are white space. A tab goes to a multiple of four."""
    column = 0
    for index, character in enumerate(line):
        if column >= columns or character not in " \t":
            return " " * (column - columns) + line[index:]
        column += 1 if character == " " else 4 - column % 4
    return " " * (column - columns)


def _programs(blocks: list[Block]) -> list[Block]:
    """The blocks that are programs of their own."""
    found: list[Block] = []
    defined: set[str] = set()
    for block in blocks:
        tree = _tree(block.text)
        if not _is_program(block, tree):
            continue
        if tree is not None:
            if _needed_names(block.text, tree) & defined:
                continue
            defined |= _defined_names(tree)
        found.append(block)
    return found


def _tree(text: str) -> ast.Module | None:
    try:
        return ast.parse(text, "<completion>")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _is_program(block: Block, tree: ast.Module | None) -> bool:
    if block.text.lstrip().startswith(">>>"):
        return False
    if tree is None:
        return bool(block.tag)  # a program with an error in it
    if block.tag:
        return any(not _is_mere_value(node) for node in tree.body)
    defines = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)
    return any(
        isinstance(node, defines)
        or (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _ACTS)
        for node in ast.walk(tree)
    )


def _is_mere_value(node: ast.stmt) -> bool:
    """True for a statement that is a value and does nothing, as a sample of output is."""
    return isinstance(node, ast.Expr) and not any(isinstance(part, ast.Call | ast.Await) for part in ast.walk(node))


def _needed_names(text: str, tree: ast.Module) -> set[str]:
    """Names that a block takes from elsewhere: it never binds them, or imports them from no module of Python.

    A block that defines functions or classes takes builtin names from Python; one that does not may mean another's.
    """
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] not in sys.stdlib_module_names
        for alias in node.names
    }
    defines = any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in tree.body)
    own = {name for name in unbound_names(text) if not (defines and hasattr(builtins, name))}
    return own | imported


def _defined_names(tree: ast.Module) -> set[str]:
    """Names of a module's own functions, classes and variables."""
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            found |= {
                part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
            }
    return found
