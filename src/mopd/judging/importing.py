"""Reward functions by name: `module:function`, imported from Python's path, the configuration's folder or here."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any

from mopd.core.errors import ConfigError, VerifierError
from mopd.judging.signatures import RewardFunction, unwrapped

Entry = str | Mapping[str, Any]
"""How a configuration names a function: `module:function`, or with `args` for the factory that makes it."""


def name_of(function: RewardFunction) -> str:
    """`module:function`, by which it can be imported again; `module:<name>` where it cannot. Raises VerifierError."""
    check_is_function(function, repr(function)[:120])
    inner = unwrapped(function)
    module = getattr(inner, "__module__", None) or "unknown"
    name = getattr(inner, "__qualname__", type(inner).__qualname__)
    try:
        found = attribute_at(sys.modules[module], name)
    except (AttributeError, KeyError):
        found = None
    is_found = found is function and module != "__main__"  # another process has another __main__
    return f"{module}:{name}" if is_found or "<" in name else f"{module}:<{name}>"


def check_is_function(function: Any, shown: str) -> None:
    got = "" if callable(function) else f"{shown}, which cannot be called"
    if "torch" in sys.modules and isinstance(function, sys.modules["torch"].nn.Module):
        got = f"{type(function).__name__}, a model"
    elif isinstance(function, type):
        got = f"{shown}, a class"
    if got:
        raise VerifierError("a reward function is a function", got, "pass or name a function that returns rewards")


def import_entry(entry: Entry, folder: str | None) -> RewardFunction:
    """The function that a configuration names, or that the factory it names makes of its `args`.

    Raises ConfigError where the name is malformed, else VerifierError.
    """
    if isinstance(entry, str):
        function = import_named(entry, folder)
        check_is_function(function, entry)
        return function  # type: ignore[no-any-return]
    name, arguments = entry["function"], entry.get("args", {})
    factory = import_named(name, folder)
    shown = f"{name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"
    try:
        made = factory(**arguments)
    except (Exception, SystemExit) as error:  # a user's factory may raise anything
        must = "a factory makes a reward function of its args"
        got = f"{shown}: {type(error).__name__}: {error}"
        raise VerifierError(must, got, "mend args; a reward function itself is named without them") from error
    check_is_function(made, f"what {shown} returned, {repr(made)[:80]}")
    return made  # type: ignore[no-any-return]


def import_named(name: str, folder: str | None) -> Any:
    """What is called `module:function`. Raises ConfigError where the name is malformed, else VerifierError."""
    if "<" in name:
        raise VerifierError(
            "a reward function is passed again where it cannot be imported",
            f"{name} has no name to import it by",
            "pass it with reward_functions=[...]",
        )
    module_name, separator, path = name.partition(":")
    parts = (*module_name.split("."), *path.split("."))
    if not separator or not all(part.isidentifier() for part in parts) or module_name.endswith(".py"):
        raise ConfigError(
            "a reward function is named module:function",
            f"rewards.functions has {name!r}",
            'write for example "my_rewards:accuracy"',
        )
    places = [place for place in (folder, os.getcwd()) if place]
    module = _import_module(module_name, places)
    try:
        return attribute_at(module, path)
    except AttributeError:
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        near = difflib.get_close_matches(path, [*known, *dir(module)], n=1)
        do = f"did you mean {near[0]}?" if near else f"it has {', '.join(known) or 'no functions'}"
        raise VerifierError(
            f"module {module_name} has the reward function named", f"{module_name} has no {path}", do
        ) from None


def _import_module(name: str, places: Sequence[str]) -> ModuleType:
    """The module, looked for on Python's path and then in `places`. Raises VerifierError."""
    sys.path += [place for place in places if place not in sys.path]  # to stay: functions may import when called
    importlib.invalidate_caches()  # a module may have been written a moment ago
    must = "the module of a reward function can be imported"
    try:
        module = importlib.import_module(name)
    except (Exception, SystemExit) as error:  # a user's module may raise anything
        do = f"mend it; modules are looked for on Python's path and in {', '.join(places)}"
        raise VerifierError(must, f"{name}: {type(error).__name__}: {error}", do) from error
    top = name.partition(".")[0]
    beside = PathFinder.find_spec(top, places)
    imported = getattr(sys.modules[top], "__file__", None)
    if beside is not None and beside.origin is not None and not _is_same_file(beside.origin, imported):
        raise VerifierError(must, f"{beside.origin}, but {imported} has the same name", "rename your module")
    return module


def _is_same_file(path: str, other: str | None) -> bool:
    return other is not None and os.path.realpath(path) == os.path.realpath(other)


def attribute_at(found: Any, path: str) -> Any:
    for part in path.split("."):
        found = getattr(found, part)
    return found
