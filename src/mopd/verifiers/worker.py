"""The worker process of `pool`: reads JSON requests from standard input, writes JSON replies to standard output.

A request is {grader, task, limit_s}: the name of a module with the functions of `Grader`; without a task it asks to
prepare. A reply is {result} or {error, said}, with `is_spent` where the parent should start a fresh worker.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import Any, Protocol, cast

MEMORY_LIMIT_BYTES = 4 * 2**30
SPENT_BYTES = 2**30
"""A worker whose memory has ever been above this is replaced: what one task left behind must not starve the next."""

PATIENCE_S = 1.0
"""The kernel ends a worker this long after its task's time limit, should the parent no longer be there to do it."""


class Grader(Protocol):
    """What a grader's module has for the worker. Its other imports must be light: every worker waits for them."""

    def prepare_worker(self) -> None:
        """Import what is needed, outside any task's time."""

    def grade_in_worker(self, task: dict[str, Any]) -> Any:
        """The result of one task, as JSON can hold it."""


def answer_request(request: dict[str, Any]) -> dict[str, Any]:
    """The reply to one request. Never raises, whatever the grader does."""
    try:
        grader = cast(Grader, importlib.import_module(request["grader"]))
        if request["task"] is None:
            grader.prepare_worker()
            reply: dict[str, Any] = {"result": None}
        else:
            reply = {"result": grader.grade_in_worker(request["task"])}
        json.dumps(reply)
    except (Exception, SystemExit) as error:
        reply = {"error": type(error).__name__, "said": _text_of(error)}
    return reply


def _text_of(error: BaseException) -> str:
    try:
        return str(error)[:500]
    except Exception:
        return ""


def serve() -> None:
    """Answer requests until standard input closes. What graders print is dropped, and they read nothing."""
    requests = os.fdopen(os.dup(0), "r", encoding="utf-8")
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    with open(os.devnull, "r+") as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(nothing.fileno(), 1)
    _send(replies, {"result": None})
    for line in requests:
        request = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, request["limit_s"] + PATIENCE_S)
        reply = answer_request(request)
        signal.setitimer(signal.ITIMER_REAL, 0)
        _send(replies, reply | {"is_spent": _peak_memory_bytes() > SPENT_BYTES})


def _send(replies: Any, reply: dict[str, Any]) -> None:
    replies.write(json.dumps(reply) + "\n")
    replies.flush()


def _peak_memory_bytes() -> int:
    """The most memory this process ever held. Linux counts what a process held before `exec`, which was its parent's,
    in ru_maxrss: beside a parent with a model in memory every worker would be spent. VmHWM starts afresh.
    """
    with suppress(OSError, StopIteration), open("/proc/self/status") as status:
        return 1024 * next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _end_with(parent: int) -> None:
    """Ends this process soon after its parent, also in the middle of a task of Python code."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def main() -> None:
    """Serve under a memory limit. The default action of SIGALRM ends the process even inside C code."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    with suppress(ValueError, OSError):  # some systems do not limit address space
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
    threading.Thread(target=_end_with, args=(int(sys.argv[1]),), daemon=True).start()
    serve()


if __name__ == "__main__":
    main()
