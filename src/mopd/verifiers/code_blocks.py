"""Which of a completion's fenced blocks is the program that is judged."""

from __future__ import annotations

import ast
import builtins
import re
import sys

from mopd.core.fences import FencedBlock, Fences
from mopd.sandbox.harness.names import unbound_names

_PYTHON = re.compile(r"(?:python|py)[\d.]*(?:[^\w.-].*)?|\S+\.py", re.IGNORECASE)
"""A tag that says Python: python, py, python3, {.python}, python:main.py, main.py. A session of it (pycon) is none."""

_ACTS = {"print", "input", "open", "exec"}
"""Builtin functions that a whole program calls, if it neither defines nor imports anything."""


def last_block(completion: str) -> str | None:
    """The last fenced block that is a Python program; None where no closed block is Python. Linear in its length.

    Blocks with another language's tag are none; one without a tag is, if it is Python that defines, imports, reads or
    prints something. A session of the interpreter is none, and neither is a block that needs a name which only a block
    before it defines, as an example of its use does. Where that leaves no block, it is the last one tagged Python, else
    the last one without a tag, so that its error can be told.
    """
    blocks = [block for block in Fences(completion).closed() if not block.tag or _PYTHON.fullmatch(block.tag)]
    if len(blocks) > 1:
        blocks = _programs(blocks) or [block for block in blocks if block.tag] or blocks
    return blocks[-1].text if blocks else None


def demonstrate(program: str) -> str:
    """A program as a completion gives it."""
    return f"```python\n{program}\n```"


def _programs(blocks: list[FencedBlock]) -> list[FencedBlock]:
    """The blocks that are programs of their own."""
    found: list[FencedBlock] = []
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


def _is_program(block: FencedBlock, tree: ast.Module | None) -> bool:
    if block.text.lstrip().startswith(">>>"):
        return False
    if tree is None:
        return bool(block.tag)  # a program with an error in it
    if block.tag:
        return any(not _does_nothing(node) for node in tree.body)
    defines = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)
    return any(
        isinstance(node, defines)
        or (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _ACTS)
        for node in ast.walk(tree)
    )


def _does_nothing(node: ast.stmt) -> bool:
    """True for `pass`, and for a statement that is a mere value, as a sample of output is."""
    if isinstance(node, ast.Pass):
        return True
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
