"""All that can be known of a run before it: `mopd preflight`.

A run measures before its first step what it needs to choose a recipe (`reading`). The command goes on from there: every
recipe on every case, feedback and controls, the teacher's scores of the attempts, what a step will cost, and a verdict.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from mopd.config import PYTHON_PREFIX, Config, override_config
from mopd.core.errors import MopdError, StudentError
from mopd.core.statistics import mean_or_zero
from mopd.estimating.estimate import Estimator
from mopd.estimating.layout import EXPECTED_SHARE
from mopd.evaluation.attempts import Attempts
from mopd.evaluation.held_out import warm_up_measured
from mopd.evaluation.opening import open_setup
from mopd.evaluation.reading import Preflight, find_recipe, is_over_budget, maker_of
from mopd.evaluation.recipes_table import Row, table_of
from mopd.judging.choosing import Given
from mopd.method.advice import Advice, Measured, advise
from mopd.models.embedded import PREFIX
from mopd.models.passed import StudentGiven, model_of, with_student
from mopd.preflight.setup import Setup
from mopd.problems import Passed, ProblemsGiven, with_passed
from mopd.runs.paths import settled
from mopd.runs.progress import ProgressDisplay


@dataclass(frozen=True)
class Cost:
    """What a step is expected to take: seconds by phase, without verification, with completions that are
    `EXPECTED_SHARE` as long as they may be. `measured_tokens` is how long the attempts were on average."""

    seconds: dict[str, float]
    measured_tokens: float

    def as_json(self) -> dict[str, Any]:
        """With the seconds of the whole step."""
        return {"step_s": sum(self.seconds.values()), "completion_share": EXPECTED_SHARE, **asdict(self)}


@dataclass(frozen=True)
class PreflightReport:
    """What a run under `config` would find; besides it, the student alone and every recipe (`rows`), the verdict, what
    a step costs, and what was not measured, with why (`left_out`)."""

    config: Config
    found: Preflight
    rows: Sequence[Row]
    advice: Advice
    cost: Cost | None
    left_out: Sequence[str]

    def as_json(self) -> dict[str, Any]:
        """For the file of `mopd preflight --json`: what preflight.json holds of a run, and all else."""
        config = self.config
        read = ("student", "seed", "group_size", "problems_per_step", "success_reward", "sampling", "preflight")
        return self.found.as_json() | {
            "readings": [row.as_json(self.rows[0]) for row in self.rows],
            "verdict": self.advice.as_json(),
            "verdicts": self.found.attempts.verdicts,
            "cases": [{"problem_id": group.problem.id, "rollout": index} for group, index in self.found.cases],
            "cost": None if self.cost is None else self.cost.as_json(),
            "left_out": list(self.left_out),
            "measured_with": config.model_dump(mode="json", include=set(read)),
        }


def run_preflight(
    config: Config,
    quiet: bool = False,
    reward_functions: Given = None,
    problems: ProblemsGiven | None = None,
    held_out: ProblemsGiven | None = None,
    student: StudentGiven = None,
) -> PreflightReport:
    """What a run under `config` would find before its first step, and more; only a warm-up is written, into the cache.

    `problems`, `held_out`, `student` and `reward_functions` are those that `train` would be given. A model that is
    passed as a student is changed by a warm-up, where there is one. Raises MopdError.
    """
    passed = Passed(problems, held_out)
    config = with_passed(settled(with_student(config, student)), passed)
    setup = open_setup(config, reward_functions, passed, model_of(student), teaches=True)
    progress = ProgressDisplay(quiet)
    if config.warmup is not None:
        warm_up_measured(setup, progress)
    began = time.monotonic()
    found = find_recipe(setup, progress)
    return _report(setup, found, progress, time.monotonic() - began)


def _report(setup: Setup, found: Preflight, progress: ProgressDisplay, seconds: float) -> PreflightReport:
    """Go on from what a run would find, which took so many seconds."""
    rows, left_out = table_of(setup, found, progress, seconds)
    advice = advise(_measured(setup, found, rows))
    cost, why = _cost(setup, found.attempts, advice)
    return PreflightReport(setup.config, found, rows, advice, cost, [*left_out, *why])


def _measured(setup: Setup, found: Preflight, rows: Sequence[Row]) -> Measured:
    """What the advice follows from."""
    config, kinds = setup.config, found.attempts.kinds
    taken = next((row for row in rows[1:] if row.reading.recipe == found.recipe), None)
    fits = not is_over_budget(found.readings, len(found.cases))
    return Measured(
        attempted=len(kinds),
        solved=kinds.count("solved"),
        failed=kinds.count("failed"),
        problems_per_step=config.problems_per_step,
        has_teacher=config.objective.kind == "distill",
        is_external=config.is_taught_by_another,
        has_warmup=config.warmup is not None,
        warmup_settings=_warmup_settings(config),
        context_settings=() if fits else _context_settings(setup, found),
        fits=fits,
        alone=found.alone if taken else None,
        taken=None if taken is None else taken.reading,
        readings=[row.reading for row in rows[1:] if not row.is_control],
        controls=[row.reading for row in rows[1:] if row.is_control],
        finding=found.finding,
        auc=None if taken is None else taken.scores.signal("auc").mean,
    )


def _warmup_settings(config: Config) -> tuple[str, ...]:
    """A first warm-up, or twice the one that there is."""
    if config.warmup is None:
        kind, steps, contexts = ("demonstrator", 300, 0) if config.student.startswith(PREFIX) else ("solutions", 24, 20)
    else:
        kind, steps = config.warmup.kind, 2 * config.warmup.steps
        contexts = 2 * config.warmup.context_steps if config.warmup.kind == "solutions" else 0
    told = (f"warmup.kind = '{kind}'", f"warmup.steps = {steps}")
    return (*told, f"warmup.context_steps = {contexts}") if contexts else told


def _context_settings(setup: Setup, found: Preflight) -> tuple[str, ...]:
    """The budget that holds every context of the recipe whole, where the student's window has room for it."""
    if found.taken is None or found.recipe is None:
        return ()
    room = setup.student.window - setup.config.sampling.completion_tokens
    context = setup.config.context.model_copy(update={"tokens": setup.student.window})
    whole = replace(setup, config=setup.config.model_copy(update={"context": context}))
    maker = maker_of(whole, found.recipe)
    contexts = [maker.make_one(group, index, [group]).context for group, index in found.cases]
    needed = max((context.token_count for context in contexts if context is not None), default=0)
    return (f"context.tokens = {needed}",) if setup.config.context.tokens < needed <= room else ()


def _cost(setup: Setup, attempts: Attempts, advice: Advice) -> tuple[Cost | None, list[str]]:
    """What a step of the advised settings will take, as `mopd estimate` finds it; or why that is not known."""
    try:
        if setup.config.student.startswith(PYTHON_PREFIX):
            raise StudentError("a model is estimated by its name", "a model passed in Python", "name it")
        config = override_config(setup.config, advice.settings, "the advised settings")
        seconds = Estimator.of(config, "auto").seconds(is_worst=False)
    except MopdError as error:
        return None, [f"cost of a step: {error.got}"]
    lengths = [len(rollout.token_ids) for group in attempts.groups for rollout in group.rollouts]
    return Cost(seconds, mean_or_zero(lengths)), []
