"""A run from its configuration to its summary: warm up, evaluate, step after step, resume exactly."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from mopd.config import Config
from mopd.evaluation.held_out import evaluate, paired_gain, warm_up_measured
from mopd.evaluation.reading import find_recipe
from mopd.judging.choosing import Given, make_judge, make_judge_again, with_functions
from mopd.judging.verdicts import Judge
from mopd.method.recipes import in_force
from mopd.preflight.checks import check_compiler, check_paths
from mopd.preflight.setup import Setup, prepare, prepare_problems
from mopd.problems import ProblemSet
from mopd.runs.checkpoint import from_checkpoint
from mopd.runs.completions import describe_completions, keep_completions
from mopd.runs.directory import check_may_begin
from mopd.runs.inputs import describe_inputs, freeze_day
from mopd.runs.paths import settled
from mopd.runs.progress import Phase, ProgressDisplay, open_standard_streams, say
from mopd.runs.records import read_jsonl
from mopd.runs.run import Run
from mopd.runs.stopping import Stopping, Terminated
from mopd.runs.trackers import Tracker, check_tracker, open_tracker
from mopd.training.alarms import Watch
from mopd.training.nothing_learnt import nothing_learnt
from mopd.training.step import StepClock, Stepper, StepResult


def train(
    config: Config, *, reward_functions: Given = None, fresh: bool = False, quiet: bool = False
) -> dict[str, Any]:
    """Train as `config` says and return the run's summary (also written to summary.json).

    `reward_functions` judge instead of verifiers, as `rewards.functions` would (docs/rewards.md). `fresh` moves a run
    that is already at `config.run` aside; `quiet` shows no progress. Raises MopdError.
    """
    began = time.perf_counter()
    open_standard_streams()
    with Stopping() as stopping:
        config = with_functions(settled(config), reward_functions)  # paths first: reward functions may change directory
        check_may_begin(Path(config.run), fresh)
        check_paths(config)
        check_compiler(config)
        check_tracker(config)
        problems = prepare_problems(config)  # before anything is written: bad input leaves no trace
        problems.check_steps(config.steps, config.problems_per_step)
        judge = make_judge(config, problems, reward_functions)
        setup = prepare(config, problems, judge, tell=_teller(quiet))
        moment = datetime.now().isoformat()
        with _closing(Run.begin(config, {"began": moment} | _inputs(setup, moment), fresh)) as run:
            return _Training(run, setup, quiet, began, stopping).go()


def resume(
    path: str | Path, *, expected: Config | None = None, reward_functions: Given = None, quiet: bool = False
) -> dict[str, Any]:
    """Continue the run at `path` from its newest checkpoint; a finished run returns its summary again.

    `expected`, if given, is the configuration the run began with, but for what may change (docs/runs.md): a run with
    more steps is prolonged. `reward_functions` are those that `train` was given; those that can be imported by name
    need not be given again. Raises MopdError.
    """
    began = time.perf_counter()
    open_standard_streams()
    with Stopping() as stopping, _closing(Run.reopen(Path(path), expected)) as run:
        if not run.changes and (summary := run.finished()) is not None and reward_functions is None:
            return summary
        check_compiler(run.config)
        check_tracker(run.config)
        problems = prepare_problems(run.config)
        problems.check_steps(run.config.steps, run.config.problems_per_step)
        judge = make_judge_again(run.config, problems, reward_functions)
        setup = _prepared_again(run, problems, judge, quiet)
        run.accept(_inputs(setup, run.began()))
        return _Training(run, setup, quiet, began, stopping).go()


def _prepared_again(run: Run, problems: ProblemSet, judge: Judge, quiet: bool) -> Setup:
    """The setup of a run that goes on, with its student from the newest checkpoint."""
    if run.newest is None:
        return prepare(run.config, problems, judge, tell=_teller(quiet))
    folder, _ = run.newest
    with from_checkpoint(folder):
        return prepare(run.config, problems, judge, folder, tell=_teller(quiet))


def _teller(quiet: bool) -> Callable[[str], object]:
    return str if quiet else say


def _inputs(setup: Setup, began: str) -> dict[str, Any]:
    """What the run depends on besides its configuration. From here on templates write the day on which it `began`."""
    freeze_day(setup.student.tokenizer, began)
    functions = getattr(setup.judge, "functions", ())
    return describe_inputs(setup.problems, functions, setup.student)


@contextmanager
def _closing(run: Run) -> Iterator[Run]:
    try:
        yield run
    finally:
        run.close()


class _Clock(StepClock):
    """A step's clock that holds SIGTERM from the moment at which weights may move."""

    def __init__(self, phase: Phase, stopping: Stopping) -> None:
        super().__init__(phase)
        self._stopping = stopping

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Count the block's seconds under `name`."""
        if name in ("teacher", "student", "update"):
            self._stopping.hold()
        with super().__call__(name):
            yield


class _Training:
    """A run from where it stands to its summary. Its seconds are those of this process, since `began`."""

    def __init__(self, run: Run, setup: Setup, quiet: bool, began: float, stopping: Stopping) -> None:
        self.run, self.setup, self.config = run, setup, setup.config
        self.progress, self.tell = ProgressDisplay(quiet), _teller(quiet)
        self.tracker = Tracker()
        self.began, self.stopping = began, stopping
        self.seconds: dict[str, float] = {"warmup": 0.0, "train": 0.0, "evaluate": 0.0, "total": 0.0}
        self.done: int | None = None
        """Steps behind the state that student, teacher and optimiser are in; None before there is one to save."""

    def go(self) -> dict[str, Any]:
        """Train from where the run stands and return its summary."""
        if (summary := self.run.finished()) is not None:
            return summary
        try:
            return self._go()
        finally:
            self.tracker.close()

    def _go(self) -> dict[str, Any]:
        is_new = self.run.newest is None
        if is_new:
            self._warm_up()  # before there is a teacher, which begins as the warmed-up student
            self._preflight()
        self.tracker = open_tracker(self.run.config)  # not before: of a run that is refused it would leave files
        config = in_force(self.setup.config, self.run.preflight())
        self.setup = dataclasses.replace(self.setup, config=config)
        stepper = Stepper(self.setup)
        try:
            done = self.run.restore(self.setup.student, stepper.teacher, stepper.learner.optimizer)
            stepper.pausing.recall(read_jsonl(self.run.path / "metrics.jsonl"))
            if is_new:
                self._evaluate(0, "evaluate before")
                self._save(0, stepper)
            self.done = done or 0
            self._train(stepper, self.done)
        except Terminated as ended:
            self._save_at_end(stepper, ended.name)
            raise
        self.seconds["total"] = time.perf_counter() - self.began
        summary = self._summary()
        self.run.write_summary(summary)
        return summary

    def _save(self, steps: int, stepper: Stepper) -> None:
        self.stopping.hold()
        self.run.save(steps, self.setup.student, stepper.teacher, stepper.learner.optimizer)
        self.stopping.release()

    def _save_at_end(self, stepper: Stepper, by: str) -> None:
        """A signal came: keep the steps done so far, and say where they are."""
        newest = self.run.newest
        if self.done is not None and (newest is None or newest[1].step < self.done):
            self.run.save(self.done, self.setup.student, stepper.teacher, stepper.learner.optimizer)
        kept = "nothing was learnt yet" if self.run.newest is None else f"the run is saved in {self.run.newest[0]}"
        say(f"ended by {by}; {kept}; it goes on with `mopd train --resume {self.run.path}`")

    def _warm_up(self) -> None:
        """Warm up, with the figures before it, and record what it did."""
        if self.config.warmup is None:
            return
        report = warm_up_measured(self.setup, self.progress)
        self.seconds["warmup"] = report.seconds
        error = {"cache_error": report.cache_error} if report.cache_error else {}
        self.run.record_warmup({"is_cached": report.is_cached, **error, **report.figures})

    def _preflight(self) -> None:
        """Find the recipe of peers, and record it. Raises PreflightError where nothing can be learnt."""
        if self.config.preflight.action == "off":
            return
        began = time.perf_counter()
        found = find_recipe(self.setup, self.progress)
        self.run.record_preflight(found.as_json())
        if found.finding is not None and found.is_refused:
            self.run.withdraw()
            raise found.finding
        if found.finding is not None:
            say(f"warning: {found.finding}")
        elif found.recipe is not None:
            self.tell(f"recipe of peers: {found.recipe.name}; {found.reason}")
        self.seconds["preflight"] = time.perf_counter() - began

    def _train(self, stepper: Stepper, done: int) -> None:
        config = self.config
        began, evaluating = time.perf_counter(), self.seconds["evaluate"]
        with self.progress.phase("train", config.steps) as phase:
            phase.advance(done)
            watch = Watch(config.alarms, self.run)
            if self._is_evaluation_missing(done):  # ended before it, or due since the settings were changed
                self._after(done, stepper)
            for step in range(done, config.steps):
                result = stepper.step(step, _Clock(phase, self.stopping))
                self._record(step, result)
                phase.advance(
                    note=f"success {result.metrics['reward/success_share']:.2f}" + self._compiled(result.metrics)
                )
                watch.step({"step": step, **result.metrics})
                self._after(step + 1, stepper)
                if self._is_evaluation_due(step + 1) and self.setup.problems.held_out:
                    watch.evaluation(is_last=step + 1 == config.steps)
        self.seconds["train"] = time.perf_counter() - began - (self.seconds["evaluate"] - evaluating)

    def _record(self, step: int, result: StepResult) -> None:
        """Write a step down. It counts as done from then on: SIGTERM finds it whole or not at all."""
        self.stopping.hold()
        self.run.record_groups(result.groups, result.records)
        self.run.record_metrics({"step": step, **result.metrics})
        self.tracker.log(step, result.metrics)
        self.done = step + 1
        self.stopping.release()

    def _compiled(self, metrics: dict[str, float]) -> str:
        """Count what a step's compilation took, and say it where there was any."""
        seconds = metrics.get("time/compile_s", 0.0)
        if self.config.compute.compile:
            self.seconds["compile"] = self.seconds.get("compile", 0.0) + seconds
        return f", compiled in {seconds:.0f} s" if seconds else ""

    def _after(self, steps: int, stepper: Stepper) -> None:
        """Evaluate and checkpoint where due after `steps` steps; evaluated first, so that a checkpoint covers it."""
        config, is_last = self.config, steps == self.config.steps
        if self._is_evaluation_due(steps):
            self._evaluate(steps, "evaluate after" if is_last else f"evaluate at {steps}")
        if is_last or steps % config.checkpoint.every == 0:
            self._save(steps, stepper)

    def _is_evaluation_due(self, steps: int) -> bool:
        every = self.config.evaluation.every
        return steps == self.config.steps or bool(every and steps % every == 0)

    def _is_evaluation_missing(self, steps: int) -> bool:
        is_known = any(figures["step"] == steps for figures in self.run.evaluations())
        return steps > 0 and bool(self.setup.problems.held_out) and self._is_evaluation_due(steps) and not is_known

    def _evaluate(self, steps: int, title: str) -> None:
        """Attempt the held-out problems and record the completions and the figures."""
        if not self.setup.problems.held_out:
            return
        began = time.perf_counter()
        found = evaluate(self.setup, self.progress, title, step=steps)
        self.seconds["evaluate"] += time.perf_counter() - began
        completions = describe_completions(found.groups) if self.config.evaluation.keep_completions else []
        if completions:
            keep_completions(self.run.path, steps, completions)
        asked, sampling = self.config.evaluation, self.config.evaluation_sampling
        measured = {"rollouts": asked.rollouts, "temperature": sampling.temperature, "top_p": sampling.top_p}
        self.run.record_evaluation({"step": steps, "measured": measured, **found.figures})
        self.tracker.log(steps, {f"evaluation/{name}": v for name, v in found.figures.items() if isinstance(v, float)})
        self.tracker.log_completions(steps, completions)

    def _summary(self) -> dict[str, Any]:
        summary: dict[str, Any] = {"run": str(self.run.path), "steps": self.config.steps, "seed": self.config.seed}
        summary |= _before_and_after(self.run.evaluations())
        summary["split"] = dataclasses.asdict(self.setup.problems.split)
        summary["seconds"] = self.seconds
        if warmup := self.run.warmup():
            summary["warmup"] = warmup
        if found := self.run.preflight():
            summary["preflight"] = found
        if self.tracker.failed_count:
            summary["tracker_failed_count"] = self.tracker.failed_count
        if told := nothing_learnt(read_jsonl(self.run.path / "metrics.jsonl"), self.config):
            summary["nothing_learnt"] = told
        return summary


def _before_and_after(evaluations: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The first and the last evaluation and the gain between them, where they were measured alike."""
    if not evaluations:
        return {}
    after = evaluations[-1]
    alike = (None, after["measured"]) if "measured" in after else (None,)  # older runs did not write it down
    before = next(figures for figures in evaluations if figures.get("measured") in alike)
    if before is after and len(evaluations) > 1:  # since a change of [evaluation] there was one alone
        return {"after": after}
    gain, interval = paired_gain(before, after)
    return {"before": before, "after": after, "gain": {"mean": gain, "interval": list(interval)}}
