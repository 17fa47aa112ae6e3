"""The worker process of `pool`: reads JSON tasks from standard input, writes JSON replies to standard output."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sys
from typing import Any

MEMORY_LIMIT_BYTES = 4 * 2**30


def grade_task(kind: str, task: dict[str, Any]) -> Any:
    """The result of one task. Raises whatever the grader raises."""
    if kind == "math":
        from mopd.verifiers import math

        return math.grade_in_worker(task)
    if kind == "reasoning_gym":
        from mopd.verifiers import reasoning_gym_tasks

        return reasoning_gym_tasks.grade_in_worker(task)
    raise ValueError(f"no grader is called {kind!r}")


def main() -> None:
    """Serve until standard input closes. Graders that print cannot disturb the replies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when a worker ends
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def reply(message: dict[str, Any]) -> None:
        replies.write(json.dumps(message) + "\n")
        replies.flush()

    reply({"ready": True})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            with contextlib.redirect_stdout(sys.stderr):
                reply({"result": grade_task(request["kind"], request["task"])})
        except (Exception, RecursionError, MemoryError) as error:
            reply({"error": f"{type(error).__name__}: {error}"[:500]})


if __name__ == "__main__":
    main()
