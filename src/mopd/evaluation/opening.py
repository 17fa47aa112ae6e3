"""The setup of what measures a model and trains none: an evaluation, a preflight."""

from __future__ import annotations

from typing import Any

from mopd.config import Config
from mopd.core.errors import ConfigError
from mopd.judging.choosing import Given, make_judge, with_functions
from mopd.preflight.setup import Setup, prepare, prepare_problems
from mopd.problems import Passed


def open_setup(
    config: Config,
    given: Given = None,
    passed: Passed | None = None,
    model: tuple[Any, Any] | None = None,
    *,
    teaches: bool,
) -> Setup:
    """Problems, judge and student of `config`, whose paths are settled; what does not teach is an evaluation, which
    needs held-out problems.

    `given` are reward functions, `passed` problems and `model` a student with its tokenizer that were passed in Python.
    Raises MopdError.
    """
    config = with_functions(config, given)
    problems = prepare_problems(config, passed)
    if not teaches and not problems.held_out:
        raise ConfigError(
            "there are held-out problems to evaluate on", "problems.held_out = 0", "raise problems.held_out"
        )
    judge = make_judge(config, problems, given)
    return prepare(config, problems, judge, model=model, trains=False, teaches=teaches)
