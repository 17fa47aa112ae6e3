"""Given completions judged by reward functions: in batches, in order, and what each function gave them."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table

from mopd.core.errors import VerifierError
from mopd.core.statistics import mean_or_zero
from mopd.core.types import Group, Problem, Rollout, Verdict
from mopd.judging.reward_functions import RewardFunctions
from mopd.judging.signatures import asks_for
from mopd.problems import GivenCompletion

BATCH = 64
"""Completions that a function is called with at once, at most."""

Details = Mapping[str, str | float | None]
"""What a verdict's `details` are."""


def check_functions(judge: RewardFunctions) -> None:
    """Refuse functions that ask for token ids: a file has texts, and no student says what its tokens are."""
    for name, function in zip(judge.names, judge.functions, strict=True):
        if asks_for(function, "completion_ids"):
            raise VerifierError(
                "a reward function that judges completions of a file reads their texts",
                f"{name} asks for completion_ids",
                "give that parameter a default, or leave the function out of rewards.functions",
            )


def judge_by_functions(
    given: Sequence[GivenCompletion], judge: RewardFunctions, success_reward: float
) -> Generator[Verdict, None, None]:
    """The verdict on each completion, in order. A record at fault goes to no function and is of kind `error`."""
    for begin in range(0, len(given), BATCH):
        batch = given[begin : begin + BATCH]
        groups = [_as_group(one.problem, one.text, success_reward) for one in batch if one.problem]
        judged = iter(judge(groups, 0)[0])
        for one in batch:
            yield next(judged).verdicts[0] if one.problem else Verdict(0.0, "error", None, one.fault)


def _as_group(problem: Problem, text: str, success_reward: float) -> Group:
    rollout = Rollout(0, (), (), (), text, is_truncated=False)
    return Group(0, problem, (), (rollout,), success_reward=success_reward)


# --- figures --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FunctionFigures:
    """What one reward function gave the completions of a file.

    `values` are its numbers, unweighted. `none_count` completions it did not judge, on `error_count` it failed.
    """

    name: str
    weight: float
    values: tuple[float, ...]
    none_count: int
    error_count: int


def has_values_of(details: Details, judge: RewardFunctions) -> bool:
    """Whether details are those of a completion that these functions, and no others, were asked about."""
    return {f"rewards/{name}" for name in judge.names} == {key for key in details if key.startswith("rewards/")}


def function_figures(judge: RewardFunctions, found: Sequence[Details]) -> tuple[FunctionFigures, ...]:
    """Each function's figures from the details of all verdicts; those of records at fault are empty."""
    return tuple(
        _figures(name, weight, [details for details in found if details])
        for name, weight in zip(judge.names, judge.weights, strict=True)
    )


def _figures(name: str, weight: float, found: Sequence[Details]) -> FunctionFigures:
    values = [value for details in found if isinstance(value := details[f"rewards/{name}"], int | float)]
    failed = sum(f"failed/{name}" in details and details[f"failed/{name}"] is not None for details in found)
    return FunctionFigures(name, weight, tuple(map(float, values)), len(found) - len(values) - failed, failed)


def functions_table(
    functions: Sequence[FunctionFigures], rewards: Sequence[float], errors: int, successes: int, success_reward: float
) -> Table:
    """What each function gave, and in the last row their weighted sum: `rewards` of the completions with a verdict.

    `errors` are the completions without one, `successes` those whose reward is at least `success_reward`.
    """
    share = f"{successes / len(rewards):.3f}" if rewards else "-"
    caption = f"successes, with a reward of at least {success_reward:g}: {successes} of {len(rewards)}, share {share}"
    table = Table(title="reward functions", caption=caption)
    table.add_column("function", overflow="fold")
    for column in ("weight", "mean", "min", "max", "None", "errors"):
        table.add_column(column, justify="right")
    for one in functions:
        counts = (str(one.none_count), str(one.error_count))
        table.add_row(one.name, f"{one.weight:g}", *_spread(one.values), *counts)
    table.add_section()
    table.add_row("weighted sum", "", *_spread(rewards), "", str(errors))
    return table


def _spread(values: Sequence[float]) -> tuple[str, str, str]:
    """Mean, minimum and maximum."""
    if not values:
        return ("-", "-", "-")
    return (f"{mean_or_zero(values):.3f}", f"{min(values):.3f}", f"{max(values):.3f}")
