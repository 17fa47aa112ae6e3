"""Programs that answer calls: what they define is found by name and called, and their objects stay with them."""

from __future__ import annotations

from .conversation import Conversation, error_reply
from .crossing import Crossing
from .objects import PROGRAM, Objects, plain_part
from .programs import limit_this_process, load
from .values import decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from .channel import Channel

SOLUTION_CLASS = "Solution"
"""Where a function of a program is looked for that its module does not have."""


LAZY: tuple[type, ...] = (range, type({}.keys()), type({}.values()), type({}.items()))
"""Classes beside iterators whose objects compute their items when they are asked for them."""


def serve(channel: Channel, request: dict[str, Any]) -> None:
    """Load a program and answer calls of what it defines. This process is the program's own from here on."""
    limit_this_process(request["cpu_s"])
    try:
        module = load(request["code"], PROGRAM)
        reply = {"value": None}
    except BaseException as error:
        reply = error_reply(error)
    channel.send(reply)
    objects = Objects()
    crossing = Crossing(objects.own, objects.met, objects.say_again)
    conversation = Conversation(channel, crossing, lambda what, *values: _answer(module, what, *values))
    objects.begin(conversation, crossing)
    while True:
        asked = channel.receive()
        if asked is None:
            return
        if "ask" in asked:
            conversation.reply_to(asked)
            continue
        try:
            reply = {"value": _result(asked, module)}
        except BaseException as error:
            reply = error_reply(error)
        channel.send(reply)


def _result(asked: dict[str, Any], module: ModuleType) -> Any:
    """What a function of the program returns, as values alone: what is computed when it is asked for is a list."""
    value = named(module, asked["call"])(*decode(asked["args"], lambda _: None))
    if hasattr(type(value), "__next__") or isinstance(value, LAZY):
        value = list(value)
    return encode(value, lambda _: 0)


def _answer(module: ModuleType, what: str, *values: Any) -> Any:
    """What tests that assert ask for."""
    thing, *rest = values
    if what == "find":
        return named(module, thing)
    if what == "get":
        return getattr(thing, *rest)
    if what == "set":
        return setattr(thing, *rest)
    if what == "delete":
        return delattr(thing, *rest)
    if what == "plain":
        return plain_part(thing)
    if what in ("copy", "deepcopy"):
        import copy

        return getattr(copy, what)(thing)
    if what == "run":
        import asyncio

        return asyncio.run(thing)
    *name, args, kwargs = rest
    function = getattr(type(thing), name[0]) if what == "special" else thing
    return function(*([thing] if what == "special" else []), *args, **dict(kwargs))


def named(module: ModuleType, name: str) -> Any:
    """What a program calls `name`: in its module, else a method of its class Solution."""
    if name in module.__dict__:
        return module.__dict__[name]
    if SOLUTION_CLASS in module.__dict__:
        return getattr(module.__dict__[SOLUTION_CLASS](), name)
    raise NameError(f"name {name!r} is not defined")
