"""Programs that answer calls: what they define is found by name and called, and their objects stay with them."""

from __future__ import annotations

from .names import names_from_modules
from .programs import FILE, limit_this_process, new_module
from .values import decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

    from .channel import Channel

SOLUTION_CLASS = "Solution"
"""Where a function of a program is looked for that its module does not have."""


def serve(channel: Channel, request: dict[str, Any]) -> None:
    """Load a program and answer calls of what it defines. This process is the program's own from here on."""
    limit_this_process(request["cpu_s"])
    objects: list[Any] = []

    def keep(thing: Any) -> int:
        objects.append(thing)
        return len(objects) - 1

    module = new_module("solution")
    try:
        code = request["code"]
        module.__dict__.update(names_from_modules(code))
        exec(compile(code, FILE, "exec"), module.__dict__)
        reply = {"value": None}
    except BaseException as error:
        reply = _error_reply(error)
    while True:
        channel.send(reply)
        asked = channel.receive()
        if asked is None:
            return
        try:
            reply = _reply(asked, module, objects, keep)
        except BaseException as error:
            reply = _error_reply(error)


def _reply(asked: dict[str, Any], module: ModuleType, objects: list[Any], keep: Callable[[Any], int]) -> dict[str, Any]:
    if "find" in asked:
        return {"value": encode(_named(module, asked["find"]), keep)}
    if "get" in asked:
        return {"value": encode(getattr(objects[asked["get"]], asked["name"]), keep)}
    target = asked["call"]
    function = objects[target] if isinstance(target, int) else _named(module, target)
    args = decode(asked["args"], objects.__getitem__)
    kwargs = {name: decode(value, objects.__getitem__) for name, value in asked.get("kwargs", {}).items()}
    value = function(*args, **kwargs)
    if isinstance(value, (type(_ for _ in ()), range, map, filter, zip)):
        value = list(value)
    return {"value": encode(value, keep), "args": [encode(arg, keep) for arg in args]}


def _named(module: ModuleType, name: str) -> Any:
    """What a program calls `name`: in its module, else a method of its class Solution."""
    if name in module.__dict__:
        return module.__dict__[name]
    if SOLUTION_CLASS in module.__dict__:
        return getattr(module.__dict__[SOLUTION_CLASS](), name)
    raise NameError(f"name {name!r} is not defined")


def _error_reply(error: BaseException) -> dict[str, Any]:
    import traceback

    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == FILE]
    line = lines[-1] if lines else getattr(error, "lineno", None)
    try:
        message = str(error)[:2000]
    except BaseException:
        message = ""
    return {"raised": type(error).__name__, "message": message, "line": line if isinstance(line, int) else None}
