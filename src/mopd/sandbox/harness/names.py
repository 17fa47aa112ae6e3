"""Names that code uses and does not define, and the modules of Python where such names come from."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PRELUDE_MODULES = (
    *("typing", "collections", "math", "heapq", "bisect", "itertools", "functools", "string", "operator"),
    *("re", "random", "datetime", "copy", "queue", "statistics", "fractions", "decimal"),
)
"""Where names come from that a solution uses without an import, as the sites that pose such problems allow."""


def names_from_modules(code: str) -> dict[str, Any]:
    """Those names of `code` that `PRELUDE_MODULES` have, with what they name."""
    import importlib

    found = {}
    for name in sorted(free_names(code)):
        if name in PRELUDE_MODULES:
            found[name] = importlib.import_module(name)
            continue
        for module in PRELUDE_MODULES:
            if name in getattr(importlib.import_module(module), "__all__", ()) or (
                module == "math" and name in dir(importlib.import_module("math"))
            ):
                found[name] = getattr(importlib.import_module(module), name)
                break
    return found


def free_names(code: str) -> set[str]:
    """Names that a module reads and never binds, but for builtins."""
    import ast
    import builtins

    read: set[str] = set()
    bound = set(dir(builtins))
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            bound.update((alias.asname or alias.name).split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            bound.add(node.name)
    return read - bound
