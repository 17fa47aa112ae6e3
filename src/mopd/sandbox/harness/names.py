"""Names that code uses and does not define, and the modules of Python where judges find them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MODULES = (
    *("queue", "fractions", "decimal"),
    *("string", "re", "datetime", "collections", "heapq", "bisect", "copy", "math", "random", "statistics"),
    *("itertools", "functools", "operator", "io", "sys", "json", "typing"),
)
"""Where names come from that a solution uses without an import, as the sites that pose such problems allow.

A name that several have is that of the last, and the name of a module is the module: so LiveCodeBench's grader imports
them, but for the first line, which is this project's own.
"""

WHERE: dict[str, str] = {}
"""By module the names that are its own here, with spaces around: a program reads few, and texts are read fast.

`archive` fills it when it packs, so that no module is imported to look for a name.
"""


def places() -> dict[str, str]:
    """What `WHERE` holds: the names that `from MODULE import *` gives, but for the builtin ones."""
    import builtins
    import importlib

    owner: dict[str, str] = {}
    for place in MODULES:
        module = importlib.import_module(place)
        public = getattr(module, "__all__", [name for name in dir(module) if not name.startswith("_")])
        owner.update(dict.fromkeys(public, place))
    own = {name: place for name, place in owner.items() if not hasattr(builtins, name) and name not in MODULES}
    return {place: f" {' '.join(name for name in own if own[name] == place)} " for place in MODULES}


def implied(code: str) -> dict[str, Any]:
    """What a program uses of `MODULES` without importing it, by name."""
    import builtins

    found = {}
    for name in unbound_names(code):
        if not hasattr(builtins, name):
            for place, names in WHERE.items():
                if name == place or f" {name} " in names:
                    module = __import__(place)
                    found[name] = module if name == place else getattr(module, name)
    return found


def unbound_names(code: str) -> set[str]:
    """Names that code reads as global ones and never binds as such, builtins included; none where it is no Python.

    Found by the compiler's own table of symbols: `ast` takes longer to import than most programs to run.
    """
    import _symtable  # type: ignore[import-not-found]

    try:
        top = _symtable.symtable(code, "<names>", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return set()
    binds = _symtable.DEF_LOCAL | _symtable.DEF_IMPORT
    is_global = (_symtable.GLOBAL_IMPLICIT, _symtable.GLOBAL_EXPLICIT)
    read: set[str] = set()
    bound = {name for name, flags in top.symbols.items() if flags & binds}
    tables = [top]
    while tables:
        table = tables.pop()
        tables += table.children
        for name, flags in table.symbols.items():
            if table is top or flags >> _symtable.SCOPE_OFF & _symtable.SCOPE_MASK in is_global:
                if flags & _symtable.USE:
                    read.add(name)
                if table is not top and flags & binds:
                    bound.add(name)
    return read - bound
