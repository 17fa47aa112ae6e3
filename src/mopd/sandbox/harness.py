"""What runs inside a sandbox, as its first process, compiled together with `values`.

The first request is a Python literal in one line; it says what to do.

- {do: "run", code, stdin, wall_s, cpu_s, output_bytes}: the program in a fresh process. The reply is a line with its
  status, the limit that ended it and how many bytes it printed and complained, and then these bytes. Every process
  in the sandbox but this one is killed, and further such requests may follow.
- {do: "serve", code, cpu_s}: the program in a fresh process, which from then on answers requests itself, in lines of
  JSON: {call: name or handle, args, kwargs}, {get: handle, name}, {find: name}. Replies are {value, args} or {raised}.
- {do: "test", code, entry_point}: trusted tests, run here, whose calls go out as such requests and whose verdict is
  the last reply. Nothing that was written by a model is ever run in this process.

No expected output is ever sent to a program, so there is nothing to be forged: a program can only answer. As first
process of its namespace the harness cannot be signalled from within. It needs no newer Python than 3.9, and imports
what takes long to import only where it is needed: `json` alone takes half as long as the interpreter itself.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # `signal` imports `enum`
import os
import resource
import select
import sys
import time

from mopd.sandbox.values import decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ast
    from collections.abc import Callable, Iterable
    from types import ModuleType
    from typing import Any

FILE = "<completion>"
"""The file name of a program in tracebacks."""

STDERR_BYTES = 8192
SOLUTION_CLASS = "Solution"


class Channel:
    """Lines from and to the outside, on descriptors that programs which are run do not inherit."""

    def __init__(self) -> None:
        self.reading = os.fdopen(os.dup(0), "rb")
        self.writing = os.dup(1)
        nothing = os.open("/dev/null", os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nothing, descriptor)
        os.close(nothing)

    def first_request(self) -> Any:
        """The literal in the next line; None where there is none."""
        line = self.reading.readline()
        return eval(line, {"__builtins__": {}}) if line else None

    def receive(self) -> Any:
        """The next line's JSON; None where there is none."""
        import json

        line = self.reading.readline()
        return json.loads(line) if line else None

    def send(self, reply: dict[str, Any]) -> None:
        """Write one line of JSON."""
        import json

        self.write(json.dumps(reply).encode() + b"\n")

    def write(self, data: bytes) -> None:
        """Write all of it."""
        left = memoryview(data)
        while left:
            left = left[os.write(self.writing, left) :]

    def close(self) -> None:
        """Give both descriptors up."""
        self.reading.close()
        os.close(self.writing)


def main() -> None:
    """Do what is asked until standard input closes."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # without a handler, no signal from within reaches a first process
    channel = Channel()
    channel.write(b"ready\n")
    while request := channel.first_request():
        if request["do"] == "run":
            if run(channel, request) == "the program":
                return
        elif request["do"] == "test":
            channel.send({"verdict": run_tests(channel, request)})
        else:
            child = os.fork()
            if child == 0:
                serve(channel, request)
                os._exit(0)
            channel.close()
            os.waitpid(child, 0)
            return


# --- programs that read standard input and print --------------------------------------------------------------------


def run(channel: Channel, request: dict[str, Any]) -> str:
    """Run a program and write its outcome. Returns twice: as "the harness", and as "the program" in its process."""
    (stdin_read, stdin_write), (out_read, out_write), (err_read, err_write) = os.pipe(), os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        channel.close()
        for descriptor, end in enumerate((stdin_read, out_write, err_write)):
            os.dup2(end, descriptor)
        os.closerange(3, 256)
        _limit(request["cpu_s"])
        _be_main(request["code"])
        return "the program"
    for end in (stdin_read, out_write, err_write):
        os.close(end)
    pump = _Pump(child, request, {stdin_write, out_read, err_read})
    limit = pump.run(stdin_write, out_read, err_read, time.monotonic() + request["wall_s"])
    _kill_all()
    if pump.status == -signal.SIGXCPU:
        limit = "time"
    status = "none" if pump.status is None else pump.status
    channel.write(f"{status} {limit or 'none'} {len(pump.out)} {len(pump.err)}\n".encode())
    channel.write(bytes(pump.out))
    channel.write(bytes(pump.err))
    return "the harness"


class _Pump:
    """Moves bytes between a program and this process until the program has ended, whoever else holds its pipes."""

    def __init__(self, child: int, request: dict[str, Any], ends: set[int]) -> None:
        self.child, self.output_bytes, self.ends = child, request["output_bytes"], ends
        self.left = memoryview(request["stdin"].encode("utf-8", "surrogatepass"))
        self.out, self.err = bytearray(), bytearray()
        self.status: int | None = None
        self.poll = select.poll()

    def run(self, stdin: int, out: int, err: int, deadline: float) -> str | None:
        """The limit that ended it, `time` or `output`, or None."""
        os.set_blocking(stdin, False)
        for end, event in ((stdin, select.POLLOUT), (out, select.POLLIN), (err, select.POLLIN)):
            self.poll.register(end, event)
        try:
            while True:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    return "time"
                self._look_for_end()
                patience_s = 0.0 if self.status is not None else 0.02 if out in self.ends else 0.001
                ready = self.poll.poll(1000 * min(left_s, patience_s))
                if not ready and self.status is not None:
                    return None
                for end, event in ready:
                    self._write(end, event) if end == stdin else self._read(end, self.out if end == out else self.err)
                del self.err[:-STDERR_BYTES]
                if len(self.out) > self.output_bytes:
                    del self.out[self.output_bytes :]
                    return "output"
        finally:
            for end in self.ends:
                os.close(end)

    def _look_for_end(self) -> None:
        if self.status is None:
            done, status = os.waitpid(self.child, os.WNOHANG)
            if done:
                self.status = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)

    def _write(self, end: int, event: int) -> None:
        try:
            self.left = self.left[os.write(end, self.left[:65536]) :] if event & select.POLLOUT else self.left[:0]
        except BrokenPipeError:
            self.left = self.left[:0]
        if not self.left:
            self._close(end)

    def _read(self, end: int, into: bytearray) -> None:
        data = os.read(end, 65536)
        into += data
        if not data:
            self._close(end)

    def _close(self, end: int) -> None:
        self.poll.unregister(end)
        self.ends.discard(end)
        os.close(end)


def _kill_all() -> None:
    """Kill every process but this one, and leave nothing of them."""
    try:
        os.kill(-1, signal.SIGKILL)
    except ProcessLookupError:
        return
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        return


def _limit(cpu_s: float) -> None:
    seconds = int(cpu_s) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def _be_main(code: str) -> None:
    """Become the program: its module is __main__, and it ends as an interpreter ends."""
    module = _module("__main__")
    sys.argv = [FILE]
    try:
        exec(compile(code, FILE, "exec"), module.__dict__)
    except SystemExit:
        raise
    except BaseException as error:
        frames = error.__traceback__.tb_next if error.__traceback__ else None  # without this module's own
        sys.excepthook(type(error), error.with_traceback(frames), frames)
        sys.exit(1)


def _module(name: str) -> ModuleType:
    sys.modules[name] = made = type(sys)(name)
    return made


# --- programs that answer calls -------------------------------------------------------------------------------------


def serve(channel: Channel, request: dict[str, Any]) -> None:
    """Load a program and answer calls of what it defines. This process is the program's own from here on."""
    _limit(request["cpu_s"])
    objects: list[Any] = []

    def keep(thing: Any) -> int:
        objects.append(thing)
        return len(objects) - 1

    module = _module("solution")
    try:
        code = request["code"]
        module.__dict__.update(_prelude(code))
        exec(compile(code, FILE, "exec"), module.__dict__)
        reply = {"value": None}
    except BaseException as error:
        reply = _raised(error)
    while True:
        channel.send(reply)
        asked = channel.receive()
        if asked is None:
            return
        try:
            reply = _answer(asked, module, objects, keep)
        except BaseException as error:
            reply = _raised(error)


def _answer(
    asked: dict[str, Any], module: ModuleType, objects: list[Any], keep: Callable[[Any], int]
) -> dict[str, Any]:
    if "find" in asked:
        return {"value": encode(_find(module, asked["find"]), keep)}
    if "get" in asked:
        return {"value": encode(getattr(objects[asked["get"]], asked["name"]), keep)}
    target = asked["call"]
    function = objects[target] if isinstance(target, int) else _find(module, target)
    args = decode(asked["args"], objects.__getitem__)
    kwargs = {name: decode(value, objects.__getitem__) for name, value in asked.get("kwargs", {}).items()}
    value = function(*args, **kwargs)
    if isinstance(value, (type(_ for _ in ()), range, map, filter, zip)):
        value = list(value)
    return {"value": encode(value, keep), "args": [encode(arg, keep) for arg in args]}


def _find(module: ModuleType, name: str) -> Any:
    """What a program calls `name`: in its module, else a method of its class Solution."""
    if name in module.__dict__:
        return module.__dict__[name]
    if SOLUTION_CLASS in module.__dict__:
        return getattr(module.__dict__[SOLUTION_CLASS](), name)
    raise NameError(f"name {name!r} is not defined")


def _raised(error: BaseException) -> dict[str, Any]:
    import traceback

    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == FILE]
    line = lines[-1] if lines else getattr(error, "lineno", None)
    try:
        message = str(error)[:2000]
    except BaseException:
        message = ""
    return {"raised": type(error).__name__, "message": message, "line": line if isinstance(line, int) else None}


PRELUDE_MODULES = (
    *("typing", "collections", "math", "heapq", "bisect", "itertools", "functools", "string", "operator"),
    *("re", "random", "datetime", "copy", "queue", "statistics", "fractions", "decimal"),
)
"""Where names come from that a solution uses without an import, as the sites that pose such problems allow."""


def _prelude(code: str) -> dict[str, Any]:
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


# --- tests ----------------------------------------------------------------------------------------------------------


class ProgramRaised(Exception):
    """The program raised something that tests cannot catch by name."""


class Remote:
    """Something of the program's that stayed with it. Compared, it is equal to itself alone."""

    def __init__(self, channel: Channel, number: int) -> None:
        self._channel, self._number = channel, number

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it, where it is. What it does to a list, dict or set among its arguments is done to the test's own."""
        sent = [encode(arg, _handle_of) for arg in args]
        named = {name: encode(value, _handle_of) for name, value in kwargs.items()}
        reply = _ask(self._channel, {"call": self._number, "args": sent, "kwargs": named})
        for index, after in enumerate(reply.get("args", sent)):
            if sent[index] != after:
                _mutate(args[index], self._decode(after))
        return self._decode(reply["value"])

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self._decode(_ask(self._channel, {"get": self._number, "name": name})["value"])

    def _decode(self, value: Any) -> Any:
        return decode(value, lambda number: Remote(self._channel, number))


def _handle_of(value: Any) -> int:
    if isinstance(value, Remote):
        return value._number
    raise TypeError(f"a test passes {type(value).__name__} to the program, which cannot cross to it")


def _mutate(mine: Any, after: Any) -> None:
    """What the program did to an argument, done to the test's own."""
    if type(mine) is not type(after):
        return
    if isinstance(mine, list):
        mine[:] = after
    elif isinstance(mine, (dict, set)):
        mine.clear()
        mine.update(after)


def _ask(channel: Channel, request: dict[str, Any]) -> dict[str, Any]:
    channel.send(request)
    reply: dict[str, Any] | None = channel.receive()
    if reply is None:
        raise SystemExit
    if "raised" in reply:
        raise _exception(reply["raised"], reply["message"])
    return reply


def _exception(name: str, text: str) -> Exception:
    """What tests catch by name, where it is built in and made of one text."""
    import builtins

    kind = getattr(builtins, name, None)
    try:
        return kind(text) if isinstance(kind, type) and issubclass(kind, Exception) else ProgramRaised(name, text)
    except TypeError:
        return ProgramRaised(name, text)


def run_tests(channel: Channel, request: dict[str, Any]) -> dict[str, Any]:
    """{passed, failed, first}: top-level statements that assert, functions test_*, check(entry point), one by one.

    `first` is the first that failed: its lines, and what was raised there.
    """
    import ast

    try:
        tree = ast.parse(request["code"])
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return {"broken": type(error).__name__}
    units = _test_calls(tree, request["entry_point"])
    if not units and not any(_asserts(node) for node in tree.body):
        return {"broken": "no assert"}
    theirs = _from_program(channel, free_names(request["code"]), request["entry_point"])
    scope: dict[str, Any] = {"__name__": "tests"}
    passed, failed, first = 0, 0, None
    for node in tree.body + units:
        scope.update(theirs)  # a stub of the same name, as prompts have it, is not the program
        try:
            exec(compile(ast.Module([node], []), "<tests>", "exec"), scope)
            passed += node in units or _asserts(node)
        except Exception as error:
            failed += 1
            lines = None if node in units else [node.lineno, node.end_lineno]
            first = first or {"lines": lines, "raised": type(error).__name__, "message": str(error)[:2000]}
    return {"passed": passed, "failed": failed, "first": first}


def _asserts(node: ast.stmt) -> bool:
    """True for a statement that asserts something when it is run, which a definition does not."""
    import ast

    is_definition = isinstance(node, (ast.FunctionDef, ast.ClassDef))
    return not is_definition and any(isinstance(inner, ast.Assert) for inner in ast.walk(node))


def _test_calls(tree: ast.Module, entry_point: str | None) -> list[ast.stmt]:
    """Calls of the functions that hold tests."""
    import ast

    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    calls = [f"{node.name}()" for node in functions if node.name.startswith("test") and not node.args.args]
    if entry_point and any(node.name == "check" for node in functions):
        calls.append(f"check({entry_point})")
    return [ast.parse(call).body[0] for call in calls]


def _from_program(channel: Channel, names: Iterable[str], entry_point: str | None) -> dict[str, Any]:
    """What the tests need of the program, by name. Modules are this process's own; what is not there stays unbound."""
    import importlib

    found = {name: importlib.import_module(name) for name in sorted(names) if name in PRELUDE_MODULES}
    for name in sorted({*names, *([entry_point] if entry_point else [])} - set(found)):
        try:
            reply = _ask(channel, {"find": name})
        except Exception:
            continue
        found[name] = decode(reply["value"], lambda number: Remote(channel, number))
    return found


if __name__ == "__main__":
    main()
