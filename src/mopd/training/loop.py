"""A run from its configuration to its summary: warm up, evaluate, step after step, resume exactly."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mopd.config import Config
from mopd.core.types import Group
from mopd.evaluation.from_contexts import accuracy_by_recipe
from mopd.evaluation.held_out import attempt_held_out, paired_gain, summarise, warm_up_measured
from mopd.judging.choosing import Given, make_judge, make_judge_again, with_functions
from mopd.preflight.checks import check_compiler
from mopd.preflight.setup import Setup, prepare, prepare_problems
from mopd.runs.checkpoint import latest_checkpoint
from mopd.runs.progress import ProgressDisplay
from mopd.runs.run import Run
from mopd.runs.trackers import open_tracker
from mopd.training.step import StepClock, Stepper


def train(
    config: Config, *, reward_functions: Given = None, fresh: bool = False, quiet: bool = False
) -> dict[str, Any]:
    """Train as `config` says and return the run's summary (also written to summary.json).

    `reward_functions` judge instead of verifiers, as `rewards.functions` would (docs/rewards.md). `fresh` moves a run
    that is already at `config.run` aside; `quiet` shows no progress. Raises MopdError.
    """
    began = time.perf_counter()
    config = with_functions(config, reward_functions)
    check_compiler(config)
    problems = prepare_problems(config)  # before anything is written: bad input leaves no trace
    setup = prepare(config, problems, make_judge(config, problems, reward_functions))
    with _closing(Run.begin(config, fresh)) as run:
        return _Training(run, setup, quiet, began).go()


def resume(
    path: str | Path, *, expected: Config | None = None, reward_functions: Given = None, quiet: bool = False
) -> dict[str, Any]:
    """Continue the run at `path` from its newest checkpoint; a finished run returns its summary again.

    `expected`, if given, must equal the configuration the run began with. `reward_functions` are those that `train`
    was given; those that can be imported by name need not be given again. Raises MopdError.
    """
    began = time.perf_counter()
    with _closing(Run.reopen(Path(path), expected)) as run:
        check_compiler(run.config)
        problems = prepare_problems(run.config)
        judge = make_judge_again(run.config, problems, reward_functions)
        setup = prepare(run.config, problems, judge, latest_checkpoint(run.checkpoints))
        return _Training(run, setup, quiet, began).go()


@contextmanager
def _closing(run: Run) -> Iterator[Run]:
    try:
        yield run
    finally:
        run.close()


class _Training:
    """A run from where it stands to its summary. Its seconds are those of this process, since `began`."""

    def __init__(self, run: Run, setup: Setup, quiet: bool, began: float) -> None:
        self.run, self.setup, self.config = run, setup, setup.config
        self.progress = ProgressDisplay(quiet)
        self.tracker = open_tracker(run.config)
        self.began = began
        self.seconds: dict[str, float] = {"warmup": 0.0, "train": 0.0, "evaluate": 0.0, "total": 0.0}

    def go(self) -> dict[str, Any]:
        """Train from where the run stands and return its summary."""
        if (self.run.path / "summary.json").exists():
            return read_summary(self.run.path)
        stepper = Stepper(self.setup)
        done = self.run.restore(self.setup.student, stepper.teacher, stepper.learner.optimizer)
        if done is None:
            self._warm_up()
            # again: the teacher begins as the warmed-up student
            stepper = Stepper(self.setup)
            groups = self._evaluate(0, "evaluate before")
            self._measure_reading(groups)
            self.run.save(0, self.setup.student, stepper.teacher, stepper.learner.optimizer)
        self._train(stepper, done or 0)
        self.seconds["total"] = time.perf_counter() - self.began
        summary = self._summary()
        self.run.write_summary(summary)
        self.tracker.close()
        return summary

    def _warm_up(self) -> None:
        """Warm up, with the figures before it, and record what it did."""
        if self.config.warmup is None:
            return
        report = warm_up_measured(self.setup, self.progress)
        self.seconds["warmup"] = report.seconds
        self.run.record_warmup({"is_cached": report.is_cached, **report.figures})

    def _measure_reading(self, groups: Sequence[Group]) -> None:
        """How well the student that training begins with reads contexts of its own held-out rollouts."""
        if self.config.warmup is None or self.config.objective.kind != "distill" or not groups:
            return
        began = time.perf_counter()
        figures = accuracy_by_recipe(self.setup, groups, self.config.evaluation.reading_contexts)
        self.seconds["evaluate"] += time.perf_counter() - began
        self.run.record_warmup({"reading": figures})

    def _train(self, stepper: Stepper, done: int) -> None:
        config = self.config
        began, evaluating = time.perf_counter(), self.seconds["evaluate"]
        with self.progress.phase("train", config.steps) as phase:
            phase.advance(done)
            for step in range(done, config.steps):
                result = stepper.step(step, StepClock(phase))
                self.run.record_groups(result.groups, result.records)
                self.run.record_metrics({"step": step, **result.metrics})
                self.tracker.log(step, result.metrics)
                phase.advance(
                    note=f"success {result.metrics['reward/success_share']:.2f}" + self._compiled(result.metrics)
                )
                self._after(step + 1, stepper)
        self.seconds["train"] = time.perf_counter() - began - (self.seconds["evaluate"] - evaluating)

    def _compiled(self, metrics: dict[str, float]) -> str:
        """Count what a step's compilation took, and say it where there was any."""
        seconds = metrics.get("time/compile_s", 0.0)
        if self.config.compute.compile:
            self.seconds["compile"] = self.seconds.get("compile", 0.0) + seconds
        return f", compiled in {seconds:.0f} s" if seconds else ""

    def _after(self, steps: int, stepper: Stepper) -> None:
        """Evaluate and checkpoint where due after `steps` steps; evaluated first, so that a checkpoint covers it."""
        config, is_last = self.config, steps == self.config.steps
        if is_last or (config.evaluation.every and steps % config.evaluation.every == 0):
            self._evaluate(steps, "evaluate after" if is_last else f"evaluate at {steps}")
        if is_last or steps % config.checkpoint.every == 0:
            self.run.save(steps, self.setup.student, stepper.teacher, stepper.learner.optimizer)

    def _evaluate(self, steps: int, title: str) -> list[Group]:
        """Attempt the held-out problems, record the figures, and return the groups."""
        if not self.setup.problems.held_out:
            return []
        began = time.perf_counter()
        count = self.config.evaluation.rollouts
        groups, judging = attempt_held_out(self.setup, count, self.progress, title, step=steps)
        figures = summarise(groups, count) | judging
        self.seconds["evaluate"] += time.perf_counter() - began
        self.run.record_evaluation({"step": steps, **figures})
        self.tracker.log(steps, {f"evaluation/{name}": v for name, v in figures.items() if isinstance(v, float)})
        return groups

    def _summary(self) -> dict[str, Any]:
        evaluations = self.run.evaluations()
        summary: dict[str, Any] = {"run": str(self.run.path), "steps": self.config.steps, "seed": self.config.seed}
        if evaluations:
            before, after = evaluations[0], evaluations[-1]
            gain, interval = paired_gain(before, after)
            summary |= {"before": before, "after": after, "gain": {"mean": gain, "interval": list(interval)}}
        summary["split"] = dataclasses.asdict(self.setup.problems.split)
        summary["seconds"] = self.seconds
        if warmup := self.run.warmup():
            summary["warmup"] = warmup
        return summary


def read_summary(path: Path) -> dict[str, Any]:
    """summary.json of a finished run."""
    found: dict[str, Any] = json.loads((path / "summary.json").read_text(encoding="utf-8"))
    return found
