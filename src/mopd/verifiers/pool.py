"""Worker processes for graders that may hang, crash or eat memory.

Each worker is `python -m mopd.verifiers.worker`: one JSON task a line in, one JSON reply a line out. The time limit is
kept by the parent, which kills the worker and starts another, so it holds in every thread and inside C code. A plain
subprocess instead of multiprocessing: it never imports the user's `__main__`.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import queue
import select
import subprocess
import sys
import threading
import time
from typing import Any

START_LIMIT_S = 120.0
"""Wall time a worker may take to start and import its libraries."""


class GraderFailure(Exception):
    """The grader itself failed: it raised, died, or ran over its time limit. The verdict is then `error`."""


class Worker:
    """One worker process. Not thread-safe; the pool lends it to one thread at a time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._buffer = b""

    def grade(self, kind: str, task: dict[str, Any], time_limit_s: float) -> Any:
        """The worker's result. Raises GraderFailure."""
        if self._process is None or self._process.poll() is not None:
            self._start()
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"kind": kind, "task": task}).encode() + b"\n")
            self._process.stdin.flush()
            reply = json.loads(self._read_line(time_limit_s))
        except (OSError, ValueError, TimeoutError) as error:
            self.close()
            raise GraderFailure(f"the {kind} grader {error}") from error
        if "error" in reply:
            raise GraderFailure(f"the {kind} grader raised {reply['error']}")
        return reply["result"]

    def _start(self) -> None:
        self.close()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mopd.verifiers.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        self._buffer = b""
        try:
            self._read_line(START_LIMIT_S)
        except (OSError, TimeoutError) as error:
            self.close()
            raise GraderFailure(f"did not start: {error}") from error

    def _read_line(self, limit_s: float) -> bytes:
        assert self._process is not None and self._process.stdout is not None
        deadline = time.monotonic() + limit_s
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
                raise TimeoutError(f"ran over its time limit of {limit_s:g} s")
            chunk = self._process.stdout.read(65536)
            if not chunk:
                raise OSError("died")
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def close(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
            self._process = None


class Pool:
    """Lends up to `size` workers to threads; workers start when first needed."""

    def __init__(self, size: int, time_limit_s: float) -> None:
        self.size, self.time_limit_s = size, time_limit_s
        self._idle: queue.LifoQueue[Worker] = queue.LifoQueue()
        self._workers = [Worker() for _ in range(size)]
        for worker in self._workers:
            self._idle.put(worker)

    def grade(self, kind: str, task: dict[str, Any]) -> Any:
        """The result of one task. Blocks while all workers are busy. Raises GraderFailure."""
        worker = self._idle.get()
        try:
            return worker.grade(kind, task, self.time_limit_s)
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        """End all workers."""
        for worker in self._workers:
            worker.close()


_lock = threading.Lock()
_pool: Pool | None = None


def configure(workers: int, time_limit_s: float) -> Pool:
    """The process's one pool, remade if its size or limit changes."""
    global _pool
    with _lock:
        if _pool is None or (_pool.size, _pool.time_limit_s) != (workers, time_limit_s):
            if _pool is not None:
                _pool.close()
            _pool = Pool(workers, time_limit_s)
        return _pool


def grade(kind: str, task: dict[str, Any]) -> Any:
    """The result of one task in the process's pool (2 workers, 10 s, unless configured). Raises GraderFailure."""
    return (_pool or configure(2, 10.0)).grade(kind, task)


def pool_size() -> int:
    """How many tasks can run at once."""
    return _pool.size if _pool is not None else 2


@atexit.register
def _close_at_exit() -> None:
    if _pool is not None:
        _pool.close()
