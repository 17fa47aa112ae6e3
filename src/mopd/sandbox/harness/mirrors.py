"""Classes that stand for a program's classes, and what their objects do: each asks the program.

They have the names, the bases and the special methods of the program's, so that `type`, `isinstance` and `except` find
what they would.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

KEPT = "_kept_by_stand_in"
"""The attribute of a stand-in with its number; of a class, with the `StandIns` and what is known of it."""


class CannotDecide(BaseException):
    """Tests ask for what stand-ins cannot do. No `except` of a test for what programs raise catches it."""


class Mirror(type):
    """The class of classes that stand for a program's."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """Have the program make an object."""
        if KEPT not in vars(cls):
            raise cls._stand_ins.undecided("make an object of a class that extends the program's")
        return cls._stand_ins.made_by_tests(cls, args, kwargs)

    def __getattr__(cls, name: str) -> Any:
        return cls._stand_ins.ask("get", cls, name)

    def __setattr__(cls, name: str, value: Any) -> None:
        """Have the program set it."""
        cls._stand_ins.ask("set", cls, name, value)

    def __delattr__(cls, name: str) -> None:
        """Have the program delete it."""
        cls._stand_ins.ask("delete", cls, name)


class StandIn:
    """What every stand-in for an object does."""

    def __getattr__(self, name: str) -> Any:
        return asked(self, "get", name)

    def __setattr__(self, name: str, value: Any) -> None:
        asked(self, "set", name, value)

    def __delattr__(self, name: str) -> None:
        asked(self, "delete", name)

    def __copy__(self) -> Any:
        """Have the program copy it."""
        return type(self)._stand_ins.copied(self, "copy")  # type: ignore[attr-defined]

    def __deepcopy__(self, memo: Any) -> Any:
        """Have the program copy it, with all that is in it."""
        return type(self)._stand_ins.copied(self, "deepcopy")  # type: ignore[attr-defined]

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise type(self)._stand_ins.undecided("pickle an object of the program's")  # type: ignore[attr-defined]

    def __dir__(self) -> Any:
        return asked(self, "get", "__dir__")()

    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        """The attributes that the object has."""
        return asked(self, "get", "__dict__")


def asked(stand_in: Any, what: str, *values: Any) -> Any:
    return type(stand_in)._stand_ins.ask(what, stand_in, *values)


def special_method(name: str) -> Any:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        kind: Any = self if isinstance(self, Mirror) else type(self)
        return kind._stand_ins.special(self, name, args, kwargs)

    method.__name__ = name
    return method


def run_coroutine(stand_in: Any, *_: Any) -> Any:
    """Have the program run a coroutine to its end, in a loop of its own: what tests await is there at once."""
    raise StopIteration(asked(stand_in, "run"))


class RaisedStandIn:
    """What a stand-in for an exception does."""

    def __getattr__(self, name: str) -> Any:
        return asked(self, "get", name)


def be_raised(made: Any, number: int, args: Any) -> None:
    made.args = args
    BaseException.__setattr__(made, KEPT, (number, None))


def number_of(thing: Any) -> int | None:
    """The program's number of what a stand-in stands for; None for anything else."""
    if isinstance(thing, Mirror):
        kept = type.__getattribute__(thing, "__dict__").get(KEPT)
        return None if kept is None else kept["number"]
    if not isinstance(type(thing), Mirror):
        return None
    try:
        return object.__getattribute__(thing, KEPT)[0]  # type: ignore[no-any-return]
    except (AttributeError, TypeError, KeyError):
        return None
