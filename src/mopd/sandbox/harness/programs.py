"""Programs that read standard input and print: each in a fresh process, which is killed at its limits."""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # `signal` imports `enum`
import builtins
import os
import resource
import select
import sys
import time

from .descriptors import serve_descriptors
from .names import implied

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from .channel import Channel

FILE = "<completion>"
"""The file name of a program in tracebacks."""

RECURSION_LIMIT = 50_000
"""How deep a program may recurse: as LiveCodeBench's grader sets it, since solutions search graphs by recursion."""

STACK_BYTES = 2**26
"""How far the main thread's stack may grow, for recursion that goes through C; threads keep theirs of 8 MiB."""

STDERR_BYTES = 8192
"""How much is kept of the end of what a program writes to standard error."""


def run(channel: Channel, request: dict[str, Any]) -> str:
    """Run a program and write its outcome. Returns twice: "the harness", and in the program's process "the program"."""
    (stdin_read, stdin_write), (out_read, out_write), (err_read, err_write) = os.pipe(), os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        channel.close()
        for descriptor, end in enumerate((stdin_read, out_write, err_write)):
            os.dup2(end, descriptor)
        os.closerange(3, 256)
        limit_this_process(request["cpu_s"])
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
                self._look_for_the_end()
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

    def _look_for_the_end(self) -> None:
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


def limit_this_process(cpu_s: float) -> None:
    """Bound the processor time of this process, and give signals the handlers that programs expect."""
    seconds = int(cpu_s) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    most = resource.getrlimit(resource.RLIMIT_STACK)[1]
    if most == resource.RLIM_INFINITY or most >= STACK_BYTES:
        resource.setrlimit(resource.RLIMIT_STACK, (STACK_BYTES, most))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def load(code: str, name: str) -> ModuleType:
    """Run a program's code as the module `name`, as judges that start Python run it. Raises what it raises.

    What it uses of Python's modules without an import is builtin to it, and not its own: nobody finds it in its module.
    """
    module = sys.modules[name] = type(sys)(name)
    compiled = compile(code, FILE, "exec", dont_inherit=True)  # or this module's future statements would be its own
    vars(builtins).update(implied(code), exit=sys.exit, quit=sys.exit)
    serve_descriptors()
    sys.setrecursionlimit(RECURSION_LIMIT)
    exec(compiled, module.__dict__)
    return module


def _be_main(code: str) -> None:
    """Become the program: its module is __main__, and an error ends it as an error ends an interpreter."""
    sys.argv = [FILE]
    try:
        load(code, "__main__")
    except SystemExit:
        raise
    except BaseException as error:
        trace = error.__traceback__
        while trace and trace.tb_frame.f_code.co_filename != FILE:  # without this module's own frames
            trace = trace.tb_next
        sys.excepthook(type(error), error.with_traceback(trace), trace)
        sys.exit(1)
