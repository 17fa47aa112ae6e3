"""A sandbox that runs: one bubblewrap process tree with the harness in it, and the lines to and from it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import Any

from mopd.sandbox import archive, bubblewrap, seccomp
from mopd.sandbox.bounds import Limits, wall_s
from mopd.sandbox.failures import Ended, SandboxFailure

START_LIMIT_S = 60.0
"""Wall time a sandbox may take to start, on a busy machine."""

GRACE_S = 5.0
"""How much later than its program's limit a sandbox may answer."""


@dataclass(frozen=True)
class Printed:
    """What became of a program: its output, the end of what it wrote to standard error, and how it ended.

    `status` is its exit code, or minus a signal's number; None where it was killed at a limit, `time` or `output`.
    """

    stdout: str
    stderr: str
    status: int | None
    limit: str | None


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
        deadline = time.monotonic() + wall_s(time_s) + GRACE_S
        self._write(ascii(request | {"output_bytes": output_bytes}).encode(), deadline)
        status, limit, *lengths = self._line(deadline, 1000).decode().split()
        out, err = (self._bytes(int(length), deadline).decode("utf-8", "replace") for length in lengths)
        return Printed(out, err, None if status == "none" else int(status), None if limit == "none" else limit)

    def begin(self, within_s: float, **request: Any) -> None:
        """Send the request that says what the sandbox is for. Raises Ended where nobody reads it in time."""
        self._write(ascii(request).encode(), time.monotonic() + within_s)

    def send(self, request: dict[str, Any], within_s: float) -> None:
        """Send one request as JSON. Raises Ended where nobody reads it in time."""
        self._write(json.dumps(request).encode(), time.monotonic() + within_s)

    def receive(self, within_s: float, max_bytes: int) -> dict[str, Any]:
        """The next reply. Raises Ended where there is none in time, it is over `max_bytes`, or it cannot be read."""
        line = self._line(time.monotonic() + within_s, max_bytes)
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
        deadline = time.monotonic() + START_LIMIT_S
        with contextlib.ExitStack() as given, contextlib.ExitStack() as kept:
            info_read, info_write = os.pipe()
            kept.callback(os.close, info_read)
            given.callback(os.close, info_write)
            descriptors = [info_write]
            for data in (archive.packed(), seccomp.compiled()):
                descriptors.append(_readable(data))
                given.callback(os.close, descriptors[-1])
            self._process = self._started(*descriptors)
            given.close()  # or the end of what bubblewrap says here would never be seen
            self._inner_pid = _inner_pid(_all_bytes(info_read, deadline))
        assert self._process.stdin is not None
        os.set_blocking(self._process.stdin.fileno(), False)
        try:
            self._line(deadline, 1000)
        except Ended as ended:
            raise SandboxFailure(f"the sandbox {ended.reason} before it was ready: {self._last_words()}") from None

    def _started(self, info_fd: int, archive_fd: int, filter_fd: int) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                bubblewrap.command(self.limits, archive_fd, info_fd, filter_fd),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                pass_fds=(archive_fd, info_fd, filter_fd),
                env={"PATH": "/usr/bin:/bin"},
                process_group=0,  # an interrupt from the keyboard is for this process alone
                cwd="/",
            )
        except OSError as error:
            raise SandboxFailure(f"bubblewrap cannot be started: {error.strerror}") from error

    def _last_words(self) -> str:
        assert self._process.stderr is not None
        os.set_blocking(self._process.stderr.fileno(), False)
        text = (self._process.stderr.read() or b"").decode("utf-8", "replace").strip()
        return text[-300:] or "it said nothing"

    def _write(self, line: bytes, deadline: float) -> None:
        """Write a line. A pipe holds little, and a program need not read: so every write has a deadline."""
        assert self._process.stdin is not None
        left = memoryview(line + b"\n")
        try:
            while left:
                _wait_for(self._process.stdin.fileno(), select.POLLOUT, deadline)
                with contextlib.suppress(BlockingIOError):
                    left = left[os.write(self._process.stdin.fileno(), left) :]
        except OSError:
            raise Ended("died") from None

    def _line(self, deadline: float, max_bytes: int) -> bytes:
        chunks, length = [self._buffer], len(self._buffer)
        while b"\n" not in chunks[-1]:
            if length > max_bytes:
                raise Ended("output")
            chunks.append(self._some_bytes(deadline))
            length += len(chunks[-1])
        line, _, self._buffer = b"".join(chunks).partition(b"\n")
        if len(line) > max_bytes:
            raise Ended("output")
        return line

    def _bytes(self, length: int, deadline: float) -> bytes:
        chunks, found = [self._buffer], len(self._buffer)
        while found < length:
            chunks.append(self._some_bytes(deadline))
            found += len(chunks[-1])
        data = b"".join(chunks)
        self._buffer = data[length:]
        return data[:length]

    def _some_bytes(self, deadline: float) -> bytes:
        """What there is to read, at least one byte. Raises Ended where there is none in time, or ever."""
        assert self._process.stdout is not None
        _wait_for(self._process.stdout.fileno(), select.POLLIN, deadline)
        data = os.read(self._process.stdout.fileno(), 2**20)
        if not data:
            raise Ended("died")
        return data


def _wait_for(descriptor: int, event: int, deadline: float) -> None:
    """Wait until a pipe is ready, or its other end is gone. Raises Ended at the deadline."""
    poller = select.poll()
    poller.register(descriptor, event)
    left_s = deadline - time.monotonic()
    if left_s <= 0 or not poller.poll(1000 * left_s):
        raise Ended("time")


def _all_bytes(descriptor: int, deadline: float) -> bytes:
    """All that is written to a pipe until its other end is closed. Raises SandboxFailure at the deadline."""
    chunks: list[bytes] = []
    while not chunks or chunks[-1]:
        try:
            _wait_for(descriptor, select.POLLIN, deadline)
        except Ended:
            raise SandboxFailure("bubblewrap did not say in time what it started") from None
        chunks.append(os.read(descriptor, 65536))
    return b"".join(chunks)


def _inner_pid(info: bytes) -> int | None:
    try:
        return int(json.loads(info)["child-pid"])
    except (ValueError, KeyError):
        return None  # bwrap ended before it had a child


def _readable(data: bytes) -> int:
    """A descriptor that `data` can be read from, once."""
    descriptor = os.memfd_create("sandbox")
    try:
        os.write(descriptor, data)
        os.lseek(descriptor, 0, os.SEEK_SET)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
