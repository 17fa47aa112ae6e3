"""A process of their own for the functions that a configuration names: each call runs in its main thread, as in a
script, and a call that is late ends with the process. The next call begins another.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

from mopd.judging.importing import Entry
from mopd.judging.outcomes import LOGGERS, Answer, Failure

SERVER = f"{__package__}.serving"
"""The module that the process runs."""

START_LIMIT_S = 600.0
"""Wall time in which the process must have imported the functions, as long as a large model may take to load."""


class FunctionProcess:
    """The process of all functions that a configuration names, started when first needed and kept from call to call."""

    def __init__(self, entries: Sequence[Entry], folder: str | None) -> None:
        self._entries, self._folder = list(entries), folder
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection[Any, Any] | None = None
        self._lock = threading.Lock()

    def stand_in(self, index: int) -> StandIn:
        """What calls the function of the entry `index` there."""
        return StandIn(self, index)

    def call(self, index: int, arguments: dict[str, Any], time_limit_s: float) -> Answer:
        """What came of a call there. Never raises, but where this process is interrupted."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                begun = self._start()
                if isinstance(begun, Failure):
                    return Answer(begun)
            return self._exchange((index, arguments), time_limit_s)

    def _start(self) -> Any:
        self.end()
        ours, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", SERVER, str(theirs.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path)},
                process_group=0,  # an interrupt from the keyboard is for the run alone, and what it starts ends with it
            )
        self._connection = ours
        weakref.finalize(self, _kill, self._process)
        return self._exchange((self._entries, self._folder), START_LIMIT_S).outcome

    def _exchange(self, request: Any, time_limit_s: float) -> Answer:
        assert self._process is not None
        assert self._connection is not None
        is_late = threading.Event()
        watch = threading.Timer(time_limit_s, _end_late, args=(is_late, self._process))
        watch.daemon = True
        watch.start()
        try:
            self._connection.send(request)
            answer: Answer = self._connection.recv()
        except (EOFError, OSError):
            cause = f"ran over its time limit of {time_limit_s:g} s" if is_late.is_set() else self._cause_of_death()
            self.end()
            return Answer(Failure(cause))
        except Exception as error:  # arguments that cannot be sent
            return Answer(Failure(f"was given what cannot be sent to its process, {type(error).__name__}", error))
        except BaseException:  # interrupted: a late answer must not meet the next request
            self.end()
            raise
        finally:
            watch.cancel()
        return answer

    def _cause_of_death(self) -> str:
        assert self._process is not None
        with suppress(subprocess.TimeoutExpired):
            code = self._process.wait(timeout=1.0)
            how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
            return f"ended its process {how}"
        return "ended its connection"

    def end(self) -> None:
        """End the process, if there is one, with all that it started."""
        if self._process is not None:
            _kill(self._process)
            self._process.wait()
        if self._connection is not None:
            self._connection.close()
        self._process = self._connection = None


def _end_late(is_late: threading.Event, process: subprocess.Popen[bytes]) -> None:
    is_late.set()
    _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


class StandIn:
    """A function that a process of its own runs."""

    def __init__(self, process: FunctionProcess, index: int) -> None:
        self._process, self._index = process, index

    def call(self, arguments: dict[str, Any], time_limit_s: float) -> Any:
        """What it returned, or its Failure; what it logged there is logged here too."""
        sent = {name: None if name in LOGGERS else value for name, value in arguments.items()}
        answer = self._process.call(self._index, sent, time_limit_s)
        for name, logged in zip(LOGGERS, (answer.metrics, answer.columns), strict=True):
            for key, values in logged.items():
                if name == "log_metric":
                    for value in values:
                        arguments[name](key, value)
                else:
                    arguments[name](key, values)
        return answer.outcome
