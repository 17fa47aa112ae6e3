"""Evaluation on held-out problems: mean@k and unbiased pass@k with problem-level bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mopd.checkpoint import latest_checkpoint
from mopd.config import Config
from mopd.embedded import PREFIX
from mopd.engines.local import LocalEngine
from mopd.errors import ConfigError, RunError
from mopd.preparation import prepare_problems, prepare_student
from mopd.progress import ProgressDisplay
from mopd.rewards import Given, make_judge, with_functions
from mopd.run import is_run, read_config
from mopd.statistics import bootstrap_interval, mean_or_zero, pass_at_k
from mopd.students import Student
from mopd.types import VERDICT_KINDS, Group, Problem
from mopd.verification import Judge, by_verifiers
from mopd.warmup import warm_up


def evaluate_student(
    student: Student,
    problems: Sequence[Problem],
    config: Config,
    seed: int,
    progress: ProgressDisplay,
    title: str = "evaluate",
    judge: Judge = by_verifiers,
    step: int = 0,
) -> dict[str, Any]:
    """mean@k and pass@k of `student` over `problems`, k = `evaluation.rollouts`, as a JSON object.

    Sampling is the run's own unless `[evaluation]` says otherwise; randomness is from (seed, problem id, rollout).
    `judge` is told that `step` steps are done; its metrics are among the figures.
    """
    count = config.evaluation.rollouts
    groups, judging = attempt_problems(student, problems, config, count, seed, progress, title, judge, step)
    return summarise(groups, count) | judging


def attempt_problems(
    student: Student,
    problems: Sequence[Problem],
    config: Config,
    count: int,
    seed: int,
    progress: ProgressDisplay,
    title: str,
    judge: Judge,
    step: int = 0,
) -> tuple[list[Group], dict[str, float]]:
    """A verified group of `count` rollouts a problem, sampled as `evaluate_student` says; the judge's metrics."""
    sampling = config.sampling
    engine = LocalEngine(student, config.compute.sampling_rows)
    with progress.phase(title, len(problems) * count) as phase:
        groups = engine.sample_groups(
            problems,
            count,
            key=lambda problem: (seed, "evaluation", problem.id),
            step=0,
            success_reward=config.success_reward,
            completion_tokens=sampling.completion_tokens,
            temperature=config.evaluation.temperature or sampling.temperature,
            top_p=config.evaluation.top_p or sampling.top_p,
            on_batch=phase.advance,
        )
        return judge(groups, step)


def summarise(groups: Sequence[Group], k: int) -> dict[str, Any]:
    """The figures of verified groups of k rollouts.

    Rollouts whose grader failed are left out and counted; a problem with none left is left out and counted.
    """
    counts = [_judged_and_right(group) for group in groups]
    counted = [(n, c) for n, c in counts if n]
    means = [c / n for n, c in counted]
    passes = [pass_at_k(n, c, min(n, k)) for n, c in counted]
    kinds = [verdict.kind for group in groups for verdict in group.verdicts]
    return {
        f"mean_at_{k}": mean_or_zero(means),
        f"mean_at_{k}_interval": _interval(means),
        f"pass_at_{k}": mean_or_zero(passes),
        f"pass_at_{k}_interval": _interval(passes),
        "problems": float(len(counted)),
        "problems_without_verdict": float(len(counts) - len(counted)),
        "completion_tokens_mean": mean_or_zero([len(r.token_ids) for group in groups for r in group.rollouts]),
        "kinds": {kind: float(kinds.count(kind)) for kind in VERDICT_KINDS},
        "successes_by_problem": {g.problem.id: c for g, (n, c) in zip(groups, counts, strict=True) if n},
        "judged_by_problem": {g.problem.id: n for g, (n, c) in zip(groups, counts, strict=True) if n},
    }


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
    judge = make_judge(config, problems, reward_functions)
    student = prepare_student(config, problems)
    progress = ProgressDisplay(quiet)
    if config.warmup is not None and target.startswith(PREFIX):
        warm_up(student, problems, config, progress)
    figures = evaluate_student(student, problems.held_out, config, seed, progress, judge=judge, step=step)
    return {"model": target, "seed": seed, **figures}


def _judged_and_right(group: Group) -> tuple[int, int]:
    judged = [verdict.kind != "error" for verdict in group.verdicts]
    return sum(judged), sum(group.is_success(rollout.index) for rollout in group.rollouts)


def _interval(values: Sequence[float]) -> list[float]:
    return list(bootstrap_interval(values)) if values else [0.0, 1.0]


def paired_gain(before: dict[str, Any], after: dict[str, Any]) -> tuple[float, tuple[float, float]]:
    """The mean over problems of the change in success rate, with its paired 95 % interval."""
    rates = [{p: c / e["judged_by_problem"][p] for p, c in e["successes_by_problem"].items()} for e in (before, after)]
    changes = [rates[1][problem] - rate for problem, rate in rates[0].items() if problem in rates[1]]
    return mean_or_zero(changes), bootstrap_interval(changes) if changes else (-1.0, 1.0)
