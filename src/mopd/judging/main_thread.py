"""A call of a function in the main thread, as a script would call it, which is interrupted where it is late.

Functions may set alarms, which Python allows in the main thread alone. The watch is therefore kept by another signal,
sent by a thread: a timer of the system is the function's to use.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

INTERRUPT_EVERY_S = 1.0
"""A late call is interrupted again and again, so that code that catches everything comes to its end."""

STUBBORN_S = 60.0
"""The process ends where a call goes on for so long behind its first interruption: nothing else would ever run."""

_SIGNAL = getattr(signal, "SIGVTALRM", None)


class _LateError(BaseException):
    """Raised in the midst of a late call. No Exception, since functions catch those."""


_running: threading.Event | None = None
"""Set when the call that may be interrupted has ended; None where there is none."""


def is_here() -> bool:
    """Whether this thread can call functions so: it is the main thread, where the system has the signal."""
    return _SIGNAL is not None and threading.current_thread() is threading.main_thread()


def call_interruptibly(
    function: Callable[..., Any], arguments: dict[str, Any], time_limit_s: float
) -> tuple[Any, bool]:
    """What a function returned or raised (as an error, not raised), and whether it was late.

    Raises what a handler of signals raised meanwhile: an interrupt from the keyboard is not the function's own.
    """
    global _running
    assert _SIGNAL is not None
    if signal.getsignal(_SIGNAL) is not _interrupt:
        signal.signal(_SIGNAL, _interrupt)  # to stay: one that arrives late must find it
    ended, is_late = threading.Event(), threading.Event()
    watch = threading.Thread(target=_watch, args=(ended, is_late, time_limit_s), daemon=True, name="watch")
    with _alarms_kept(), _handlers_heard() as raised_by_handlers:
        _running = ended
        try:
            watch.start()
            try:
                returned = function(**arguments)
            finally:
                ended.set()
        except BaseException as error:  # SystemExit too: whatever it raises is counted, and the run goes on
            returned = error
        ended.set()
        watch.join()
        _running = None
    if raised_by_handlers:
        raise raised_by_handlers[0]
    return returned, is_late.is_set()


def _interrupt(number: int, frame: Any) -> None:
    if _running is not None and not _running.is_set():
        raise _LateError


def _watch(ended: threading.Event, is_late: threading.Event, time_limit_s: float) -> None:
    assert _SIGNAL is not None
    if ended.wait(time_limit_s):
        return
    is_late.set()
    began = time.monotonic()
    while not ended.is_set():
        if time.monotonic() - began > STUBBORN_S:
            said = (
                f"mopd: a reward function goes on {STUBBORN_S:g} s behind its time limit of {time_limit_s:g} s and "
                "cannot be interrupted, so that the run cannot go on\n  what to do: name it in rewards.functions, "
                "where it has a process that can be ended; resume the run from its last checkpoint\n"
            )
            os.write(2, said.encode())
            os._exit(1)
        signal.pthread_kill(threading.main_thread().ident or 0, _SIGNAL)
        ended.wait(INTERRUPT_EVERY_S)


@contextmanager
def _alarms_kept() -> Iterator[None]:
    """What a function leaves of the system's alarm does not go off in the run."""
    handler, timer = signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)
    try:
        yield
    finally:
        if not timer[0]:
            signal.setitimer(signal.ITIMER_REAL, 0)
        if handler is not None and signal.getsignal(signal.SIGALRM) is not handler:
            signal.signal(signal.SIGALRM, handler)


@contextmanager
def _handlers_heard() -> Iterator[list[BaseException]]:
    """What handlers of an interrupt or an end raise, while a function may catch it or raise the like itself."""
    raised: list[BaseException] = []

    def heard(handler: Callable[..., Any]) -> Callable[..., Any]:
        def handle(number: int, frame: Any) -> Any:
            try:
                return handler(number, frame)
            except BaseException as error:
                raised.append(error)
                raise

        return handle

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    ours = {number: heard(handler) for number, handler in before.items() if callable(handler)}
    for number, handler in ours.items():
        signal.signal(number, handler)
    try:
        yield raised
    finally:
        for number, handler in ours.items():
            if signal.getsignal(number) is handler:
                signal.signal(number, before[number])
