"""Two sides that ask each other, the tests and the program, one line of JSON at a time and in turns."""

from __future__ import annotations

import os
from _thread import RLock

from .crossing import CannotCross, Crossing
from .programs import FILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .channel import Channel

SHOWN_CHARACTERS = 2000
"""How much of an exception's message is sent."""


class Conversation:
    """One side's half. While it waits for an answer it answers what it is asked, by `answer(what, *values)`.

    The side that `lets_go` says with each question which things it holds no more; one side alone may.
    """

    def __init__(self, channel: Channel, crossing: Crossing, answer: Callable[..., Any], lets_go: bool = False) -> None:
        self._channel, self._crossing, self._answer, self._lets_go = channel, crossing, answer, lets_go
        self._turn = RLock()
        self.last_error: dict[str, Any] = {}

    def ask(self, what: str, *values: Any) -> Any:
        """The other side's answer. Raises what was raised there. Threads ask one after another."""
        with self._turn:
            return self._asked(what, values)

    def _asked(self, what: str, values: tuple[Any, ...]) -> Any:
        question = {"ask": what, **self._sent(values)}
        if self._lets_go:  # only now: what has changed in them was to be said
            question["forget"] = self._crossing.unreachable()
        self._channel.send(question)
        while True:
            message = self._channel.receive()
            if message is None:
                os._exit(0)
            if "ask" not in message:
                break
            self.reply_to(message)
        answered = self._crossing.received(message)
        if "raised" in message:
            self.last_error = {key: message.get(key) for key in ("raised", "message", "line")}
            raise answered[0] if answered and isinstance(answered[0], BaseException) else RuntimeError(message)
        return answered[0]

    def reply_to(self, message: dict[str, Any]) -> None:
        """Answer one question."""
        try:
            values = self._crossing.received(message)
            reply = self._crossing.sent([self._answer(message["ask"], *values)])
        except BaseException as error:
            reply = {**error_reply(error), **self._sent_error(error)}
        self._channel.send(reply)

    def _sent(self, values: tuple[Any, ...]) -> dict[str, Any]:
        try:
            return self._crossing.sent(list(values))
        except CannotCross:
            raise
        except Exception as error:  # as where it nests too deep: that it was not sent is no fault of who is asked
            raise CannotCross(f"send what cannot be sent ({type(error).__name__})") from error

    def _sent_error(self, error: BaseException) -> dict[str, Any]:
        """What was raised, with what had changed by then; as its text where it cannot be sent."""
        for thing in (error, RuntimeError(type(error).__name__)):
            try:
                return self._crossing.sent([thing])
            except BaseException:
                continue
        return {}


def error_reply(error: BaseException) -> dict[str, Any]:
    """What feedback may tell of an error: its type, its message and the program's line that it comes from."""
    line, trace = getattr(error, "lineno", None), error.__traceback__
    while trace is not None:  # `traceback` takes long, to be imported and for deep recursion
        if trace.tb_frame.f_code.co_filename == FILE:
            line = trace.tb_lineno
        trace = trace.tb_next
    try:
        message = str(error)[:SHOWN_CHARACTERS]
    except BaseException:
        message = ""
    return {"raised": type(error).__name__, "message": message, "line": line if isinstance(line, int) else None}
