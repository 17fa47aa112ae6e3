"""Trusted tests that assert: run here one by one, on stand-ins for what the program defines."""

from __future__ import annotations

from .conversation import Conversation
from .crossing import Crossing
from .mirrors import CannotDecide, number_of
from .stand_ins import TESTS, StandIns
from .surroundings import Surroundings

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ast
    from typing import Any

    from .asked_names import AskedNames
    from .channel import Channel


def run_tests(channel: Channel, request: dict[str, Any]) -> dict[str, Any]:
    """{passed, failed, first}: how many units passed and failed, and the first that failed; or {broken: why}.

    Units are top-level statements that assert, functions test_*, and check(entry point), run one by one. `first` has
    the unit's lines, and what the program raised if it failed by that. Tests are broken where they cannot be read, have
    no unit, ask the program nothing, or ask it for what stand-ins cannot do while nothing fails.
    """
    import ast

    from .asked_names import AskedNames

    code, entry_point = request["code"], request["entry_point"]
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return {"broken": type(error).__name__}
    calls = _calls_of_tests(tree, entry_point)
    asserting = _asserting_functions(tree)
    units = [node for node in tree.body if _does_assert(node, asserting)] + calls
    if not units:
        return {"broken": "they assert nothing"}
    names = AskedNames(code, tree, entry_point)
    if not names.builtins_asked(units) and not any(map(names.ask, tree.body + calls)):
        return {"broken": "they ask the program nothing"}
    asserts = [node for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    lines = {line for node in asserts for line in range(node.lineno, (node.end_lineno or 0) + 1)}
    surroundings = Surroundings(tree)
    stand_ins = StandIns(lines, surroundings)
    crossing = Crossing(stand_ins.own, stand_ins.met)
    conversation = Conversation(channel, crossing, stand_ins.answer, surroundings)
    stand_ins.begin(conversation, crossing)
    return _Run(stand_ins, names, units).verdict(tree.body + calls, calls)


class _Run:
    """One run of tests, statement by statement, and what came of it."""

    def __init__(self, stand_ins: StandIns, names: AskedNames, units: list[ast.stmt]) -> None:
        self.stand_ins, self.names, self.units = stand_ins, names, units
        self.scope = _Scope(stand_ins)
        self.passed, self.failed = 0, 0
        self.undecided: list[ast.stmt] = []
        self.first: dict[str, Any] | None = None

    def verdict(self, nodes: list[ast.stmt], calls: list[ast.stmt]) -> dict[str, Any]:
        """Run all statements. What the program defines is bound before each: a stub of the same name is not it."""
        theirs, builtin_names = self._found(self.names.own), self._builtins()
        self.scope.update(self._modules())
        for node in nodes:
            self.scope.update(theirs)
            if not self.names.ask(node):
                self.scope.update(builtin_names)
            else:
                for name in builtin_names:
                    self.scope.pop(name, None)
            broken = self._run(node, None if node in calls else [node.lineno, node.end_lineno])
            if broken:
                return {"broken": broken}
        if self.stand_ins.undecided_because and not self.failed:
            return {"broken": f"they {self.stand_ins.undecided_because}, which tests that run apart from it cannot do"}
        return {"passed": self.passed, "failed": self.failed, "first": self.first}

    def _run(self, node: ast.stmt, lines: Any) -> str:
        """Run a statement; why tests with it cannot be judged, or nothing."""
        import ast

        before = self.stand_ins.undecided_because
        self.stand_ins.begin_unit(
            any(isinstance(part, ast.Name) and part.id == "StopIteration" for part in ast.walk(node))
        )
        raised: BaseException | None = None
        try:
            exec(compile(ast.Module([node], []), f"<{TESTS}>", "exec", dont_inherit=True), self.scope)
        except BaseException as error:
            raised = error
        self.stand_ins.end_unit(raised, drops_value=isinstance(node, ast.Expr))
        if self.stand_ins.undecided_because != before or isinstance(raised, CannotDecide):
            self.undecided.append(node)
            return ""
        if raised is None:
            self.passed += node in self.units
            return ""
        if self.stand_ins.has_lost_replacement() or self.names.needs(node, self.undecided):
            return ""  # it may have failed for that alone
        if isinstance(raised, ImportError) and isinstance(node, (ast.Import, ast.ImportFrom)):
            return str(raised)
        self.failed += 1
        self.first = self.first or {"lines": lines, "raised": self.stand_ins.told_of(raised)}
        return ""

    def _found(self, names: set[str]) -> dict[str, Any]:
        """What the program has of some names; what is not there stays unbound."""
        found = {}
        for name in sorted(names):
            try:
                found[name] = self.stand_ins.ask("find", name)
            except BaseException:
                continue
            number = number_of(found[name])
            if number is not None:
                self.stand_ins.asked_by_name.add(number)
            if type(found[name]).__name__ not in ("Mirror", "function", "builtin_function_or_method"):
                self.scope.live.add(name)
        return found

    def _builtins(self) -> dict[str, Any]:
        """Builtin names that tests are about, as the program has them.

        One that it does not have is no name at all, where the tests ask it for nothing else.
        """
        asked = self.names.builtins_asked(self.units)
        found = self._found(asked)
        if not any(map(self.names.ask, self.units)):
            for name in asked - set(found):
                found[name] = _undefined(name)
        return found

    def _modules(self) -> dict[str, Any]:
        """Modules that tests use without an import: the program's own thing of the name, else Python's."""
        import importlib

        found = {name: importlib.import_module(name) for name in self.names.modules}
        theirs = self._found(self.names.modules)
        return found | {name: thing for name, thing in theirs.items() if type(thing).__name__ != "module"}


class _Scope(dict):  # type: ignore[type-arg]  # where statements are run: Python asks it for their global names
    """The names of the tests. A variable of the program is asked for each time, since the program may set it."""

    def __init__(self, stand_ins: StandIns) -> None:
        super().__init__(__name__=TESTS)
        self._stand_ins = stand_ins
        self.live: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        return self._stand_ins.ask("find", name) if name in self.live else super().__getitem__(name)


def _undefined(name: str) -> Any:
    def undefined(*_: Any, **__: Any) -> Any:
        raise NameError(f"name {name!r} is not defined")

    return undefined


def _does_assert(node: ast.stmt, asserting: set[str]) -> bool:
    """True for a statement that asserts something when it is run, which a definition does not; as `check(f)` may."""
    import ast

    if _called_name(node):
        return _called_name(node) in asserting
    is_definition = isinstance(node, (ast.FunctionDef, ast.ClassDef))
    return not is_definition and any(isinstance(inner, ast.Assert) for inner in ast.walk(node))


def _called_name(node: ast.stmt) -> str | None:
    """The name that a statement calls, if that is all it does."""
    import ast

    call = node.value if isinstance(node, ast.Expr) else None
    return call.func.id if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) else None


def _asserting_functions(tree: ast.Module) -> set[str]:
    """The tests' own functions that assert."""
    import ast

    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return {node.name for node in functions if any(isinstance(inner, ast.Assert) for inner in ast.walk(node))}


def _calls_of_tests(tree: ast.Module, entry_point: str | None) -> list[ast.stmt]:
    """Calls of the functions that hold tests."""
    import ast

    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    called = {_called_name(node) for node in tree.body}
    functions = [node for node in functions if node.name not in called]
    calls = [f"{node.name}()" for node in functions if node.name.startswith("test") and not node.args.args]
    if entry_point and any(node.name == "check" for node in functions):
        calls.append(f"check({entry_point})")
    return [ast.parse(call).body[0] for call in calls]
