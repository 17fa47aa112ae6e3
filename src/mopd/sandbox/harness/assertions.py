"""Trusted tests that assert: run here one by one, on stand-ins for what the program defines."""

from __future__ import annotations

from .names import PRELUDE_MODULES, free_names
from .remotes import Remote, reply_to
from .values import decode

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ast
    from collections.abc import Iterable
    from typing import Any

    from .channel import Channel


def run_tests(channel: Channel, request: dict[str, Any]) -> dict[str, Any]:
    """{passed, failed, first}: how many units passed and failed, and the first that failed; or {broken: why}.

    Units are top-level statements that assert, functions test_*, and check(entry point), run one by one. `first` has
    the unit's lines and what was raised there. Tests are broken where they cannot be read or have no unit.
    """
    import ast

    try:
        tree = ast.parse(request["code"])
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return {"broken": type(error).__name__}
    units = _calls_of_tests(tree, request["entry_point"])
    if not units and not any(_does_assert(node) for node in tree.body):
        return {"broken": "no assert"}
    theirs = _names_from_program(channel, free_names(request["code"]), request["entry_point"])
    scope: dict[str, Any] = {"__name__": "tests"}
    passed, failed, first = 0, 0, None
    for node in tree.body + units:
        scope.update(theirs)  # a stub of the same name, as prompts have it, is not the program
        try:
            exec(compile(ast.Module([node], []), "<tests>", "exec"), scope)
            passed += node in units or _does_assert(node)
        except Exception as error:
            failed += 1
            lines = None if node in units else [node.lineno, node.end_lineno]
            first = first or {"lines": lines, "raised": type(error).__name__, "message": str(error)[:2000]}
    return {"passed": passed, "failed": failed, "first": first}


def _does_assert(node: ast.stmt) -> bool:
    """True for a statement that asserts something when it is run, which a definition does not."""
    import ast

    is_definition = isinstance(node, (ast.FunctionDef, ast.ClassDef))
    return not is_definition and any(isinstance(inner, ast.Assert) for inner in ast.walk(node))


def _calls_of_tests(tree: ast.Module, entry_point: str | None) -> list[ast.stmt]:
    """Calls of the functions that hold tests."""
    import ast

    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    calls = [f"{node.name}()" for node in functions if node.name.startswith("test") and not node.args.args]
    if entry_point and any(node.name == "check" for node in functions):
        calls.append(f"check({entry_point})")
    return [ast.parse(call).body[0] for call in calls]


def _names_from_program(channel: Channel, names: Iterable[str], entry_point: str | None) -> dict[str, Any]:
    """What the tests need of the program, by name. Modules are this process's own; what is not there stays unbound."""
    import importlib

    found = {name: importlib.import_module(name) for name in sorted(names) if name in PRELUDE_MODULES}
    for name in sorted({*names, *([entry_point] if entry_point else [])} - set(found)):
        try:
            reply = reply_to(channel, {"find": name})
        except Exception:
            continue
        found[name] = decode(reply["value"], lambda number: Remote(channel, number))
    return found
