"""The figures of a run's checkpoint, of a model folder or of an embedded student: `mopd evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mopd.config import Config
from mopd.core.errors import ConfigError, RunError
from mopd.evaluation.held_out import evaluate, warm_up_measured
from mopd.judging.choosing import Given, make_judge, with_functions
from mopd.models.embedded import PREFIX
from mopd.preflight.setup import prepare, prepare_problems
from mopd.runs.checkpoint import latest_checkpoint
from mopd.runs.progress import ProgressDisplay
from mopd.runs.run import is_run, read_config


def evaluate_target(
    target: str, config: Config | None, seed: int | None, quiet: bool = False, reward_functions: Given = None
) -> dict[str, Any]:
    """The figures of a run's newest checkpoint, a model folder or `builtin:NAME`, with `model` and `seed`.

    A run brings its own configuration (problems, sampling, seed) unless `config` is given; anything else needs one.
    An embedded student is warmed up as `config` says. `reward_functions` are those that `train` was given, where they
    cannot be imported by name. Raises MopdError.
    """
    path, step = Path(target), 0
    if is_run(path):
        config = config or read_config(path)
        newest = latest_checkpoint(path / "checkpoints")
        if newest is None:
            raise RunError("a run to evaluate has a checkpoint", f"none in {path}", f"`mopd train --resume {path}`")
        target, step = str(newest), int(newest.name.removeprefix("step-"))
    elif config is None:
        raise ConfigError(
            "a model is evaluated on problems of a configuration",
            f"{target} alone",
            f"`mopd evaluate {target} CONFIG.toml`",
        )
    config = with_functions(config.model_copy(update={"student": target}), reward_functions)
    seed = config.seed if seed is None else seed
    problems = prepare_problems(config)
    if not problems.held_out:
        raise ConfigError(
            "there are held-out problems to evaluate on", "problems.held_out = 0", "raise problems.held_out"
        )
    setup = prepare(config, problems, make_judge(config, problems, reward_functions))
    progress = ProgressDisplay(quiet)
    if config.warmup is not None and target.startswith(PREFIX):
        warm_up_measured(setup, progress)
    return {"model": target, "seed": seed, **evaluate(setup, progress, seed=seed, step=step)}
