"""Reward functions: a user's functions with the signature of TRL's judge all rollouts of a step, instead of verifiers.

docs/rewards.md tells users what functions are given and what becomes of what they return.
"""

from __future__ import annotations

import copy
import difflib
import importlib
import inspect
import math
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any

import numpy as np
import torch

from mopd.calls import Failure, call_all, unwrapped
from mopd.config import Config, RewardsConfig, build_config
from mopd.errors import ConfigError, RunError, VerifierError
from mopd.problems import ProblemSet
from mopd.statistics import mean_or_zero
from mopd.types import Group, Problem, Rollout, Verdict
from mopd.verification import CUT, Judge, by_verifiers, quoted

RewardFunction = Callable[..., Any]
Given = RewardFunction | Sequence[RewardFunction] | None
"""Reward functions as passed in Python: one, several, or none."""

GIVEN = ("prompts", "completions", "completion_ids", "trainer_state", "log_metric", "log_extra")
"""The arguments that are no columns."""

NOT_PASSED = (*GIVEN, "prompt", "completion")
"""Columns of these names are not passed, as in TRL."""

LARGEST = float(np.finfo(np.float32).max)
"""Rewards beyond this, in which training could not compute, count as not finite."""


# --- which functions ------------------------------------------------------------------------------------------------


def with_functions(config: Config, given: Given) -> Config:
    """`config` with the names of reward functions that were passed in Python. Raises ConfigError, VerifierError."""
    names = [name_of(function) for function in _listed(given)]
    if not names or names == config.rewards.functions:
        return config
    if config.rewards.functions:
        raise ConfigError(
            "reward functions are named in the configuration or passed in Python",
            f"rewards.functions = {config.rewards.functions}, and {names} passed",
            "leave one of them out",
        )
    values = config.model_dump(mode="json")
    values["rewards"]["functions"] = names
    return build_config(values, where="the configuration with the reward functions passed")


def make_judge(config: Config, problems: ProblemSet, given: Given = None) -> Judge:
    """The judge of a run: its reward functions where it has any (`given`, else imported), else its verifiers.

    Raises ConfigError or VerifierError where a function cannot be found or cannot be called as it would be.
    """
    rewards = config.rewards
    functions = _listed(given) or [_import(name, rewards.folder) for name in rewards.functions]
    if not functions:
        if rewards.weights is not None:
            raise ConfigError(
                "rewards.weights belong to reward functions", "weights, but no functions", "set rewards.functions"
            )
        return by_verifiers
    everything = problems.train + problems.held_out
    columns = tuple(
        dict.fromkeys(column for problem in everything for column in problem.columns if column not in NOT_PASSED)
    )
    for function in functions:
        _check_parameters(function, columns)
    return RewardFunctions(functions, rewards, config.steps, columns)


def make_judge_again(config: Config, problems: ProblemSet, given: Given = None) -> Judge:
    """The judge of a run that is resumed. Raises RunError where its functions are not to be had or are others."""
    names = [name_of(function) for function in _listed(given)]
    if names and names != config.rewards.functions:
        raise RunError(
            "a run is resumed with the reward functions it began with",
            f"{names}, but the run began with {config.rewards.functions or 'none'}",
            "pass those, or begin a new run",
        )
    try:
        return make_judge(config, problems, given)
    except VerifierError as error:
        do = f"{error.do}; in Python, resume(path, reward_functions=[...]) with those that the run began with"
        raise RunError(error.must, error.got, do) from error


def name_of(function: RewardFunction) -> str:
    """`module:function`, by which it can be imported again; `module:<name>` where it cannot. Raises VerifierError."""
    _check_is_function(function, repr(function)[:120])
    inner = unwrapped(function)
    module = getattr(inner, "__module__", None) or "unknown"
    name = getattr(inner, "__qualname__", type(inner).__qualname__)
    try:
        found = _walk(sys.modules[module], name)
    except (AttributeError, KeyError):
        found = None
    is_found = found is function and module != "__main__"  # another process has another __main__
    return f"{module}:{name}" if is_found or "<" in name else f"{module}:<{name}>"


def _listed(given: Given) -> list[RewardFunction]:
    if given is None:
        return []
    return list(given) if isinstance(given, list | tuple) else [given]  # type: ignore[list-item]


def _check_is_function(function: Any, shown: str) -> None:
    got = "" if callable(function) else f"{shown}, which cannot be called"
    if isinstance(function, torch.nn.Module):
        got = f"{type(function).__name__}, a model"
    elif isinstance(function, type):
        got = f"{shown}, a class"
    if got:
        raise VerifierError("a reward function is a function", got, "pass or name a function that returns rewards")


# --- importing ------------------------------------------------------------------------------------------------------


def _import(name: str, folder: str | None) -> RewardFunction:
    """The function called `module:function`. Raises ConfigError where the name is malformed, else VerifierError."""
    if "<" in name:
        raise VerifierError(
            "a reward function is passed again where it cannot be imported", name, "pass it with reward_functions=[...]"
        )
    module_name, separator, path = name.partition(":")
    parts = (*module_name.split("."), *path.split("."))
    if not separator or not all(part.isidentifier() for part in parts) or module_name.endswith(".py"):
        raise ConfigError(
            "a reward function is named module:function", repr(name), 'write for example "my_rewards:accuracy"'
        )
    places = [place for place in (folder, os.getcwd()) if place]
    module = _import_module(module_name, places)
    try:
        function = _walk(module, path)
    except AttributeError:
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        near = difflib.get_close_matches(path, [*known, *dir(module)], n=1)
        do = f"did you mean {near[0]}?" if near else f"it has {', '.join(known) or 'no functions'}"
        raise VerifierError(f"module {module_name} has the reward function named", repr(path), do) from None
    _check_is_function(function, name)
    return function  # type: ignore[no-any-return]


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


def _walk(found: Any, path: str) -> Any:
    for part in path.split("."):
        found = getattr(found, part)
    return found


# --- parameters -----------------------------------------------------------------------------------------------------


def _parameters(function: RewardFunction) -> list[inspect.Parameter] | None:
    """The function's parameters; None where it does not tell them, as some built in C do not."""
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return None


def _check_parameters(function: RewardFunction, columns: Sequence[str]) -> None:
    """Raises VerifierError where the function asks for what no problem has."""
    known = [*GIVEN, "answer", *columns]
    for parameter in _parameters(function) or []:
        is_needed = parameter.default is parameter.empty and parameter.kind not in (
            parameter.VAR_KEYWORD,
            parameter.VAR_POSITIONAL,
        )
        if is_needed and (parameter.name not in known or parameter.kind is parameter.POSITIONAL_ONLY):
            near = difflib.get_close_matches(parameter.name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "rename it, give it a default, or add it to the problems"
            raise VerifierError(
                "a reward function's parameters are keywords that it is given",
                f"{_plain_name(function)} asks for {parameter.name!r}; there are {', '.join(known)}",
                hint,
            )


def _accepted(function: RewardFunction, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments to pass: all to a function with `**kwargs`, else those that it names."""
    parameters = _parameters(function)
    if parameters is None or any(p.kind is p.VAR_KEYWORD for p in parameters):
        return arguments
    names = {parameter.name for parameter in parameters}
    return {name: value for name, value in arguments.items() if name in names}


def _plain_name(function: RewardFunction) -> str:
    inner = unwrapped(function)
    return re.sub(r"\W+", "_", getattr(inner, "__name__", type(inner).__name__)).strip("_")


def _distinct_names(functions: Sequence[RewardFunction]) -> list[str]:
    """A name for each function in metrics; the second of two of a name is NAME_2."""
    names: list[str] = []
    for name in map(_plain_name, functions):
        candidates = (name if number == 1 else f"{name}_{number}" for number in range(1, len(functions) + 1))
        names.append(next(candidate for candidate in candidates if candidate not in names))
    return names


# --- judging --------------------------------------------------------------------------------------------------------

Value = float | None | Failure
"""What one function gave one rollout: a finite number, None where it does not apply, or why it gave no reward."""

Attempt = tuple[Group, Rollout]
Details = dict[str, str | float | None]


def _source(function: RewardFunction) -> str:
    try:
        return inspect.getsource(inspect.unwrap(function))
    except (OSError, TypeError):
        return name_of(function)


@dataclass
class _Log:
    """What one call logged. Each call has its own: what a call that was given up on still writes, nobody reads."""

    metrics: dict[str, list[float]] = field(default_factory=dict)
    columns: dict[str, list[Any]] = field(default_factory=dict)

    def metric(self, name: str, value: Any) -> None:
        """A figure of the whole call; several of a name are averaged, and one that is not finite is left out."""
        number = _value(value)
        if isinstance(number, float):
            self.metrics.setdefault(str(name), []).append(number)

    def column(self, name: str, values: Sequence[Any]) -> None:
        """A value a rollout, for groups.jsonl."""
        self.columns.setdefault(str(name), []).extend(values)


class RewardFunctions:
    """The judge that calls reward functions, once with all rollouts of all groups, in order."""

    def __init__(
        self, functions: Sequence[RewardFunction], rewards: RewardsConfig, steps: int, columns: Sequence[str] = ()
    ) -> None:
        self.functions, self.rewards, self.steps, self.columns = list(functions), rewards, steps, tuple(columns)
        self.names = _distinct_names(functions)
        self.weights = [1.0] * len(functions) if rewards.weights is None else rewards.weights

    @property
    def fingerprint(self) -> str:
        """The source of its functions, where there is one: what came of other functions is not what comes of these."""
        return "\n".join(map(_source, self.functions))

    def __call__(self, groups: Sequence[Group], step: int) -> tuple[list[Group], dict[str, float]]:
        """The groups with a verdict for every rollout, and each function's figures. Never raises.

        `step` is how many steps are done. A truncated completion is scored too and keeps its reward, but is of kind
        `truncated` and no success. One that any function failed on, or that none gave a number, is of kind `error`.
        """
        attempts = [(group, rollout) for group in groups for rollout in group.rollouts]
        if not attempts:
            return list(groups), {}
        logs = [_Log() for _ in self.functions]
        calls = [
            (function, _accepted(function, self._arguments(attempts, step, log)))
            for function, log in zip(self.functions, logs, strict=True)
        ]
        returned = call_all(calls, self.rewards.time_limit_s)
        logs = [_Log() if isinstance(found, Failure) else log for found, log in zip(returned, logs, strict=True)]
        columns = [_values(found, len(attempts)) for found in returned]
        is_clean = not any(isinstance(value, Failure) for column in columns for value in column)
        secrets = frozenset[str]() if is_clean else _secrets(groups)
        rows = zip(attempts, zip(*columns, strict=True), self._details(columns, logs), strict=True)
        verdicts = iter([self._verdict(*attempt, values, details, secrets) for attempt, values, details in rows])
        judged = [replace(group, verdicts=tuple(next(verdicts) for _ in group.rollouts)) for group in groups]
        return judged, self._metrics(columns, logs)

    def _arguments(self, attempts: Sequence[Attempt], step: int, log: _Log) -> dict[str, Any]:
        """What one function is given: its own copy, since it may change what it likes, also after it was given up."""
        from transformers import TrainerState

        problems = [group.problem for group, _ in attempts]
        found = [*self.columns, *(name for problem in problems for name in problem.columns)]
        names = dict.fromkeys(name for name in found if name not in NOT_PASSED)
        columns = {name: [problem.columns.get(name) for problem in problems] for name in names}
        answers = {"answer": [problem.reference for problem in problems]}
        return {
            **copy.deepcopy(answers | columns),
            "prompts": [self._prompt(problem) for problem in problems],
            "completions": [self._completion(rollout.text) for _, rollout in attempts],
            "completion_ids": [list(rollout.token_ids) for _, rollout in attempts],
            "trainer_state": TrainerState(global_step=step, max_steps=self.steps),
            "log_metric": log.metric,
            "log_extra": log.column,
        }

    def _prompt(self, problem: Problem) -> Any:
        if self.rewards.form == "messages":
            return [dict(turn) for turn in problem.messages]
        return next((turn["content"] for turn in reversed(problem.messages) if turn["role"] == "user"), "")

    def _completion(self, text: str) -> Any:
        return [{"role": "assistant", "content": text}] if self.rewards.form == "messages" else text

    def _verdict(
        self, group: Group, rollout: Rollout, values: Sequence[Value], details: Details, secrets: frozenset[str]
    ) -> Verdict:
        for name, value in zip(self.names, values, strict=True):
            if isinstance(value, Failure):
                feedback = f"The reward function {name} {value.what}{quoted(value.said, secrets)}"
                return Verdict(0.0, "error", None, feedback[:500], details)
        terms = [w * v for w, v in zip(self.weights, values, strict=True) if isinstance(v, float)]
        if not terms:
            return Verdict(0.0, "error", None, "No reward function gave a reward.", details)
        reward = _value(_sum(terms))
        if not isinstance(reward, float):
            return Verdict(0.0, "error", None, "The weighted sum of the rewards is not finite.", details)
        if rollout.is_truncated:
            return Verdict(reward, "truncated", None, CUT, details)
        return Verdict(reward, "correct" if reward >= group.success_reward else "wrong", None, "", details)

    def _details(self, columns: Sequence[Sequence[Value]], logs: Sequence[_Log]) -> list[Details]:
        """For each rollout what each function gave it, and what functions logged of it."""
        count = len(columns[0])
        noted: dict[str, list[Any]] = {}
        for log in logs:
            noted |= {name: values for name, values in log.columns.items() if len(values) == count}
        for name, column in zip(self.names, columns, strict=True):
            noted[f"rewards/{name}"] = [value if isinstance(value, float) else None for value in column]
        return [{name: _plain(values[row]) for name, values in noted.items()} for row in range(count)]

    def _metrics(self, columns: Sequence[Sequence[Value]], logs: Sequence[_Log]) -> dict[str, float]:
        metrics: dict[str, float] = {}
        for name, column, log in zip(self.names, columns, logs, strict=True):
            own = {f"rewards/{name}_{key}": mean_or_zero(values) for key, values in log.metrics.items()}
            metrics |= own | {
                f"rewards/{name}_mean": mean_or_zero([value for value in column if isinstance(value, float)]),
                f"rewards/{name}_none_count": float(sum(value is None for value in column)),
                f"rewards/{name}_error_count": float(sum(isinstance(value, Failure) for value in column)),
            }
        return metrics


def _values(found: Any, count: int) -> list[Value]:
    """One value a rollout, of what a call returned."""
    if isinstance(found, np.ndarray | torch.Tensor):
        found = found.tolist()
    if isinstance(found, Failure):
        return [found] * count
    if not isinstance(found, list | tuple):
        return [Failure(f"returned no list, but an object of type {type(found).__name__}")] * count
    if len(found) != count:
        return [Failure(f"returned {len(found)} values for {count} rollouts")] * count
    return [_value(value) for value in found]


def _value(value: Any) -> Value:
    if value is None:
        return None
    if isinstance(value, np.generic) or (isinstance(value, torch.Tensor) and value.numel() == 1):
        value = value.item()
    if not isinstance(value, int | float):
        return Failure(f"returned an object of type {type(value).__name__} as a reward")
    if -LARGEST <= value <= LARGEST:  # false for NaN
        return float(value)
    return Failure("returned a reward that is not finite")


def _sum(terms: Sequence[float]) -> float:
    """The sum, rounded once: .7 + .2 + .1 is a success where that takes 1."""
    try:
        return math.fsum(terms)
    except (OverflowError, ValueError):
        return math.nan


def _plain(value: Any) -> str | float | None:
    """What JSON can hold of a value that a function logged."""
    if value is None or isinstance(value, str):
        return value
    number = _value(value)
    return number if isinstance(number, float) else _text(value)


def _text(value: Any) -> str:
    try:
        return str(value)[:500]
    except Exception:  # a user's object may refuse
        return f"an object of type {type(value).__name__}"


def _secrets(groups: Sequence[Group]) -> frozenset[str]:
    """What no feedback may quote: the references; where a problem has none, its answer may be any of its columns."""
    secrets: set[str] = set()
    for problem in (group.problem for group in groups):
        texts = {value for value in problem.columns.values() if isinstance(value, str)}
        secrets |= {problem.reference} if problem.reference else texts
    return frozenset(secrets)
