"""What tests change around the program, as if both ran in one process: where its output goes, where chance begins.

What the program prints is written where the tests have put `sys.stdout`, and the state of `random` that they seeded is
the program's. Other parts of Python that they replace, as `input` or the clock, stay as they are for the program: that
is noticed, so that no test that fails for it counts.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ast
    from types import TracebackType
    from typing import Any

PLACES = ("builtins", "datetime", "os", "random", "time")
"""Modules of which tests replace parts. They are watched where tests name them, by an import or in a text."""

STREAMS = ("stdin", "stderr", "argv")


class Surroundings:
    """The tests' side."""

    def __init__(self, tree: ast.Module) -> None:
        self._stdout, self._streams = sys.stdout, {name: getattr(sys, name) for name in STREAMS}
        self._parts = {place: dict(vars(__import__(place))) for place in PLACES if place in _named_modules(tree)}
        self._environment = dict(self._parts["os"]["environ"]) if "os" in self._parts else {}
        self._seeds = "random" in self._parts and _calls_seed(tree)
        self._state: Any = None
        self.replaced: str | None = None

    def told(self) -> dict[str, Any]:
        """What a question to the program says of them. Notices what was replaced, which later may be put back."""
        self.replaced = self.replaced or self._found_replaced()
        said: dict[str, Any] = {}
        if sys.stdout is not self._stdout:
            said["listen"] = True
        if self._seeds:
            state = sys.modules["random"].getstate()
            if state != self._state:
                said["random"] = self._state = state
        return said

    def heard(self, answer: dict[str, Any]) -> None:
        """Write what the program printed."""
        if isinstance(answer.get("printed"), str):
            sys.stdout.write(answer["printed"])

    def _found_replaced(self) -> str | None:
        for name, stream in self._streams.items():
            if getattr(sys, name) is not stream:
                return f"sys.{name}"
        for place, parts in self._parts.items():
            for name, part in vars(sys.modules[place]).items():
                if name[:2] != "__" and parts.get(name, Surroundings) is not part:
                    return f"{place}.{name}"
        return "os.environ" if self._environment and dict(sys.modules["os"].environ) != self._environment else None


class Surrounded:
    """The program's side while it answers: `printed` is what it printed, if the tests listen."""

    def __init__(self, question: dict[str, Any]) -> None:
        self._listens, self._state = "listen" in question, question.get("random")
        self.printed: str | None = None

    def __enter__(self) -> Surrounded:
        if self._state:
            import random

            random.setstate((self._state[0], tuple(self._state[1]), self._state[2]))
        if self._listens:
            import io

            self._before, self._heard = sys.stdout, io.StringIO()
            sys.stdout = self._heard
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._listens:
            if sys.stdout is self._heard:
                sys.stdout = self._before
            self.printed = self._heard.getvalue()


def _named_modules(tree: ast.Module) -> set[str]:
    """First words of what tests import, and of their texts, as in `patch("builtins.input")`."""
    import ast

    named: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            named.add(node.module or "")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            named.add(node.value)
        elif isinstance(node, ast.Name):
            named.add(node.id)
    return {name.partition(".")[0] for name in named}


def _calls_seed(tree: ast.Module) -> bool:
    import ast

    return any(
        (isinstance(node, ast.Attribute) and node.attr == "seed")
        or (isinstance(node, ast.alias) and node.name == "seed")
        for node in ast.walk(tree)
    )
