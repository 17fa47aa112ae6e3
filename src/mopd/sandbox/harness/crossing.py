"""Values between tests that assert and the program they ask, so that each side has them as one process would.

A plain value, or one of the standard library's values, is on both sides what it is. A list, dict or other thing that
changes is on both sides one thing: each message begins with what has changed in those that crossed before, so that a
change made on one side is seen on the other, through whatever name. Anything else stays on its side, and the other has
a stand-in for it.

Things that change are numbered as they cross first, which both sides count alike, since messages alternate. Nothing is
executed by reading a message but the constructors of `VALUES`.
"""

from __future__ import annotations

import sys
from _operator import is_  # `operator` takes longer to import

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

TAG = "$"

MAX_DECIMAL_BITS = 13000
"""Longer integers are sent in hexadecimal: Python refuses to read or write over 4,300 decimal digits."""

VALUES = {
    *(("fractions", "Fraction"), ("decimal", "Decimal"), ("builtins", "range"), ("builtins", "slice")),
    *(("datetime", name) for name in ("date", "time", "datetime", "timedelta", "timezone")),
    *(("pathlib", name) for name in ("PosixPath", "PurePosixPath")),
}
"""Classes whose objects never change, and are made again from what `__reduce__` says of them."""

CHANGING = {
    **{("builtins", name): name for name in ("list", "dict", "set", "bytearray")},
    **{("collections", name): name for name in ("deque", "defaultdict", "OrderedDict", "Counter")},
}
"""Classes whose objects change, with the tag under which they are sent."""

_PLACES = {tag: place for place, tag in CHANGING.items()}
_FIXED = (tuple, frozenset)
_VIEWS = [type({}.keys()), type({}.values()), type({}.items())]
_CONSTANTS = {"NotImplemented": NotImplemented, "Ellipsis": Ellipsis}
_MARKS = {
    **dict.fromkeys(("MISSING", "KW_ONLY", "_FIELD", "_FIELD_CLASSVAR", "_FIELD_INITVAR"), "dataclasses"),
    **dict.fromkeys(("_empty", "_POSITIONAL_ONLY", "_POSITIONAL_OR_KEYWORD", "_VAR_POSITIONAL"), "inspect"),
    **dict.fromkeys(("_KEYWORD_ONLY", "_VAR_KEYWORD"), "inspect"),
}
"""Constants of modules that Python looks for by identity, as `dataclasses.asdict` and `inspect.signature` do."""


class CannotCross(Exception):
    """A value that has no stand-in on the other side."""


class Crossing:
    """One side's half. `own(thing)` says how an object of this side is sent, `met(sent)` what stands for a sent one.

    `failed` is told where a message was not sent after all.
    """

    def __init__(
        self,
        own: Callable[[Any], dict[str, Any]],
        met: Callable[[dict[str, Any]], Any],
        failed: Callable[[], None] = lambda: None,
    ) -> None:
        self._own, self._met, self._failed = own, met, failed
        self._things: dict[int, Any] = {}
        self._numbers: dict[int, int] = {}
        self._last_seen: dict[int, list[Any]] = {}
        self._count = 0

    def sent(self, values: list[Any]) -> dict[str, Any]:
        """The part of a message that says what has changed, and `values`. Nothing has crossed where this raises."""
        count = self._count
        changes: list[Any] = []
        try:
            for number, thing in list(self._things.items()):
                held = contents(thing)
                if not _are_same(held, self._last_seen[number]):
                    self._last_seen[number] = held
                    changes.append([number, []])
                    changes[-1][1] = [self.encode(item) for item in held]
            return {"changes": changes, "values": [self.encode(value) for value in values]}
        except BaseException:
            for number, _ in changes:
                self._last_seen[number] = [Crossing]  # equal to nothing that it may hold: it is sent next time
            self.forget([number for number in self._things if number >= count])
            self._count = count
            self._failed()
            raise

    def received(self, message: dict[str, Any]) -> list[Any]:
        """The values of a message, after its changes. Raises what reading raises, of a message that nobody sent."""
        for number, items in message.get("changes", []):
            thing = self._things[number]
            fill(thing, [self.decode(item) for item in items])
            self._last_seen[number] = contents(thing)
        values = [self.decode(value) for value in message.get("values", [])]
        self.forget(message.get("forget", []))
        return values

    def unreachable(self) -> list[int]:
        """Forget the things that nothing but this table holds any more, and say which they were."""
        gone = []
        for number in list(self._things):
            if sys.getrefcount(self._things[number]) <= 2:  # the table's reference, and the argument's own
                self.forget([number])
                gone.append(number)
        return gone

    def forget(self, numbers: list[int]) -> None:
        """Let go of things that crossed: if they cross again, it is as new ones."""
        for number in numbers:
            del self._numbers[id(self._things.pop(number))]
            self._last_seen.pop(number, None)

    def encode(self, value: Any) -> Any:
        """`value` as JSON can hold it."""
        kind = type(value)
        if value is None or kind is bool or kind is str or kind is float:  # json writes nan and infinities
            return value
        if kind is int:
            return value if value.bit_length() < MAX_DECIMAL_BITS else {TAG: "int", "v": hex(value)}
        if kind in _FIXED:
            return {TAG: kind.__name__, "v": [self.encode(item) for item in value]}
        if kind in _VIEWS:
            return {TAG: "view", "v": _VIEWS.index(kind), "items": [self.encode(item) for item in value]}
        return _encoded_atom(value) or self._encode_object(value, _place(kind))

    def _encode_object(self, value: Any, place: tuple[str, str]) -> Any:
        if place in CHANGING:
            return self._encode_changing(value, CHANGING[place])
        if place in VALUES or (place[0] == "builtins" and isinstance(value, BaseException)):
            return self._encode_value(value, place)
        if isinstance(value, type) and is_known_to_all(value):
            return {TAG: "class", "v": list(_place(value))}
        return self._own(value)

    def _encode_changing(self, thing: Any, tag: str) -> Any:
        if id(thing) in self._numbers:
            return {TAG: "same", "v": self._numbers[id(thing)]}
        more = {}
        if tag == "deque":
            more = {"maxlen": thing.maxlen}
        if tag == "defaultdict":
            more = {"factory": self.encode(thing.default_factory)}
        number = self._numbered(thing)
        held = self._last_seen[number] = contents(thing)
        items = [self.encode(item) for item in held]
        return items if tag == "list" else {TAG: tag, "v": items, **more}

    def _encode_value(self, value: Any, place: tuple[str, str]) -> Any:
        args = _makings(value)
        if args is None or not all(map(_crosses_whole, args)):
            return self._own(value)
        return {TAG: "value", "v": list(place), "args": [self.encode(arg) for arg in args]}

    def _numbered(self, thing: Any) -> int:
        number, self._count = self._count, self._count + 1
        self._things[number] = thing
        self._numbers[id(thing)] = number
        return number

    def decode(self, value: Any) -> Any:
        """What `encode` was given on the other side."""
        if isinstance(value, list):
            return self._decode_changing([], value)
        if not isinstance(value, dict):
            return value
        tag, inner = value[TAG], value["v"]
        if tag == "same":
            return self._things[inner]
        if tag in _ATOMS:
            return _ATOMS[tag](inner)
        if tag in ("tuple", "frozenset"):
            return (tuple if tag == "tuple" else frozenset)(self.decode(item) for item in inner)
        if tag in _PLACES:
            return self._decode_changing(self._empty(_PLACES[tag], value), inner)
        return self._decode_object(tag, value)

    def _decode_object(self, tag: str, value: dict[str, Any]) -> Any:
        if tag == "value":
            return _made(tuple(value["v"]), [self.decode(arg) for arg in value["args"]])
        if tag == "view":
            return _view(value["v"], [self.decode(item) for item in value["items"]])
        return self._met(value)

    def _empty(self, place: tuple[str, str], value: dict[str, Any]) -> Any:
        made = _class_at(*place, CHANGING)
        if value[TAG] == "deque":
            return made(maxlen=value["maxlen"])
        return made(self.decode(value["factory"])) if value[TAG] == "defaultdict" else made()

    def _decode_changing(self, thing: Any, items: list[Any]) -> Any:
        number = self._numbered(thing)
        fill(thing, [self.decode(item) for item in items])
        self._last_seen[number] = contents(thing)
        return thing


def contents(thing: Any) -> list[Any]:
    """What a thing that changes holds, in a list: of a dict, keys and values in turn."""
    if isinstance(thing, dict):
        return [part for pair in thing.items() for part in pair]
    return list(thing)


def fill(thing: Any, held: list[Any]) -> None:
    """Give a thing that changes these contents."""
    if isinstance(thing, (list, bytearray)):
        thing[:] = held if isinstance(thing, list) else bytes(held)
        return
    thing.clear()
    if isinstance(thing, dict):
        thing.update({held[index]: held[index + 1] for index in range(0, len(held), 2)})
    elif isinstance(thing, set):
        thing.update(held)
    else:
        thing.extend(held)


def _encoded_atom(value: Any) -> dict[str, Any] | None:
    """What is sent of a value that has no parts; None for anything else."""
    if type(value) is bytes:
        return {TAG: "bytes", "v": value.hex()}
    if type(value) is complex:
        return {TAG: "complex", "v": [value.real, value.imag]}
    if value is NotImplemented or value is Ellipsis:
        return {TAG: "constant", "v": str(value)}
    for name, module in _MARKS.items() if "dataclasses" in sys.modules or "inspect" in sys.modules else ():
        if getattr(sys.modules.get(module), name, _MARKS) is value:
            return {TAG: "mark", "v": name}
    return None


def _makings(value: Any) -> Any:
    """The arguments that make a value again; None where something more than its class and arguments makes it."""
    if isinstance(value, BaseException):
        return None if value.__dict__ else value.__reduce__()[1]  # with the file of an OSError
    made, args = value.__reduce_ex__(2)[:2]
    if made is type(value):
        return args
    return args[1:] if args and args[0] is type(value) else None  # made by `copyreg`


def _made(place: tuple[str, str], args: list[Any]) -> Any:
    if place in VALUES:
        return _class_at(*place, VALUES)(*args)
    kind = known_class(*place)
    if not issubclass(kind, BaseException):
        raise ValueError(f"no value is of the class {kind}")
    try:
        return kind(*args)
    except TypeError:
        return kind.__new__(kind)


def _view(which: int, items: list[Any]) -> Any:
    if which == 2:
        return dict(items).items()
    return dict.fromkeys(items).keys() if which == 0 else dict(enumerate(items)).values()


def is_known_to_all(kind: type) -> bool:
    """Whether a class is one that both sides have, and that does nothing when it is called but make a value."""
    place = _place(kind)
    return (place[0] == "builtins" or place in VALUES or place in CHANGING) and known_class(*place) is kind


def known_class(module: str, name: str) -> Any:
    """The builtin class or the class of values at a place. Raises ValueError for any other."""
    import builtins

    if module == "builtins":
        found = getattr(builtins, name, None)
        if not isinstance(found, type):
            raise ValueError(f"no class {name}")
        return found
    return _class_at(module, name, {*VALUES, *CHANGING})


def _class_at(module: str, name: str, allowed: Any) -> Any:
    import importlib

    if (module, name) not in allowed:
        raise ValueError(f"no value is of the class {module}.{name}")
    return getattr(importlib.import_module(module), name)


def _place(kind: type) -> tuple[str, str]:
    """Where a class says that it is, if it is there: else nowhere."""
    module, name = kind.__module__, kind.__qualname__
    found = getattr(sys.modules.get(module), name, None) if isinstance(module, str) else None
    return (module, name) if found is kind else ("", "")


def _crosses_whole(value: Any) -> bool:
    """Whether nothing of a value stays on its side."""
    if type(value) in (tuple, frozenset):
        return all(map(_crosses_whole, value))
    plain = (type(None), bool, int, float, str, bytes)
    return type(value) in plain or _place(type(value)) in VALUES


def _are_same(ours: list[Any], theirs: list[Any]) -> bool:
    return len(ours) == len(theirs) and all(map(is_, ours, theirs))


_ATOMS: dict[str, Callable[[Any], Any]] = {
    "int": lambda inner: int(inner, 16),
    "bytes": bytes.fromhex,
    "complex": lambda inner: complex(*inner),
    "constant": _CONSTANTS.__getitem__,
    "class": lambda inner: known_class(*inner),
    "mark": lambda inner: getattr(__import__(_MARKS[inner]), inner),
}
