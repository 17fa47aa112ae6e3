"""Held-out problems: mean@k and unbiased pass@k with problem-level bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mopd.core.statistics import bootstrap_interval, mean_or_zero, pass_at_k, wilson_interval
from mopd.core.types import VERDICT_KINDS, Group
from mopd.preflight.setup import Setup
from mopd.rollouts.engine import sample_groups
from mopd.runs.progress import ProgressDisplay
from mopd.warmup.warmup import WarmupReport, warm_up


def attempt_held_out(
    setup: Setup, count: int, progress: ProgressDisplay, title: str, seed: int | None = None, step: int = 0
) -> tuple[list[Group], dict[str, float]]:
    """A verified group of `count` rollouts for each held-out problem, and the judge's metrics.

    The student samples as it is now, as the run does unless `[evaluation]` says otherwise. Randomness is from (seed,
    problem id, rollout); the seed is the run's own unless given. The judge is told that `step` steps are done.
    """
    config, student, held_out = setup.config, setup.student, setup.problems.held_out
    of_seed = config.seed if seed is None else seed
    setup.engine.sync(student.model)
    with progress.phase(title, len(held_out) * count) as phase:
        groups = sample_groups(
            setup.engine,
            student.tokenizer.encode_prompt,
            held_out,
            count,
            config.evaluation_sampling,
            key=lambda problem: (of_seed, "evaluation", problem.id),
            success_reward=config.success_reward,
            on_batch=phase.advance,
        )
        return setup.judge(groups, step)


@dataclass(frozen=True)
class Evaluation:
    """The attempts at held-out problems, and their figures, for JSON: mean@k and pass@k with the judge's metrics."""

    groups: Sequence[Group]
    figures: dict[str, Any]


def evaluate_held_out(
    setup: Setup, progress: ProgressDisplay, title: str = "evaluate", seed: int | None = None, step: int = 0
) -> Evaluation:
    """Attempt each held-out problem k = `evaluation.rollouts` times."""
    count = setup.config.evaluation.rollouts
    groups, judging = attempt_held_out(setup, count, progress, title, seed, step)
    return Evaluation(groups, summarise(groups, count) | judging)


def warm_up_measured(setup: Setup, progress: ProgressDisplay) -> WarmupReport:
    """Warm the student up, with the figures before it: held-out problems, one attempt each.

    Training and evaluation both come here, so that they find one warmed-up student in the cache.
    """

    def figures_before() -> dict[str, Any]:
        if not setup.problems.held_out:
            return {}
        return summarise(attempt_held_out(setup, 1, progress, "evaluate as it came")[0], 1)

    return warm_up(setup, progress, figures_before)


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


def _judged_and_right(group: Group) -> tuple[int, int]:
    judged = [verdict.kind != "error" for verdict in group.verdicts]
    return sum(judged), sum(group.is_success(rollout.index) for rollout in group.rollouts)


def _interval(values: Sequence[float]) -> list[float]:
    """95 %: a bootstrap over problems; Wilson's where all are 0 or all 1, of which a bootstrap makes no width."""
    if len(set(values)) == 1 and values[0] in (0.0, 1.0):
        return list(wilson_interval(round(sum(values)), len(values)))
    return list(bootstrap_interval(values)) if values else [0.0, 1.0]


def paired_gain(before: dict[str, Any], after: dict[str, Any]) -> tuple[float, tuple[float, float]]:
    """The mean over problems of the change in success rate, with its paired 95 % interval."""
    rates = [{p: c / e["judged_by_problem"][p] for p, c in e["successes_by_problem"].items()} for e in (before, after)]
    changes = [rates[1][problem] - rate for problem, rate in rates[0].items() if problem in rates[1]]
    return mean_or_zero(changes), bootstrap_interval(changes) if changes else (-1.0, 1.0)
