"""Two sides that ask each other, the tests and the program, one line of JSON at a time and in turns."""

from __future__ import annotations

import os
from _thread import RLock

from .crossing import CannotCross, Crossing
from .programs import FILE
from .surroundings import Surrounded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .channel import Channel
    from .surroundings import Surroundings

SHOWN_CHARACTERS = 2000
"""How much of an exception's message is sent."""


class Conversation:
    """One side's half. While it waits for an answer it answers what it is asked, by `answer(what, *values)`.

    The side that has `surroundings`, the tests, says with each question what the program needs to know of them, and
    which things it holds no more; one side alone may.
    """

    def __init__(
        self, channel: Channel, crossing: Crossing, answer: Callable[..., Any], surroundings: Surroundings | None = None
    ) -> None:
        self._channel, self._crossing, self._answer, self._surroundings = channel, crossing, answer, surroundings
        self._turn = RLock()
        self.last_error: dict[str, Any] = {}

    def ask(self, what: str, *values: Any) -> Any:
        """The other side's answer. Raises what was raised there. Threads ask one after another."""
        with self._turn:
            return self._asked(what, values)

    def _asked(self, what: str, values: tuple[Any, ...]) -> Any:
        question = {"ask": what, **self._sent(values)}
        if self._surroundings is not None:
            question.update(self._surroundings.told())
            question["forget"] = self._crossing.unreachable()  # only now: what has changed in them was to be said
        self._channel.send(question)
        while True:
            message = self._channel.receive()
            if message is None:
                os._exit(0)
            if "ask" not in message:
                break
            self.reply_to(message)
        answered = self._crossing.received(message)
        if self._surroundings is not None:
            self._surroundings.heard(message)
        if "raised" in message:
            self.last_error = {key: message.get(key) for key in ("raised", "message", "line")}
            errors = [error for error in answered if isinstance(error, BaseException)] or [RuntimeError(message)]
            for index, cause in enumerate(errors[1:]):
                errors[index].__cause__ = cause
            raise errors[0]
        return answered[0]

    def reply_to(self, message: dict[str, Any]) -> None:
        """Answer one question."""
        surrounded = Surrounded(message)
        try:
            values = self._crossing.received(message)
            with surrounded:
                answer = self._answer(message["ask"], *values)
            reply = self._crossing.sent([answer])
        except BaseException as error:
            reply = {**error_reply(error), **self._sent_error(error)}
        if surrounded.printed is not None:
            reply["printed"] = surrounded.printed
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
        for errors in (_with_causes(error), [RuntimeError(type(error).__name__)]):
            try:
                return self._crossing.sent(errors)
            except BaseException:
                continue
        return {}


def _with_causes(error: BaseException) -> list[Any]:
    """An error, what it was raised `from`, and so on."""
    errors: list[Any] = [error]
    while errors[-1].__cause__ is not None and not any(errors[-1].__cause__ is known for known in errors):
        errors.append(errors[-1].__cause__)
    return errors


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
