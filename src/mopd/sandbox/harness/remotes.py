"""A program's functions and objects as tests have them: stand-ins, which ask the program that has the real ones."""

from __future__ import annotations

from .values import decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .channel import Channel


class ProgramRaised(Exception):
    """The program raised something that tests cannot catch by name."""


class Remote:
    """An object that stayed with the program, as its number there. Compared, it is equal to itself alone."""

    def __init__(self, channel: Channel, number: int) -> None:
        self._channel, self._number = channel, number

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Have the program call the object. What this does to a list, dict or set that was passed is done here too."""
        sent = [encode(arg, _handle_of) for arg in args]
        named = {name: encode(value, _handle_of) for name, value in kwargs.items()}
        reply = reply_to(self._channel, {"call": self._number, "args": sent, "kwargs": named})
        for index, after in enumerate(reply.get("args", sent)):
            if sent[index] != after:
                _mutate(args[index], self._decoded(after))
        return self._decoded(reply["value"])

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self._decoded(reply_to(self._channel, {"get": self._number, "name": name})["value"])

    def _decoded(self, value: Any) -> Any:
        return decode(value, lambda number: Remote(self._channel, number))


def _handle_of(value: Any) -> int:
    if isinstance(value, Remote):
        return value._number
    raise TypeError(f"a test passes {type(value).__name__} to the program, which cannot cross to it")


def _mutate(mine: Any, after: Any) -> None:
    """Give the test's own list, dict or set the content that the program's call left it with."""
    if type(mine) is not type(after):
        return
    if isinstance(mine, list):
        mine[:] = after
    elif isinstance(mine, (dict, set)):
        mine.clear()
        mine.update(after)


def reply_to(channel: Channel, request: dict[str, Any]) -> dict[str, Any]:
    """The program's reply. Raises what the program raised."""
    channel.send(request)
    reply: dict[str, Any] | None = channel.receive()
    if reply is None:
        raise SystemExit
    if "raised" in reply:
        raise _exception(reply["raised"], reply["message"])
    return reply


def _exception(name: str, text: str) -> Exception:
    """The built-in exception of this name, which tests can catch, where it is made of one text."""
    import builtins

    kind = getattr(builtins, name, None)
    try:
        return kind(text) if isinstance(kind, type) and issubclass(kind, Exception) else ProgramRaised(name, text)
    except TypeError:
        return ProgramRaised(name, text)
