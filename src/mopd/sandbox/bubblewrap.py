"""A sandbox: one bubblewrap process tree with the harness in it, and lines of JSON to and from it.

No network, no file of the host but the interpreter and the system's libraries (read-only), nothing to write to, no
/proc, a process namespace of its own, no capability, never root, and limits on memory, processes, time and output.
Where that cannot be had, code is refused: there is no weaker way to run it.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mopd.core.errors import VerifierError
from mopd.sandbox import seccomp

NOBODY = 65534
"""The user and group of programs, outside (where this process is root) and inside."""

START_LIMIT_S = 60.0
"""Wall time a sandbox may take to start, on a busy machine."""

GRACE_S = 5.0
"""How much later than its program's limit a sandbox may answer."""

HOW = "install bubblewrap 0.8 or newer (`apt-get install bubblewrap`) where user namespaces are allowed"


@dataclass(frozen=True)
class Limits:
    """What one program may use: seconds (where its tests do not say), bytes, and processes with threads."""

    time_s: float = 10.0
    memory_bytes: int = 2**30
    processes: int = 16
    output_bytes: int = 2**20


class SandboxFailure(Exception):
    """A sandbox did not start: no fault of a program, none of which had been sent."""


class Ended(Exception):
    """A sandbox ended, or was ended, while a program was in it. `reason` is `died`, `time` or `output`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Printed:
    """What became of a program: its output, the end of what it wrote to standard error, and how it ended.

    `status` is its exit code, or minus a signal's number; None where it was killed at a limit, `time` or `output`.
    """

    stdout: str
    stderr: str
    status: int | None
    limit: str | None


def wall_s(time_s: float) -> float:
    """Wall time for a program that may use `time_s` of the processor's: other programs run beside it."""
    return 2 * time_s + 1


class Sandbox:
    """A context manager; leaving it kills all that is inside. Not thread-safe.

    Raises SandboxFailure where it does not start.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._inner_pid: int | None = None
        self._buffer = b""

    def __enter__(self) -> Sandbox:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, code: str, stdin: str, time_s: float, output_bytes: int) -> Printed:
        """What a program prints that reads `stdin`, in a process of its own.

        `time_s` is processor time; in wall time it may take `wall_s(time_s)`. Raises Ended where the sandbox ends.
        """
        request = {"do": "run", "code": code, "stdin": stdin, "cpu_s": time_s, "wall_s": wall_s(time_s)}
        self._write(ascii(request | {"output_bytes": output_bytes}).encode())
        deadline = time.monotonic() + wall_s(time_s) + GRACE_S
        status, limit, *lengths = self._read_line(deadline, 1000).decode().split()
        out, err = (self._read(int(length), deadline).decode("utf-8", "replace") for length in lengths)
        return Printed(out, err, None if status == "none" else int(status), None if limit == "none" else limit)

    def begin(self, **request: Any) -> None:
        """Send the request that says what the sandbox is for. Raises Ended where nobody reads it."""
        self._write(ascii(request).encode())

    def send(self, request: dict[str, Any]) -> None:
        """Send one request as JSON. Raises Ended where nobody reads it."""
        self._write(json.dumps(request).encode())

    def receive(self, within_s: float, max_bytes: int) -> dict[str, Any]:
        """The next reply. Raises Ended where there is none in time, it is over `max_bytes`, or it cannot be read."""
        line = self._read_line(time.monotonic() + within_s, max_bytes)
        try:
            reply = json.loads(line)
        except (ValueError, RecursionError):
            raise Ended("output") from None
        if not isinstance(reply, dict):
            raise Ended("output")
        return reply

    def close(self) -> None:
        """Kill all that is inside, and wait until it is gone."""
        process = getattr(self, "_process", None)
        if process is None:
            return
        if process.poll() is None:
            if self._inner_pid is not None:  # the first process inside: its whole namespace dies before bwrap ends
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._inner_pid, signal.SIGKILL)
            else:
                process.kill()
            try:
                process.wait(timeout=10.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            with contextlib.suppress(OSError):
                pipe.close()

    def _start(self) -> None:
        info_read, info_write = os.pipe()
        harness_fd, filter_fd = _readable(_harness()), _readable(seccomp.compiled())
        try:
            self._process = subprocess.Popen(
                _command(self.limits, harness_fd, info_write, filter_fd),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                pass_fds=(harness_fd, info_write, filter_fd),
                env={"PATH": "/usr/bin:/bin"},
                process_group=0,  # an interrupt from the keyboard is for this process alone
                cwd="/",
            )
        except OSError as error:
            os.close(info_read)
            raise SandboxFailure(f"bubblewrap cannot be started: {error.strerror}") from error
        finally:
            for descriptor in (harness_fd, info_write, filter_fd):
                os.close(descriptor)
        with os.fdopen(info_read, "rb") as info:
            self._inner_pid = _inner_pid(info.read())
        try:
            self._read_line(time.monotonic() + START_LIMIT_S, 1000)
        except Ended as ended:
            raise SandboxFailure(f"the sandbox {ended.reason} before it was ready: {self._last_words()}") from None

    def _last_words(self) -> str:
        assert self._process.stderr is not None
        os.set_blocking(self._process.stderr.fileno(), False)
        text = (self._process.stderr.read() or b"").decode("utf-8", "replace").strip()
        return text[-300:] or "it said nothing"

    def _write(self, line: bytes) -> None:
        assert self._process.stdin is not None
        left = memoryview(line + b"\n")
        try:
            while left:
                left = left[self._process.stdin.write(left) :]
        except OSError:
            raise Ended("died") from None

    def _read_line(self, deadline: float, max_bytes: int) -> bytes:
        chunks, length = [self._buffer], len(self._buffer)
        while b"\n" not in chunks[-1]:
            if length > max_bytes:
                raise Ended("output")
            chunks.append(self._read_some(deadline))
            length += len(chunks[-1])
        line, _, self._buffer = b"".join(chunks).partition(b"\n")
        if len(line) > max_bytes:
            raise Ended("output")
        return line

    def _read(self, length: int, deadline: float) -> bytes:
        chunks, found = [self._buffer], len(self._buffer)
        while found < length:
            chunks.append(self._read_some(deadline))
            found += len(chunks[-1])
        data = b"".join(chunks)
        self._buffer = data[length:]
        return data[:length]

    def _read_some(self, deadline: float) -> bytes:
        """What there is to read, at least one byte. Raises Ended where there is none in time, or ever."""
        assert self._process.stdout is not None
        poller = select.poll()
        poller.register(self._process.stdout, select.POLLIN)
        left_s = deadline - time.monotonic()
        if left_s <= 0 or not poller.poll(1000 * left_s):
            raise Ended("time")
        data = os.read(self._process.stdout.fileno(), 2**20)
        if not data:
            raise Ended("died")
        return data


def _inner_pid(info: bytes) -> int | None:
    try:
        return int(json.loads(info)["child-pid"])
    except (ValueError, KeyError):
        return None  # bwrap ended before it had a child


def _readable(data: bytes) -> int:
    """A descriptor that `data` can be read from, once."""
    descriptor = os.memfd_create("sandbox")
    os.write(descriptor, data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


# --- the command ----------------------------------------------------------------------------------------------------


ENVIRONMENT = {
    **{"PATH": "/usr/bin:/bin", "HOME": "/", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"},
    **{"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
}
"""All that programs see of an environment."""


def _command(limits: Limits, harness_fd: int, info_fd: int, filter_fd: int) -> list[str]:
    python, prefixes = _interpreter()
    drop_root = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=-all"]
    return [
        *("choom", "-n", "1000", "--"),  # out of memory, the kernel ends the sandbox first
        *(drop_root if os.geteuid() == 0 else ()),
        *("bwrap", "--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"),
        *("--unshare-cgroup-try", "--disable-userns", "--uid", str(NOBODY), "--gid", str(NOBODY)),
        *("--cap-drop", "ALL", "--new-session", "--die-with-parent", "--as-pid-1", "--hostname", "sandbox"),
        *_system_binds(),
        *(part for prefix in prefixes for part in ("--ro-bind", prefix, prefix)),
        *("--dev-bind", "/dev/null", "/dev/null", "--dev-bind", "/dev/zero", "/dev/zero"),
        *("--dev-bind", "/dev/urandom", "/dev/urandom", "--ro-bind-data", str(harness_fd), HARNESS),
        *("--remount-ro", "/", "--chdir", "/"),
        "--clearenv",
        *(part for name, value in ENVIRONMENT.items() for part in ("--setenv", name, value)),
        *("--info-fd", str(info_fd), "--seccomp", str(filter_fd), "--"),
        *("prlimit", f"--as={limits.memory_bytes}", f"--nproc={limits.processes}", "--fsize=0", "--core=0"),
        *("--nofile=256", "--memlock=0", "--msgqueue=0", "--"),
        *(python, "-s", "-S", "-B", "-X", "utf8", HARNESS),  # not -I, by which Python would not read the hash seed
    ]


def _system_binds() -> list[str]:
    """/usr, read-only, and what of / lies in it or beside it, as this system has it."""
    binds = ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "lib", "lib32", "lib64"):
        path = Path("/") / name
        if path.is_symlink():
            binds += ["--symlink", os.readlink(path), str(path)]
        elif path.is_dir():
            binds += ["--ro-bind", str(path), str(path)]
    return binds


@functools.cache
def _interpreter() -> tuple[str, tuple[str, ...]]:
    """The Python of programs and the folders it needs besides /usr: this process's own, else the system's.

    Where this process is root, programs are not, and may not be able to reach root's Python.
    """
    base = Path(sys.base_prefix)
    own = Path(sysconfig.get_config_var("BINDIR") or base / "bin") / Path(os.path.realpath(sys.executable)).name
    if own.exists() and (os.geteuid() != 0 or _all_can_reach(base)):
        return str(own), () if base.is_relative_to("/usr") else (str(base),)
    system = Path("/usr/bin/python3")
    if system.exists():
        return str(system), ()
    raise SandboxFailure(f"{base} is closed to other users, and there is no {system}: install python3")


def _all_can_reach(path: Path) -> bool:
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents))


HARNESS = "/harness.pyc"
"""Where the harness lies in a sandbox."""

COMPILE = """
import importlib.util, marshal, sys
code = compile(sys.stdin.read(), "<harness>", "exec")
sys.stdout.buffer.write(importlib.util.MAGIC_NUMBER + bytes(12) + marshal.dumps(code))
"""


@functools.cache
def _harness() -> bytes:
    """The harness and the module that it imports, compiled once by the Python that will run them at each start."""
    here, future = Path(__file__).parent, "from __future__ import annotations\n"
    texts = [(here / name).read_text(encoding="utf-8").replace(future, "") for name in ("values.py", "harness.py")]
    source = future + "".join(texts).replace("from mopd.sandbox.values import decode, encode\n", "")
    command = [_interpreter()[0], "-I", "-S", "-c", COMPILE]
    try:
        return subprocess.run(command, input=source.encode(), stdout=subprocess.PIPE, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise SandboxFailure(f"the Python for programs does not work: {error}") from error


# --- this process's limits, and whether it can run code at all --------------------------------------------------------

_limits = Limits()


def configure(limits: Limits) -> None:
    """The limits of this process's sandboxes."""
    global _limits
    _limits = limits


def limits() -> Limits:
    """The limits of this process's sandboxes."""
    return _limits


PROBE = """
import os, socket
def held(attempt):
    try:
        attempt()
    except Exception:
        return True
    return False
def fork_bomb():
    for _ in range(PROCESSES + 1):
        if os.fork() == 0:
            os.read(0, 1)
            os._exit(0)
print(
    os.getuid() != 0,
    held(socket.socket),
    held(lambda: open("/a", "w")),
    held(lambda: open("/tmp/a", "w")),
    held(lambda: os.listdir("/proc/self")),
    held(lambda: os.listdir("/home")),
    held(lambda: bytearray(MEMORY + 1)),
    held(fork_bomb),
)
"""
"""A program that tries what a sandbox must not allow, and says each time whether it was held."""


@functools.cache
def check() -> None:
    """Prove once, with a program that tries to get out, that code can be run safely here.

    Raises VerifierError where it cannot, with what to do.
    """
    must = "code is run in a sandbox that holds, or not at all"
    for tool in ("bwrap", "prlimit", "choom", "setpriv"):
        if shutil.which(tool, path="/usr/bin:/bin") is None:
            raise VerifierError(must, f"no {tool} in /usr/bin", HOW)
    probe = PROBE.replace("PROCESSES", str(_limits.processes)).replace("MEMORY", str(_limits.memory_bytes))
    try:
        with Sandbox(_limits) as sandbox:
            said = sandbox.run(probe, "", 10.0, 1000)
    except (SandboxFailure, Ended, ImportError, OSError) as error:
        raise VerifierError(must, f"it does not work here: {error}", HOW) from error
    if said.stdout.split() != ["True"] * 8:
        raise VerifierError(must, f"it does not hold here: {said.stdout}{said.stderr}".strip(), HOW)
