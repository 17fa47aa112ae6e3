"""Which judge a run has: its reward functions, named or passed in Python, or its verifiers."""

from __future__ import annotations

from collections.abc import Sequence

from mopd.config import Config, build_config
from mopd.core.errors import ConfigError, RunError, VerifierError
from mopd.judging.importing import import_entry, name_of
from mopd.judging.process import FunctionProcess
from mopd.judging.reward_functions import RewardFunctions
from mopd.judging.signatures import NOT_PASSED, RewardFunction, check_parameters
from mopd.judging.verdicts import Judge, by_verifiers
from mopd.problems import ProblemSet

Given = RewardFunction | Sequence[RewardFunction] | None
"""Reward functions as passed in Python: one, several, or none."""


def with_functions(config: Config, given: Given) -> Config:
    """`config` with the names of reward functions that were passed in Python. Raises ConfigError, VerifierError."""
    names = [name_of(function) for function in as_list(given)]
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
    passed = as_list(given)
    functions = passed or [import_entry(entry, rewards.folder) for entry in rewards.functions]
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
        check_parameters(function, columns)
    process = None if passed else FunctionProcess(rewards.functions, rewards.folder)
    return RewardFunctions(functions, rewards, config.steps, columns, process)


def make_judge_again(config: Config, problems: ProblemSet, given: Given = None) -> Judge:
    """The judge of a run that is resumed. Raises RunError where its functions are not to be had or are others."""
    names = [name_of(function) for function in as_list(given)]
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


def as_list(given: Given) -> list[RewardFunction]:
    if given is None:
        return []
    return list(given) if isinstance(given, list | tuple) else [given]  # type: ignore[list-item]
