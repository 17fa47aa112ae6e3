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
        self._write(ascii(request | {"output_bytes": output_bytes}).encode())
        deadline = time.monotonic() + wall_s(time_s) + GRACE_S
        status, limit, *lengths = self._line(deadline, 1000).decode().split()
        out, err = (self._bytes(int(length), deadline).decode("utf-8", "replace") for length in lengths)
        return Printed(out, err, None if status == "none" else int(status), None if limit == "none" else limit)

    def begin(self, **request: Any) -> None:
        """Send the request that says what the sandbox is for. Raises Ended where nobody reads it."""
        self._write(ascii(request).encode())

    def send(self, request: dict[str, Any]) -> None:
        """Send one request as JSON. Raises Ended where nobody reads it."""
        self._write(json.dumps(request).encode())

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
        info_read, info_write = os.pipe()
        archive_fd, filter_fd = _readable(archive.packed()), _readable(seccomp.compiled())
        try:
            self._process = subprocess.Popen(
                bubblewrap.command(self.limits, archive_fd, info_write, filter_fd),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                pass_fds=(archive_fd, info_write, filter_fd),
                env={"PATH": "/usr/bin:/bin"},
                process_group=0,  # an interrupt from the keyboard is for this process alone
                cwd="/",
            )
        except OSError as error:
            os.close(info_read)
            raise SandboxFailure(f"bubblewrap cannot be started: {error.strerror}") from error
        finally:
            for descriptor in (archive_fd, info_write, filter_fd):
                os.close(descriptor)
        with os.fdopen(info_read, "rb") as info:
            self._inner_pid = _inner_pid(info.read())
        try:
            self._line(time.monotonic() + START_LIMIT_S, 1000)
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
