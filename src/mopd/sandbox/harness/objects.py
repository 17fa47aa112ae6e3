"""A program's side of what stays with it: its objects by number, and what is said of their classes.

The tests' functions and iterators stay with the tests; the program has stand-ins for them, which it can call and step
through, and no more.
"""

from __future__ import annotations

from .crossing import TAG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .conversation import Conversation
    from .crossing import Crossing

PROGRAM = "solution"
"""The name of the module that a program is whose functions are called."""

PLAIN = (bool, int, float, complex, str, bytes, bytearray, tuple, list, dict, set, frozenset)
"""Classes whose objects cross as values. An object of a class that extends one stays, and says what it extends."""

_IMMUTABLE = (int, float, complex, str, bytes, tuple, frozenset)

_OPERATIONS = (
    *("add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "divmod", "pow"),
    *("lshift", "rshift", "and", "xor", "or"),
)


def _named(*words: str) -> set[str]:
    return {f"__{word}__" for word in words}


ARITHMETIC = _named(*(letter + name for name in _OPERATIONS for letter in ("", "r", "i")))
UNARY = _named("neg", "pos", "abs", "invert")
ORDERS = _named("lt", "le", "gt", "ge")
EQUALITIES = _named("eq", "ne")
OTHERS = _named(
    *("call", "len", "length_hint", "iter", "next", "reversed", "getitem", "setitem", "delitem", "contains", "missing"),
    *("bool", "int", "float", "complex", "index", "bytes", "round", "trunc", "floor", "ceil", "hash", "fspath"),
    *("str", "repr", "format", "enter", "exit", "await", "aiter", "anext", "aenter", "aexit"),
)
SPECIAL = ARITHMETIC | UNARY | ORDERS | EQUALITIES | OTHERS
"""Methods that Python calls by itself: a stand-in has those of them that the class of the object has."""


SAID = ("__name__", "__qualname__", "__module__", "__doc__")
"""What is told of a function of the tests: `functools.wraps` copies it."""


def hidden_class(name: str) -> Any:
    """A class of Python's own that has no name of its own: `function`, `generator`; else the builtin one, or None."""
    import builtins
    import types

    hidden = {kind.__name__: kind for kind in vars(types).values() if isinstance(kind, type)}
    return hidden.get(name) or getattr(builtins, name, None)


class Objects:
    """The objects of a program that tests have stand-ins for."""

    def __init__(self) -> None:
        self._things: list[Any] = []
        self._numbers: dict[int, int] = {}
        self._said: set[int] = set()
        self._theirs: dict[int, Any] = {}

    def begin(self, conversation: Conversation, crossing: Crossing) -> None:
        """Say how the tests are asked, and how values are sent."""
        self._conversation, self._crossing = conversation, crossing

    def own(self, thing: Any) -> dict[str, Any]:
        """An object as its number; the first time with what it is."""
        if isinstance(thing, (TestFunction, TestIterator)):
            return {TAG: "yours", "v": thing.number}
        number = self._numbers.get(id(thing))
        if number is None:
            number = self._numbers[id(thing)] = len(self._things)
            self._things.append(thing)
        sent: dict[str, Any] = {TAG: "mine", "v": number}
        if number in self._said:
            return sent
        self._said.add(number)
        if isinstance(thing, type):
            return {**sent, "class": self._class(thing)}
        sent["of"] = self.own(type(thing))
        if isinstance(thing, BaseException):
            sent["args"] = self._crossing.encode(tuple(thing.args))
        elif plain_class(type(thing)) in _IMMUTABLE:
            sent["plain"] = self._crossing.encode(plain_part(thing))
        return sent

    def say_again(self) -> None:
        """A message was not sent: what was said in it of objects is said again."""
        self._said.clear()

    def met(self, sent: dict[str, Any]) -> Any:
        """What tests sent that is no value: an object of the program, one of theirs, or what both have by its name."""
        if sent[TAG] == "yours":
            return self._things[sent["v"]]
        if sent[TAG] == "named":
            import importlib

            found: Any = importlib.import_module(sent["module"])
            for part in sent["v"].split("."):
                found = getattr(found, part)
            return found
        number = sent["v"]
        if number not in self._theirs:
            made = TestIterator if sent["is"] == "iterator" else TestFunction
            kind = hidden_class(sent["class"]) or made
            self._theirs[number] = made(self._conversation, number, {**sent["said"], "__class__": kind, "__dict__": {}})
        return self._theirs[number]

    def _class(self, kind: type) -> dict[str, Any]:
        """What a stand-in needs to know of a class to behave as one of its objects."""
        plain, is_exception = plain_class(kind), issubclass(kind, BaseException)
        metaclass: Any = type(kind)
        meta = [each for each in metaclass.__mro__ if each not in (type, object) and each.__module__ != "abc"]
        own = [each for each in kind.__mro__ if each not in (object, plain, *(plain.__mro__ if plain else ()))]
        if is_exception:
            own = [each for each in own if each.__module__ != "builtins"]
        bases = [kind] if is_exception and kind.__module__ == "builtins" else kind.__bases__
        return {
            "name": kind.__name__,
            "module": kind.__module__,
            "doc": kind.__doc__ if kind.__module__ == PROGRAM and isinstance(kind.__doc__, str) else None,
            "bases": [self._crossing.encode(base) for base in bases if base is not object],
            "special": sorted({name for each in own for name in vars(each) if name in SPECIAL and _is_set(kind, name)}),
            "meta": sorted({name for each in meta for name in vars(each) if name in SPECIAL - {"__call__"}}),
            "plain": plain.__name__ if plain else None,
            "is_hashable": kind.__hash__ is not None,
        }


def _is_set(kind: type, name: str) -> bool:
    return getattr(kind, name, None) is not None


def plain_class(kind: type) -> Any:
    """The plain class that a class extends; None where it extends none."""
    return next((each for each in kind.__mro__ if each in PLAIN), None)


def plain_part(thing: Any) -> Any:
    """The plain value in an object that extends one, whatever methods its class has."""
    kind = plain_class(type(thing))
    if kind is dict:
        return {key: dict.__getitem__(thing, key) for key in dict.__iter__(thing)}
    if kind in (list, tuple, set, frozenset):
        return kind(kind.__iter__(thing))
    if kind in (bytes, bytearray):
        return kind.__getitem__(thing, slice(None))
    convert = {str: str.__str__, int: int.__int__, float: float.__float__, complex: complex.__pos__}
    return convert[kind](thing)


class _Theirs:
    """An object that stayed with the tests. What is not said of it, the program asks them for."""

    __slots__ = ("_conversation", "_said", "number")

    def __init__(self, conversation: Conversation, number: int, said: dict[str, Any]) -> None:
        for name, value in (("_conversation", conversation), ("number", number), ("_said", said)):
            object.__setattr__(self, name, value)

    def __getattribute__(self, name: str) -> Any:
        said = object.__getattribute__(self, "_said")
        return said[name] if name in said else object.__getattribute__(self, name)

    def __getattr__(self, name: str) -> Any:
        return self._conversation.ask("get", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Ask for what the tests do not do."""
        self._conversation.ask("set", self, name)

    def __dir__(self) -> list[str]:
        return [*object.__getattribute__(self, "_said")]

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: Any) -> Any:
        """Give itself: Python does not copy functions."""
        return self


class TestFunction(_Theirs):
    """A function of the tests."""

    __slots__ = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Have the tests call it."""
        return self._conversation.ask("call", self, args, tuple(kwargs.items()))


class TestIterator(_Theirs):
    """An iterator of the tests."""

    __slots__ = ()

    def __iter__(self) -> TestIterator:
        """Give itself, as iterators do."""
        return self

    def __next__(self) -> Any:
        """Have the tests take a step."""
        return self._conversation.ask("next", self)
