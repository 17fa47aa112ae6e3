"""What tests that assert ask the program for: the names that they use and do not define."""

from __future__ import annotations

import ast
import builtins

from .names import MODULES, unbound_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator


class AskedNames:
    """The names of tests, by what they are.

    A name that is no builtin is the program's, and so is the entry point. A builtin name is Python's: tests use `len`
    and `sorted` on what a program returns, and a program must not be able to change that. But an assertion that asks
    the program nothing else is about the builtin name that it calls, `sum` or `sorted`: then that is the program's too.
    """

    def __init__(self, code: str, tree: ast.Module, entry_point: str | None) -> None:
        self._unbound = unbound_names(code)
        self._binders: dict[str, list[ast.stmt]] = {}
        for node in tree.body:
            for name in _bound_names(node) | _used_names(node):
                self._binders.setdefault(name, []).append(node)
        called = {name for name, _ in _calls(tree)}
        self.modules = {name for name in self._unbound if name in MODULES and name not in called}
        self.own = {name for name in self._unbound if not hasattr(builtins, name)} - self.modules
        if entry_point:
            self.own.add(entry_point)

    def ask(self, node: ast.stmt) -> bool:
        """Whether a statement asks the program for a name that is no builtin one, itself or through what it uses."""
        return any(name in self.own for part in self._reached(node) for name in _read_names(part))

    def builtins_asked(self, units: list[ast.stmt]) -> set[str]:
        """Builtin names that units of tests are about which ask the program nothing else."""
        found: set[str] = set()
        for unit in units:
            if not self.ask(unit):
                for part in self._reached(unit):
                    found |= _builtins_under_test(part, self._unbound)
        return found

    def needs(self, node: ast.stmt, others: list[ast.stmt]) -> bool:
        """Whether a statement uses what one of the others binds or may change, apart from the program's own names."""
        return any(part in others for part in self._reached(node, without=self.own)[1:])

    def _reached(self, node: ast.stmt, without: Collection[str] = ()) -> list[ast.stmt]:
        """A statement, and those that bind or may change what it uses, and so on."""
        reached, left = [node], [node]
        while left:
            for name in _read_names(left.pop()).difference(without):
                new = [each for each in self._binders.get(name, []) if each not in reached]
                reached += new
                left += new
        return reached


def _builtins_under_test(node: ast.stmt, unbound: set[str]) -> set[str]:
    """The builtin functions that are called innermost, since the others look at what they return.

    Classes, as `list` and `set`, are what values are made of, unless there is nothing else.
    """
    calls = [(name, call) for name, call in _calls(node) if name in unbound and hasattr(builtins, name)]
    calls = [(name, call) for name, call in calls if not _is_exception(name)]
    functions = [(name, call) for name, call in calls if not isinstance(getattr(builtins, name), type)]
    chosen = functions or calls
    inner = {id(call) for _, call in chosen}
    return {name for name, call in chosen if not any(id(part) in inner and part is not call for part in ast.walk(call))}


def _is_exception(name: str) -> bool:
    kind = getattr(builtins, name)
    return isinstance(kind, type) and issubclass(kind, BaseException)


def _calls(node: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for part in ast.walk(node):
        if isinstance(part, ast.Call) and isinstance(part.func, ast.Name):
            yield part.func.id, part


def _read_names(node: ast.AST) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load)}


def _bound_names(node: ast.stmt) -> set[str]:
    """Names that a top-level statement binds, those of functions and classes in it included."""
    bound = {part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        bound.add(node.name)
    return bound


def _used_names(node: ast.stmt) -> set[str]:
    """Names of what a top-level statement may change: neither a definition does that, nor an assertion."""
    is_pure = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Assert))
    return set() if is_pure else _read_names(node)
