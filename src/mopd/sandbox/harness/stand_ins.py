"""A program's functions, classes and objects as tests have them: stand-ins, which ask the program that has them.

A class of the program is a class here, with its name and bases, so that `type`, `isinstance` and `except` find what
they would; its objects are objects of it. They have the special methods that the program's class has, and each asks.

What tests expect must not reach the program, which could agree to anything. So the operators of an object are asked
about a value of the tests only where the tests made the object themselves: then its operators are what they test. An
object that the program hands out is equal to no value of the tests, unless its class extends a plain one: then it is
compared as that. An object that the tests made and the program then hands out counts as the program's, too: `pop` may
give back the object itself where a value is due. What cannot be decided so is `CannotDecide`, and no failed test.
"""

from __future__ import annotations

import sys

from .crossing import TAG, CannotCross, known_class
from .mirrors import (
    KEPT,
    CannotDecide,
    Mirror,
    RaisedStandIn,
    StandIn,
    asked,
    be_raised,
    number_of,
    run_coroutine,
    special_method,
)
from .objects import ARITHMETIC, EQUALITIES, ORDERS, SAID, SPECIAL, UNARY, hidden_class

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .conversation import Conversation
    from .crossing import Crossing
    from .surroundings import Surroundings

EQUAL_TO_VALUES = {
    *(("builtins", "memoryview"), ("builtins", "mappingproxy"), ("collections", "ChainMap")),
    *(("collections", "UserDict"), ("collections", "UserList"), ("collections", "UserString")),
}
"""Python's own classes that extend no plain one, and whose objects may be equal to an object of a plain one."""

BEHIND = {"__globals__", "__closure__", "__self__", "__func__", "__builtins__", "__dict__", "gi_frame", "cr_frame"}
"""Where no honest program looks: what the tests know is behind it. To the program these are not there."""

TESTS = "tests"
"""The name of the module that tests are."""


class StandIns:
    """All stand-ins of one run of tests, by their numbers with the program; and what of the tests' own it may call."""

    def __init__(self, assertion_lines: set[int], surroundings: Surroundings) -> None:
        self._assertion_lines, self._surroundings = assertion_lines, surroundings
        self.undecided_because: str | None = None
        self.asked_by_name: set[int] = set()
        self._known: dict[int, Any] = {}
        self._of_tests: set[int | None] = set()
        self._handed_out: set[int | None] = set()
        self._mine: list[Any] = []
        self._may_stop = self._has_lost_assertion = False
        self.raised: BaseException | None = None

    def begin(self, conversation: Conversation, crossing: Crossing) -> None:
        """Say how the program is asked, and how values are sent."""
        self._conversation, self._crossing = conversation, crossing

    def ask(self, what: str, *values: Any) -> Any:
        """The program's answer; what it raises is raised here.

        A StopIteration would end a `map` of the tests, and so be swallowed: it is raised where tests name it, and where
        an iterator is asked.
        """
        try:
            return self._conversation.ask(what, *values)
        except CannotCross as error:
            raise self.undecided(str(error)) from None
        except StopIteration as error:
            self.raised = error
            if self._may_stop or values[1:2] == ("__next__",):
                raise
            self.raised = RuntimeError("the program raised StopIteration")
            raise self.raised from error
        except BaseException as error:
            self.raised = error
            raise

    def begin_unit(self, names_stop: bool) -> None:
        """A unit of the tests begins, which names StopIteration or does not."""
        self._may_stop, self.raised, self._has_lost_assertion = names_stop, None, False

    def end_unit(self, raised: BaseException | None, drops_value: bool) -> None:
        """A unit has ended. An assertion that failed in a function of the tests, called by the program, is no pass."""
        if drops_value:  # as a statement `stack.push(1)`: what it gives is due to nobody
            self._of_tests |= self._handed_out
        self._handed_out.clear()
        if raised is None and self._has_lost_assertion:
            self.undecided("assert where the program takes what is raised")

    def has_lost_replacement(self) -> bool:
        """Whether a unit may have failed because the tests replaced what they could not replace for the program."""
        replaced = self._surroundings.replaced
        if replaced is not None:
            self.undecided(f"replace {replaced} for the program")
        return replaced is not None

    def told_of(self, error: BaseException) -> dict[str, Any] | None:
        """What the program told of an error; None where it is the tests' own."""
        return self._conversation.last_error if error is self.raised else None

    def undecided(self, why: str) -> CannotDecide:
        """What to raise where tests want what stand-ins cannot do. It is remembered, whatever catches it."""
        self.undecided_because = self.undecided_because or why
        return CannotDecide(why)

    def made_by_tests(self, kind: Any, args: Any, kwargs: Any) -> Any:
        """An object that the tests have the program make of a class."""
        made = self.ask("call", kind, args, tuple(kwargs.items()))
        if type(made) is kind:
            self._of_tests.add(number_of(made))
        return made

    def copied(self, thing: Any, how: str) -> Any:
        """A copy of an object, which is of the tests' making if the object is."""
        copy = self.ask(how, thing)
        if number_of(thing) in self._of_tests and type(copy) is type(thing):
            self._of_tests.add(number_of(copy))
        return copy

    def special(self, thing: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What a special method of a stand-in gives."""
        is_own = number_of(thing) in self._of_tests
        with_value = any(number_of(arg) is None for arg in args)
        if name in ("__exit__", "__aexit__"):
            return self._left(thing, name, args)
        if name in ("__radd__", "__rmul__") and _is_plainly_reflected(thing, name):
            return _plain_operation(self.plain_of(thing), name, args)
        if not is_own and with_value and name in {*ARITHMETIC, *ORDERS, *EQUALITIES, "__contains__"}:
            return self._with_value(thing, name, args)
        result = self.ask("special", thing, name, args, tuple(kwargs.items()))
        if is_own and type(result) is type(thing) and name in {*ARITHMETIC, *UNARY, "__iter__", "__enter__"}:
            self._of_tests.add(number_of(result))
        return result

    def _left(self, thing: Any, name: str, args: tuple[Any, ...]) -> Any:
        """What a context manager does at the end of a block. It cannot swallow an assertion that fails there."""
        is_swallowed = self.ask("special", thing, name, (*args[:2], None), ())  # no traceback crosses
        if is_swallowed and self._is_failed_assertion(args[1], args[2]):
            raise self.undecided("assert where the program takes what is raised")
        return is_swallowed

    def _is_failed_assertion(self, error: Any, trace: Any) -> bool:
        """Whether an assertion of the tests raised this, or could not be evaluated for it."""
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == f"<{TESTS}>" and trace.tb_lineno in self._assertion_lines:
                return True
            trace = trace.tb_next
        return isinstance(error, AssertionError) and error is not self.raised

    def _with_value(self, thing: Any, name: str, args: tuple[Any, ...]) -> Any:
        """An operator of an object that the program handed out, with a value of the tests."""
        if isinstance(thing, Mirror):
            if name in EQUALITIES:
                return NotImplemented
            raise self.undecided(f"use {name} of the class {thing.__name__} with a value")
        kind = vars(type(thing))[KEPT]
        is_defined = name in kind["special"]
        if kind["plain"] and not is_defined and name.startswith("__i"):  # Python's own change of a list or set
            return self.ask("special", thing, name, args, ())
        if kind["plain"] and (not is_defined or name not in ARITHMETIC):
            return _plain_operation(self.plain_of(thing), name, args)
        if name == "__contains__" and "__iter__" in kind["special"]:
            return any(item is args[0] or item == args[0] for item in thing)
        is_of_tests = number_of(type(thing)) in self.asked_by_name
        theirs = type(args[0])
        place = (kind["module"], kind["name"])
        may_be_equal = is_of_tests or place == (theirs.__module__, theirs.__name__) or place in EQUAL_TO_VALUES
        if name in EQUALITIES and not (is_defined and may_be_equal):
            return NotImplemented
        raise self.undecided(f"use {name} of an object that they did not make ({type(thing).__name__}) with a value")

    def plain_of(self, thing: Any) -> Any:
        """The plain value that an object extends."""
        kept = object.__getattribute__(thing, KEPT)
        return kept[1] if kept[1] is not None else self.ask("plain", thing)

    # --- what is sent, and what is met ------------------------------------------------------------------------------

    def own(self, thing: Any) -> dict[str, Any]:
        """How something of the tests is sent that is no value. Raises CannotCross where it has no stand-in there."""
        number = number_of(thing)
        if number is not None:
            return {TAG: "yours", "v": number}
        module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
        if module == "builtins" and name == "NoneType":
            module = "types"
        if isinstance(module, str) and isinstance(name, str) and _is_there(module, name, thing):
            return {TAG: "named", "module": module, "v": name}
        is_iterator = hasattr(type(thing), "__next__")
        if not is_iterator and (isinstance(thing, type) or not _is_function(thing)):
            what = "a class" if isinstance(thing, type) else "an object"
            raise CannotCross(str(self.undecided(f"pass {what} of their own to the program")))
        if not any(thing is mine for mine in self._mine):
            self._mine.append(thing)
        number = next(index for index, mine in enumerate(self._mine) if mine is thing)
        said = {name: getattr(thing, name, None) for name in SAID}
        return {
            **{TAG: "mine", "v": number, "is": "iterator" if is_iterator else "function"},
            **{"class": type(thing).__name__, "said": {key: text for key, text in said.items() if type(text) is str}},
        }

    def answer(self, what: str, *values: Any) -> Any:
        """What the program may ask: to call a function that it was given, and the next item of an iterator.

        Of what else these have nothing is told, since what tests expect may be in it: only whether they have it.
        """
        thing = values[0]
        if not any(thing is mine for mine in self._mine):
            raise TypeError("the tests gave no such thing")
        if what == "next":
            return next(thing)
        if what in ("get", "set"):
            name = str(values[1])
            if name in BEHIND:
                raise AttributeError(name)
            if what == "get" and (name == "__annotations__" or not hasattr(thing, name)):
                return getattr(thing, name)
            raise self.undecided(f"pass a thing to the program that uses its {name}")
        args, kwargs = values[1:]
        try:
            return thing(*args, **dict(kwargs))
        except BaseException as error:
            self._has_lost_assertion |= self._is_failed_assertion(error, error.__traceback__)
            raise

    def met(self, sent: dict[str, Any]) -> Any:
        """What stands for an object of the program, or the tests' own thing that came back."""
        number = sent["v"]
        if sent[TAG] == "yours":
            return self._mine[number]
        if "class" in sent and number not in self._known:
            self._known[number] = self._mirrored(number, sent["class"])
        kind: Any = self.met(sent["of"]) if "of" in sent else None
        args = self._crossing.decode(sent["args"]) if "args" in sent else None
        plain = self._crossing.decode(sent["plain"]) if "plain" in sent else None
        if number in self._of_tests:  # whoever made it: where a value is due, it is now the program's answer
            self._of_tests.discard(number)
            self._handed_out.add(number)
        if number not in self._known:
            made = self._known[number] = kind.__new__(kind, *(args or ()))
            object.__setattr__(made, KEPT, (number, plain)) if args is None else be_raised(made, number, args)
        return self._known[number]

    def _mirrored(self, number: int, said: dict[str, Any]) -> Any:
        """A class that stands for one of the program's."""
        bases = [self._crossing.decode(base) for base in said["bases"]]
        bases = [base for base in bases if isinstance(base, Mirror) or issubclass(base, BaseException)]
        is_exception = any(issubclass(base, BaseException) for base in bases)
        metas = tuple(dict.fromkeys(type(base) for base in bases if isinstance(base, Mirror))) or (Mirror,)
        meta: Any = metas[0]
        if said["meta"] or len(metas) > 1:
            meta = type("Mirror", metas, {name: special_method(name) for name in said["meta"]})
        special = {*said["special"], *(_operators_of(said["plain"]) if said["plain"] else ())}
        body: dict[str, Any] = {name: special_method(name) for name in special}
        body |= {"__module__": said["module"], KEPT: {**said, "number": number}, "_stand_ins": self}
        if not said["is_hashable"]:
            body["__hash__"] = None
        elif "__hash__" not in special and not is_exception:
            body["__hash__"] = _plain_hash if said["plain"] else object.__hash__
        body["__doc__"] = (
            said["doc"] if said["module"] != "builtins" else property(lambda me: asked(me, "get", "__doc__"))
        )
        if said["module"] == "builtins" and said["name"] == "coroutine":
            body |= {"send": run_coroutine, "throw": run_coroutine, "close": lambda _: None}
        known = _python_class(said)
        if known is not None and not is_exception:
            body["__class__"] = property(lambda _: known)
        root = () if any(isinstance(base, Mirror) for base in bases) else (RaisedStandIn if is_exception else StandIn,)
        try:
            return meta(said["name"], (*root, *bases), body)
        except TypeError:  # bases that have no common layout here
            return meta(said["name"], (*root, *bases[:1]), body)


def _operators_of(plain: str) -> set[str]:
    """The special methods of a plain class, its hash aside; with those that Python does without for sequences."""
    return ({*dir(known_class("builtins", plain))} | {"__radd__", "__rmul__"}) & (SPECIAL - {"__hash__"})


def _plain_operation(value: Any, name: str, args: tuple[Any, ...]) -> Any:
    """What an operator of a plain value gives."""
    method = getattr(type(value), name, None)
    if method is not None:
        return method(value, *args)
    method = getattr(type(args[0]), name.replace("__r", "__", 1), None) if name.startswith("__r") else None
    return method(args[0], value) if method is not None else NotImplemented


def _is_plainly_reflected(stand_in: Any, name: str) -> bool:
    """Whether an operator is one of a sequence, which has no reflected form of its own."""
    kind = vars(type(stand_in)).get(KEPT, {})
    plain = kind.get("plain")
    return bool(plain) and name not in kind["special"] and not hasattr(known_class("builtins", plain), name)


def _plain_hash(stand_in: Any) -> int:
    return hash(type(stand_in)._stand_ins.plain_of(stand_in))


def _python_class(said: dict[str, Any]) -> Any:
    """Python's own class that objects of a program's class are instances of, where tests may look for it."""
    if said["plain"]:
        return known_class("builtins", said["plain"])
    return hidden_class(said["name"]) if said["module"] == "builtins" else None


def _is_there(module: str, name: str, thing: Any) -> bool:
    """Whether something is what a module of Python has under a name: then the program has it too."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is thing and not module.startswith("harness")


def _is_function(thing: Any) -> bool:
    return callable(thing) and type(thing).__module__ != TESTS
