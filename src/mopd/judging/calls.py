"""Calls of a user's functions, sync or async, that may raise or never return: each ends within a time limit.

Where a sync function runs, docs/decisions/0013-where-reward-functions-run.md says. In another thread than the main
one nothing can interrupt it: a call that is late is given up on, and goes on for as long as it likes, unheard.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from typing import Any

from mopd.judging import main_thread
from mopd.judging.outcomes import Failure
from mopd.judging.process import StandIn
from mopd.judging.signatures import is_async

PING_S = 1.0
"""How long an event loop may take to answer before it counts as blocked."""


Call = tuple[Callable[..., Any] | StandIn, dict[str, Any]]
"""A function, or what stands for one that runs elsewhere, and its keyword arguments."""


def call_all(calls: Sequence[Call], time_limit_s: float) -> list[Any]:
    """What each call returned, or its Failure. Never raises.

    Sync functions run one after the other; then all async ones run side by side in one event loop, which stays the
    same from call to call, since what async functions keep (connections) belongs to it.
    """
    found: dict[int, Any] = {}
    asynchronous: dict[int, tuple[Callable[..., Any], dict[str, Any]]] = {}
    for index, (function, arguments) in enumerate(calls):
        if isinstance(function, StandIn):
            found[index] = function.call(arguments, time_limit_s)
        elif is_async(function):
            asynchronous[index] = function, arguments
        elif main_thread.is_here():
            found[index] = _in_main_thread(function, arguments, time_limit_s)
        else:
            future = _in_thread(function, arguments)
            found[index] = _outcome(future, time.monotonic() + time_limit_s, time_limit_s)
    deadline = time.monotonic() + time_limit_s
    running = {index: _in_loop(*call) for index, call in asynchronous.items()}
    for index, future in running.items():
        found[index] = _outcome(future, deadline, time_limit_s)
    if any(future.cancelled() for future in running.values()):
        _leave_blocked_loop()
    return [found[index] for index in range(len(calls))]


def _in_main_thread(function: Callable[..., Any], arguments: dict[str, Any], time_limit_s: float) -> Any:
    returned, is_late = main_thread.call_interruptibly(function, arguments, time_limit_s)
    if is_late:
        return _late(time_limit_s)
    is_error = isinstance(returned, BaseException)
    return Failure(f"raised {type(returned).__name__}", returned) if is_error else returned


def _late(time_limit_s: float) -> Failure:
    return Failure(f"ran over its time limit of {time_limit_s:g} s")


def _outcome(future: Future[Any], deadline: float, time_limit_s: float) -> Any:
    wait([future], timeout=max(0.0, deadline - time.monotonic()))
    if not future.done():
        future.cancel()  # ends a coroutine that lets itself be cancelled
        return _late(time_limit_s)
    if future.cancelled():
        return Failure("was cancelled")
    error = future.exception()
    return future.result() if error is None else Failure(f"raised {type(error).__name__}", error)


def _in_thread(function: Callable[..., Any], arguments: dict[str, Any]) -> Future[Any]:
    future: Future[Any] = Future()

    def run() -> None:
        try:
            returned = function(**arguments)
        except BaseException as error:  # SystemExit too: whatever it raises is counted, and the run goes on
            returned = Failure(f"raised {type(error).__name__}", error)
        if future.set_running_or_notify_cancel():  # false where it was given up on
            future.set_result(returned)

    threading.Thread(target=run, name="reward function", daemon=True).start()
    return future


# --- one event loop in a thread of its own --------------------------------------------------------------------------

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def _in_loop(function: Callable[..., Any], arguments: dict[str, Any]) -> Future[Any]:
    async def run() -> Any:
        try:
            return await function(**arguments)
        except (SystemExit, KeyboardInterrupt) as error:  # asyncio would end the loop with it
            return Failure(f"raised {type(error).__name__}", error)

    return asyncio.run_coroutine_threadsafe(run(), _running_loop())


def _running_loop() -> asyncio.AbstractEventLoop:
    global _loop
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_loop.run_forever, name="reward functions", daemon=True).start()
        return _loop


def _leave_blocked_loop() -> None:
    """Begin a new loop next time, where a late function blocks this one so that nothing else would ever run in it."""
    global _loop
    with _lock:
        answered = threading.Event()
        if _loop is not None:
            _loop.call_soon_threadsafe(answered.set)
            if not answered.wait(PING_S):
                _loop = None
