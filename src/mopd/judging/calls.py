"""Calls of a user's functions, sync or async, that may raise or never return: each ends within a time limit.

Nothing can kill a thread: a call that is late is given up on, and goes on for as long as it likes, unheard.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Any

PING_S = 1.0
"""How long an event loop may take to answer before it counts as blocked."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a call gave nothing that counts. `said` is what the function itself said, which may quote an answer."""

    what: str
    said: object = ""


Call = tuple[Callable[..., Any], dict[str, Any]]
"""A function and its keyword arguments."""


def call_all(calls: Sequence[Call], time_limit_s: float) -> list[Any]:
    """What each call returned, or its Failure. Never raises.

    Sync functions run one after the other, each in a thread of its own; then all async ones run side by side in one
    event loop, which stays the same from call to call, since what async functions keep (connections) belongs to it.
    """
    found: dict[int, Any] = {}
    for index, call in enumerate(calls):
        if not is_async(call[0]):
            found[index] = _outcome(_in_thread(*call), time.monotonic() + time_limit_s, time_limit_s)
    deadline = time.monotonic() + time_limit_s
    running = {index: _in_loop(*call) for index, call in enumerate(calls) if is_async(call[0])}
    for index, future in running.items():
        found[index] = _outcome(future, deadline, time_limit_s)
    if any(future.cancelled() for future in running.values()):
        _leave_blocked_loop()
    return [found[index] for index in range(len(calls))]


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling `function` gives a coroutine: an async function, a partial of one, or an async `__call__`."""
    function = unwrapped(function)
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def unwrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function within any number of partials."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _outcome(future: Future[Any], deadline: float, time_limit_s: float) -> Any:
    wait([future], timeout=max(0.0, deadline - time.monotonic()))
    if not future.done():
        future.cancel()  # ends a coroutine that lets itself be cancelled
        return Failure(f"ran over its time limit of {time_limit_s:g} s")
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
