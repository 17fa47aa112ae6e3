"""The worker process of `pool`: reads JSON requests from standard input, writes JSON replies to standard output.

A request is {kind, task, limit_s}; without a task it asks to import what the kind needs. A reply is {result} or
{error, said}, with `is_spent` where the parent should start a fresh worker.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import sys
from contextlib import suppress
from typing import Any, Protocol, cast

MEMORY_LIMIT_BYTES = 4 * 2**30
SPENT_BYTES = 2**30
"""A worker whose memory has ever been above this is replaced: what one task left behind must not starve the next."""

PATIENCE_S = 1.0
"""The kernel ends a worker this long after its task's time limit, should the parent no longer be there to do it."""

GRADERS = {"math": "mopd.verifiers.math", "reasoning_gym": "mopd.verifiers.reasoning_gym_tasks"}
"""The module of each kind of grader."""


class Grader(Protocol):
    """What a grader's module has for the worker."""

    def prepare_worker(self) -> None:
        """Import what is needed, outside any task's time."""

    def grade_in_worker(self, task: dict[str, Any]) -> Any:
        """The result of one task, as JSON can hold it."""


def grader_of(kind: str) -> Grader:
    """The grader of a kind. Raises ValueError."""
    if kind not in GRADERS:
        raise ValueError(f"no grader is called {kind!r}")
    return cast(Grader, importlib.import_module(GRADERS[kind]))


def answer_request(request: dict[str, Any]) -> dict[str, Any]:
    """The reply to one request. Never raises, whatever the grader does."""
    try:
        grader = grader_of(request["kind"])
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
    """Answer requests until standard input closes. Graders that print or read cannot disturb the conversation."""
    requests = os.fdopen(os.dup(0), "r", encoding="utf-8")
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
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
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main() -> None:
    """Serve under a memory limit. The default action of SIGALRM ends the process even inside C code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when a worker ends
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    with suppress(ValueError, OSError):  # some systems do not limit address space
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
    serve()


if __name__ == "__main__":
    main()
