"""Worker processes for graders that may hang, crash or eat memory.

Each worker is a process that runs the module `worker`: one JSON request a line in, one JSON reply a line out. The
time limit is kept by the parent, which kills the worker and starts another, so it holds in every thread and inside C
code. A plain subprocess instead of multiprocessing: it never imports the user's `__main__`. A worker does not outlive
its parent: it ends when its standard input closes or it has another parent, and inside C code by the kernel's alarm
at its time limit.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import queue
import select
import signal
import subprocess
import sys
import threading
import time
from typing import Any

WORKER = f"{__package__}.worker"
"""The module that worker processes run."""

START_LIMIT_S = 120.0
"""Wall time a worker may take to start, and to import the libraries of one grader."""


class GraderFailure(Exception):
    """The grader itself failed: it raised, died, or ran over its time limit. The verdict is then `error`.

    The text is this package's own; `said` is what the failing grader said, which may quote the reference answer.
    """

    def __init__(self, text: str, said: str = "") -> None:
        super().__init__(text)
        self.said = said


class Worker:
    """One worker process, started when first needed. Not thread-safe; the pool lends it to one thread at a time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._prepared: set[str] = set()

    def grade(self, grader: str, task: dict[str, Any], time_limit_s: float) -> Any:
        """What the module `grader` makes of a task. Raises GraderFailure; the next call starts afresh if it must."""
        name = grader.rpartition(".")[2]
        try:
            if self._process is None or self._process.poll() is not None:
                self._start()
            if grader not in self._prepared:  # importing libraries is not a task's time
                self._exchange({"grader": grader, "task": None, "limit_s": START_LIMIT_S})
                self._prepared.add(grader)
            reply = self._exchange({"grader": grader, "task": task, "limit_s": time_limit_s})
        except (OSError, ValueError) as error:
            self.end()
            raise GraderFailure(f"the grader {name} {error}") from error
        except BaseException:  # interrupted: a late reply must not meet the next task
            self.end()
            raise
        if reply.get("is_spent"):
            self.end()
        if "error" in reply:
            raise GraderFailure(f"the grader {name} raised {reply['error']}", reply["said"])
        return reply["result"]

    def _start(self) -> None:
        self.end()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-W", "ignore", "-m", WORKER, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=_environment(),
            process_group=0,  # an interrupt from the keyboard is for the parent alone
        )
        assert self._process.stdin is not None
        os.set_blocking(self._process.stdin.fileno(), False)
        self._read_line(time.monotonic() + START_LIMIT_S)

    def _exchange(self, request: dict[str, Any]) -> dict[str, Any]:
        """The reply to one request. Raises OSError where the worker dies or is late."""
        deadline = time.monotonic() + request["limit_s"]
        try:
            self._write(json.dumps(request).encode() + b"\n", deadline)
            reply: dict[str, Any] = json.loads(self._read_line(deadline))
        except TimeoutError:
            raise TimeoutError(f"ran over its time limit of {request['limit_s']:g} s") from None
        return reply

    def _write(self, data: bytes, deadline: float) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        left = memoryview(data)
        while left:
            _wait_for(self._process.stdin.fileno(), select.POLLOUT, deadline)
            try:
                left = left[os.write(self._process.stdin.fileno(), left) :]
            except BrokenPipeError:
                raise OSError(f"died {self._cause_of_death()}") from None

    def _read_line(self, deadline: float) -> bytes:
        assert self._process is not None
        assert self._process.stdout is not None
        chunks: list[bytes] = []  # a worker writes one line a request and nothing behind it
        while not (chunks and chunks[-1].endswith(b"\n")):
            _wait_for(self._process.stdout.fileno(), select.POLLIN, deadline)
            chunks.append(os.read(self._process.stdout.fileno(), 2**20))
            if not chunks[-1]:
                raise OSError(f"died {self._cause_of_death()}")
        return b"".join(chunks)

    def _cause_of_death(self) -> str:
        assert self._process is not None
        try:
            code = self._process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            return "without a cause to be seen"
        return f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"

    def kill(self) -> None:
        """Kill the process, if there is one; the thread that uses it sees it die. Safe from any thread."""
        process = self._process
        if process is not None:
            process.kill()

    def end(self) -> None:
        """Kill the process, if there is one, and leave nothing of it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
        self._process, self._prepared = None, set()


def _wait_for(descriptor: int, event: int, deadline: float) -> None:
    """Returns when the descriptor is ready or hung up; raises TimeoutError. (`select` refuses numbers over 1023.)"""
    poller = select.poll()
    poller.register(descriptor, event)
    left_s = deadline - time.monotonic()
    if left_s <= 0 or not poller.poll(left_s * 1000):
        raise TimeoutError("is late")


def _environment() -> dict[str, str]:
    """The worker's environment: it finds the modules its parent finds, computes on one thread, always hashes alike."""
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path),
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }


class Pool:
    """Lends up to `size` workers to threads; workers start when first needed. `time_limit_s` is for one task."""

    def __init__(self, size: int, time_limit_s: float) -> None:
        self.size, self.time_limit_s = size, time_limit_s
        self._is_closed = False
        self._workers = [Worker() for _ in range(size)]
        self._idle: queue.LifoQueue[Worker] = queue.LifoQueue()
        self._put_back(self._workers)

    def grade(self, grader: str, task: dict[str, Any], time_limit_s: float | None = None) -> Any:
        """What the module `grader` makes of a task. Blocks while all workers are busy. Raises GraderFailure."""
        worker = self._idle.get()
        try:
            if self._is_closed:
                raise GraderFailure("the pool of graders is closed")
            return worker.grade(grader, task, self.time_limit_s if time_limit_s is None else time_limit_s)
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        """End all workers. Tasks under way fail, and so do later ones."""
        self._is_closed = True
        for worker in self._workers:
            worker.kill()
        returned = [self._idle.get() for _ in self._workers]  # a lent worker comes back as soon as it is dead
        for worker in returned:
            worker.end()
        self._put_back(returned)

    def _put_back(self, workers: list[Worker]) -> None:
        for worker in workers:
            self._idle.put(worker)


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


def grade(grader: str, task: dict[str, Any], time_limit_s: float | None = None) -> Any:
    """What a grader makes of a task in the process's pool (2 workers, 10 s, unless configured). Raises GraderFailure.

    `grader` names a module that workers can import, with the functions of `worker.Grader`. `time_limit_s`, where given,
    holds instead of the pool's.
    """
    return (_pool or configure(2, 10.0)).grade(grader, task, time_limit_s)


def pool_size() -> int:
    """How many tasks can run at once."""
    return _pool.size if _pool is not None else 2


@atexit.register
def _close_at_exit() -> None:
    if _pool is not None:
        _pool.close()


def _forget_in_fork() -> None:
    """A forked child starts workers of its own; its parent's are not its to speak to or to end."""
    global _pool, _lock
    _pool, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget_in_fork)
