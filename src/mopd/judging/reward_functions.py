"""Reward functions: a user's functions with the signature of TRL's judge all rollouts of a step, instead of verifiers.

docs/rewards.md tells users what functions are given and what becomes of what they return.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mopd.config import RewardsConfig
from mopd.core.statistics import mean_or_zero
from mopd.core.types import Group, Problem, Rollout, Verdict
from mopd.judging.calls import call_all
from mopd.judging.importing import name_of
from mopd.judging.outcomes import Failure, Log, Value, json_value, value_of, values_of
from mopd.judging.process import FunctionProcess
from mopd.judging.signatures import NOT_PASSED, RewardFunction, accepted_arguments, distinct_names, is_async
from mopd.judging.verdicts import CUT, quoted

Attempt = tuple[Group, Rollout]
Details = dict[str, str | float | None]


def _source(function: RewardFunction) -> str:
    try:
        return inspect.getsource(inspect.unwrap(function))
    except (OSError, TypeError):
        return name_of(function)


class RewardFunctions:
    """The judge that calls reward functions, once with all rollouts of all groups, in order."""

    def __init__(
        self,
        functions: Sequence[RewardFunction],
        rewards: RewardsConfig,
        steps: int,
        columns: Sequence[str] = (),
        process: FunctionProcess | None = None,
    ) -> None:
        """`process` runs those of the functions that are sync, where the configuration names them."""
        self.functions, self.rewards, self.steps, self.columns = list(functions), rewards, steps, tuple(columns)
        self.names = distinct_names(functions)
        self.runners = [
            function if process is None or is_async(function) else process.stand_in(index)
            for index, function in enumerate(functions)
        ]
        self.weights = [1.0] * len(functions) if rewards.weights is None else rewards.weights

    @property
    def fingerprint(self) -> str:
        """The source of its functions, where there is one: what came of other functions is not what comes of these."""
        made = [repr(entry) for entry in self.rewards.functions if not isinstance(entry, str)]
        return "\n".join([*map(_source, self.functions), *made])

    def __call__(self, groups: Sequence[Group], step: int) -> tuple[list[Group], dict[str, float]]:
        """The groups with a verdict for every rollout, and each function's figures. Never raises.

        `step` is how many steps are done. A truncated completion is scored too and keeps its reward, but is of kind
        `truncated` and no success. One that any function failed on, or that none gave a number, is of kind `error`.
        """
        attempts = [(group, rollout) for group in groups for rollout in group.rollouts]
        if not attempts:
            return list(groups), {}
        logs = [Log() for _ in self.functions]
        calls = [
            (runner, accepted_arguments(function, self._arguments(attempts, step, log)))
            for runner, function, log in zip(self.runners, self.functions, logs, strict=True)
        ]
        returned = call_all(calls, self.rewards.time_limit_s)
        logs = [Log() if isinstance(found, Failure) else log for found, log in zip(returned, logs, strict=True)]
        columns = [values_of(found, len(attempts)) for found in returned]
        is_clean = not any(isinstance(value, Failure) for column in columns for value in column)
        secrets = frozenset[str]() if is_clean else _secrets(groups)
        rows = zip(attempts, zip(*columns, strict=True), self._details(columns, logs), strict=True)
        verdicts = iter([self._verdict(*attempt, values, details, secrets) for attempt, values, details in rows])
        judged = [replace(group, verdicts=tuple(next(verdicts) for _ in group.rollouts)) for group in groups]
        return judged, self._metrics(columns, logs)

    def _arguments(self, attempts: Sequence[Attempt], step: int, log: Log) -> dict[str, Any]:
        """What one function is given: its own copy, since it may change what it likes, also after it was given up."""
        from transformers import TrainerState

        problems = [group.problem for group, _ in attempts]
        rows = [{"answer": problem.reference} | problem.own_columns for problem in problems]
        found = [*self.columns, *(name for row in rows for name in row)]
        names = dict.fromkeys(name for name in found if name not in NOT_PASSED)
        ids = [list(rollout.token_ids) for _, rollout in attempts]
        return {
            **copy.deepcopy({name: [row.get(name) for row in rows] for name in names}),
            "prompts": [self._prompt(problem) for problem in problems],
            "completions": [self._completion(rollout.text) for _, rollout in attempts],
            **({"completion_ids": ids} if any(ids) else {}),  # texts of a file have no tokens
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
        reward = value_of(rounded_sum(terms))
        if not isinstance(reward, float):
            return Verdict(0.0, "error", None, "The weighted sum of the rewards is not finite.", details)
        if rollout.is_truncated:
            return Verdict(reward, "truncated", None, CUT, details)
        return Verdict(reward, "correct" if reward >= group.success_reward else "wrong", None, "", details)

    def _details(self, columns: Sequence[Sequence[Value]], logs: Sequence[Log]) -> list[Details]:
        """For each rollout what each function gave it, how it failed if it did, and what functions logged of it."""
        count = len(columns[0])
        noted: dict[str, list[Any]] = {}
        for log in logs:
            noted |= {name: values for name, values in log.columns.items() if len(values) == count}
        for name, column in zip(self.names, columns, strict=True):
            if any(isinstance(value, Failure) for value in column):
                noted[f"failed/{name}"] = [value.what if isinstance(value, Failure) else None for value in column]
            noted[f"rewards/{name}"] = [value if isinstance(value, float) else None for value in column]
        return [{name: json_value(values[row]) for name, values in noted.items()} for row in range(count)]

    def _metrics(self, columns: Sequence[Sequence[Value]], logs: Sequence[Log]) -> dict[str, float]:
        metrics: dict[str, float] = {}
        for name, column, log in zip(self.names, columns, logs, strict=True):
            own = {f"rewards/{name}_{key}": mean_or_zero(values) for key, values in log.metrics.items()}
            metrics |= own | {
                f"rewards/{name}_mean": mean_or_zero([value for value in column if isinstance(value, float)]),
                f"rewards/{name}_none_count": float(sum(value is None for value in column)),
                f"rewards/{name}_error_count": float(sum(isinstance(value, Failure) for value in column)),
            }
        return metrics


def rounded_sum(terms: Sequence[float]) -> float:
    """The sum, rounded once: .7 + .2 + .1 is a success where that takes 1."""
    try:
        return math.fsum(terms)
    except (OverflowError, ValueError):
        return math.nan


def _secrets(groups: Sequence[Group]) -> frozenset[str]:
    """What no feedback may quote: the references; where a problem has none, its answer may be any of its columns."""
    secrets: set[str] = set()
    for problem in (group.problem for group in groups):
        texts = {value for value in problem.columns.values() if isinstance(value, str)}
        secrets |= {problem.reference} if problem.reference else texts
    return frozenset(secrets)
