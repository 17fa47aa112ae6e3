"""The figures of a run's checkpoint, of a model folder or of an embedded student: `mopd evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mopd.config import Config
from mopd.core.errors import ConfigError
from mopd.evaluation.held_out import Evaluation, evaluate_held_out, warm_up_measured
from mopd.evaluation.opening import open_setup
from mopd.judging.choosing import Given
from mopd.models.embedded import PREFIX
from mopd.models.passed import model_of, with_student
from mopd.preflight.setup import Setup
from mopd.problems import Passed, ProblemsGiven, check_passed_again, with_passed
from mopd.runs.checkpoint import from_checkpoint, newest_of_run
from mopd.runs.directory import stays
from mopd.runs.inputs import check_inputs, describe_problems, freeze_day
from mopd.runs.paths import absolute, settled
from mopd.runs.progress import ProgressDisplay
from mopd.runs.reading import is_run, moment_of, read_config, read_inputs

NOTHING = Passed()
"""Where no problems were passed in Python."""


def unread_keys(target: str) -> dict[str, str]:
    """Keys and tables of a configuration that the evaluation of `target` does not read, with what to set instead."""
    of_training = ("run", "steps", "preflight", "lessons", "teacher", "divergence", "optimizer", "lora", "alarms")
    unread = dict.fromkeys((*of_training, "checkpoint", "tracker"), "")
    unread["student"] = f"another model in place of {target}"
    if not target.startswith(PREFIX):  # embedded students alone are warmed up
        unread |= dict.fromkeys(("warmup", "problems_per_step", "peers"), "")
        unread["group_size"] = "evaluation.rollouts, the attempts at each held-out problem"
    return unread


def evaluate(
    target: str | Path | tuple[Any, Any],
    config: Config | None = None,
    seed: int | None = None,
    quiet: bool = False,
    reward_functions: Given = None,
    problems: ProblemsGiven | None = None,
    held_out: ProblemsGiven | None = None,
) -> dict[str, Any]:
    """The figures of a model on held-out problems, with `model` and `seed`.

    `target` is a run, whose newest checkpoint is meant, a model folder, a hub id, `builtin:NAME`, or a transformers
    model with its tokenizer, whose weights become float32. A run brings its own configuration (problems, sampling,
    seed) unless `config` is given; anything else needs one. An embedded student is warmed up as `config` says.
    `seed` is that of the sampling; unset: the configuration's.
    `reward_functions` are those that `train` was given, where they cannot be imported by name; `problems` and
    `held_out` are as for `train`. Raises MopdError.
    """
    name = with_student(Config(), target).student
    passed = Passed(problems, held_out)
    return evaluate_target(name, config, seed, quiet, reward_functions, passed, model_of(target)).figures


def evaluate_target(
    target: str,
    config: Config | None,
    seed: int | None,
    quiet: bool,
    given: Given = None,
    passed: Passed = NOTHING,
    model: tuple[Any, Any] | None = None,
) -> Evaluation:
    """What `evaluate` measures, with the groups that it was measured on. `model` is that called `target`, if passed."""
    path = absolute(target)
    if model is None and not target.startswith(PREFIX) and is_run(path):
        with stays(path):
            return _evaluate_run(path, config, seed, quiet, given, passed)
    if config is None:
        raise ConfigError(
            "a model is evaluated on problems of a configuration",
            f"{target} alone",
            f"`mopd evaluate {target} CONFIG.toml`, or problems.source=FILE; `mopd init math > mine.toml` writes a "
            "configuration to begin with, and `mopd init` lists other kinds",
        )
    whole = config.model_copy(update={"lora": None})  # an adapter is merged, whatever the configuration trains
    setup = _opened(with_passed(whole, passed), target, given, passed, model)
    if config.warmup is not None and target.startswith(PREFIX):
        warm_up_measured(setup, ProgressDisplay(quiet))
    return _evaluated(setup, seed, quiet, step=0)


def _evaluate_run(
    path: Path, config: Config | None, seed: int | None, quiet: bool, reward_functions: Given, passed: Passed
) -> Evaluation:
    """The evaluation of a run's newest checkpoint; under its own configuration on the very problems it began with."""
    own = read_config(path)
    newest, cursor = newest_of_run(path)
    if config is None:
        check_passed_again(own, passed)
    else:
        own = with_passed(config, passed).model_copy(update={"lora": own.lora})
    with from_checkpoint(newest):
        setup = _opened(own, str(newest), reward_functions, passed)
    freeze_day(setup.student.tokenizer, moment_of(path))
    if config is None:
        problems = {"problems": describe_problems(setup.problems)}
        check_inputs(read_inputs(path), problems, f"or give a configuration: `mopd evaluate {path} CONFIG.toml`")
    return _evaluated(setup, seed, quiet, cursor.step)


def _opened(config: Config, target: str, given: Given, passed: Passed, model: tuple[Any, Any] | None = None) -> Setup:
    """With the model called `target` in the student's place."""
    return open_setup(settled(config).model_copy(update={"student": target}), given, passed, model, teaches=False)


def _evaluated(setup: Setup, seed: int | None, quiet: bool, step: int) -> Evaluation:
    config = setup.config
    seed = config.seed if seed is None else seed
    left_out = {"left_out": dict(reasons)} if (reasons := setup.problems.split.left_out) else {}
    found = evaluate_held_out(setup, ProgressDisplay(quiet), seed=seed, step=step)
    return Evaluation(found.groups, {"model": config.student, "seed": seed, **found.figures, **left_out})
