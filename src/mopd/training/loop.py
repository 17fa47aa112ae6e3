"""A run from its configuration to its summary: warm up, evaluate, step after step, resume exactly."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from mopd.config import Config
from mopd.estimating.fitting import check_fits, process_bytes
from mopd.evaluation.held_out import evaluate_held_out, warm_up_measured
from mopd.evaluation.reading import find_recipe
from mopd.judging.choosing import Given, make_judge, make_judge_again, with_functions
from mopd.judging.verdicts import Judge
from mopd.method.recipes import in_force
from mopd.models.memory import told_if_full
from mopd.models.passed import StudentGiven, model_of, with_student
from mopd.models.weights import held_tensors
from mopd.parallel.ranks import open_ranks, told_if_rank_lost
from mopd.preflight.checks import check_compiler, check_moments, check_parallel, check_paths
from mopd.preflight.setup import Setup, prepare, prepare_problems
from mopd.problems import Passed, ProblemSet, ProblemsGiven, check_passed_again, with_passed
from mopd.report.header import header_lines
from mopd.report.live import LiveView
from mopd.runs.checkpoint import from_checkpoint
from mopd.runs.completions import describe_completions
from mopd.runs.directory import check_may_begin
from mopd.runs.paths import settled
from mopd.runs.progress import ProgressDisplay, open_standard_streams, say
from mopd.runs.reading import read_config
from mopd.runs.run import Run
from mopd.runs.stopping import Stopping, Terminated
from mopd.runs.trackers import Tracker, check_tracker, open_tracker
from mopd.training.clock import StoppingClock
from mopd.training.inputs import inputs_of
from mopd.training.steering import Watch, restore
from mopd.training.step import Stepper, StepResult
from mopd.training.summary import summary_of
from mopd.training.watching import OnStep, StepDone


def train(
    config: Config,
    *,
    problems: ProblemsGiven | None = None,
    held_out: ProblemsGiven | None = None,
    student: StudentGiven = None,
    reward_functions: Given = None,
    on_step: OnStep | None = None,
    fresh: bool = False,
    force: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Train as `config` says and return the run's summary (also written to summary.json).

    `problems` and `held_out` (lists of Problem, lists of records, or a datasets.Dataset) take the place of
    `problems.source` and `problems.held_out_source`. `student` takes that of the key: a name, or a transformers model
    with its tokenizer, which is trained itself and ends as `compute.weights` says. `reward_functions` judge instead, as
    `rewards.functions` would (docs/rewards.md).

    `on_step` is called with a StepDone after each step is recorded and, where due, evaluated and checkpointed. What it
    returns is ignored; what it raises ends the run, which can be resumed. `fresh` moves a run that is already at
    `config.run` aside; `force` begins a run whose weights do not fit the device's memory; `quiet` shows no progress.
    docs/python.md has examples. Raises MopdError.
    """
    began = time.perf_counter()
    open_standard_streams()
    with Stopping() as stopping, open_ranks(config.parallel.timeout_s) as ranks:
        stopping.share(ranks)
        passed = Passed(problems, held_out)
        config = with_passed(settled(with_student(config, student)), passed)
        config = with_functions(config, reward_functions)  # paths first: reward functions may change directory
        check_may_begin(Path(config.run), fresh)
        check_paths(config)
        check_compiler(config)
        check_moments(config)
        check_parallel(config, ranks)
        check_tracker(config)
        found = prepare_problems(config, passed)  # before anything is written: bad input leaves no trace
        found.check_steps(config.steps, config.problems_per_step)
        if not force:
            check_fits(config, model_of(student), ranks.size)
        judge = make_judge(config, found, reward_functions)
        setup = prepare(config, found, judge, model=model_of(student), tell=_teller(quiet), ranks=ranks)
        moment = ranks.first(lambda: datetime.now().isoformat())
        with _closing(Run.begin(config, {"began": moment} | inputs_of(setup, moment), fresh, ranks)) as run:
            return _Training(run, setup, quiet, began, stopping, on_step).go()


def resume(
    path: str | Path,
    *,
    expected: Config | None = None,
    problems: ProblemsGiven | None = None,
    held_out: ProblemsGiven | None = None,
    reward_functions: Given = None,
    on_step: OnStep | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Continue the run at `path` from its newest checkpoint; a finished run returns its summary again.

    `expected`, if given, is the configuration the run began with, but for what may change (docs/runs.md): a run with
    more steps is prolonged. `problems`, `held_out` and `reward_functions` are those that `train` was given; functions
    that can be imported by name need not be given again. A student that was passed is in the checkpoint. `on_step` is
    as for `train`; steps behind the checkpoint are done, and told, again. Raises MopdError.
    """
    began = time.perf_counter()
    open_standard_streams()
    passed = Passed(problems, held_out)
    asked = None if expected is None else with_functions(with_passed(expected, passed), reward_functions)
    timeout_s = (asked or read_config(Path(path))).parallel.timeout_s
    with (
        Stopping() as stopping,
        open_ranks(timeout_s) as ranks,
        _closing(Run.reopen(Path(path), asked, ranks)) as run,
    ):
        stopping.share(ranks)
        is_given = passed.is_any or reward_functions is not None
        if not run.changes and (summary := run.finished()) is not None and not is_given:
            return summary
        check_passed_again(run.config, passed)
        check_compiler(run.config)
        check_moments(run.config)
        check_parallel(run.config, ranks)
        check_tracker(run.config)
        found = prepare_problems(run.config, passed)
        found.check_steps(run.config.steps, run.config.problems_per_step)
        judge = make_judge_again(run.config, found, reward_functions)
        setup = _prepared_again(run, found, judge, quiet)
        run.accept(inputs_of(setup, run.began()))
        return _Training(run, setup, quiet, began, stopping, on_step).go()


def _prepared_again(run: Run, problems: ProblemSet, judge: Judge, quiet: bool) -> Setup:
    """The setup of a run that goes on, with its student from the newest checkpoint."""
    if run.newest is None:
        return prepare(run.config, problems, judge, tell=_teller(quiet), ranks=run.ranks)
    folder, _ = run.newest
    with from_checkpoint(folder):
        return prepare(run.config, problems, judge, folder, tell=_teller(quiet), ranks=run.ranks)


def _teller(quiet: bool) -> Callable[[str], object]:
    return str if quiet else say


@contextmanager
def _closing(run: Run) -> Iterator[Run]:
    try:
        yield run
    finally:
        run.close()


class _Training:
    """A run from where it stands to its summary. Its seconds are those of this process, since `began`."""

    def __init__(
        self, run: Run, setup: Setup, quiet: bool, began: float, stopping: Stopping, on_step: OnStep | None
    ) -> None:
        self.run, self.setup, self.config = run, setup, setup.config
        quiet = quiet or not setup.ranks.is_first
        self.ranks, self.progress, self.tell = setup.ranks, ProgressDisplay(quiet), _teller(quiet)
        self.tracker = Tracker()
        self.began, self.stopping, self.on_step = began, stopping, on_step
        self.process = process_bytes(setup.student)
        self.seconds: dict[str, float] = {"warmup": 0.0, "train": 0.0, "evaluate": 0.0, "total": 0.0}
        self.done: int | None = None
        """Steps behind the state that student, teacher and optimiser are in; None before there is one to save."""

    def go(self) -> dict[str, Any]:
        """Train from where the run stands and return its summary."""
        if (summary := self.run.finished()) is not None:
            return summary
        try:
            with told_if_rank_lost():
                return self._go()
        finally:
            self.tracker.close()

    def _go(self) -> dict[str, Any]:
        is_new = self.run.newest is None
        for line in header_lines(self.setup, str(self.run.path), self.process):
            self.tell(line)
        if is_new:
            self.ranks.copy_from_first(held_tensors(self.setup.student.model))
            self._warm_up()  # before there is a teacher, which begins as the warmed-up student
            self._preflight()
        # not before: of a run that is refused it would leave files
        self.tracker = self.ranks.only_first(lambda: open_tracker(self.run.config)) or Tracker()
        config = in_force(self.setup.config, self.run.preflight())
        self.setup = dataclasses.replace(self.setup, config=config)
        self._tell_blend(config)
        with told_if_full(self.config, lambda: "update"):
            stepper = Stepper(self.setup)
        try:
            done = restore(self.run, stepper)
            if is_new:
                self._evaluate(0, "evaluate before")
                self._save(0, stepper)
            self.done = done or 0
            self._train(stepper, self.done)
        except Terminated as ended:
            self._save_at_end(stepper, ended.name)
            raise
        finally:
            stepper.attempts.end()
        self.seconds["total"] = time.perf_counter() - self.began
        failed = self.tracker.failed_count
        summary = self.ranks.first(lambda: summary_of(self.run, self.config, self.setup.problems, self.seconds, failed))
        self.run.write_summary(summary)
        return summary

    def _tell_blend(self, config: Config) -> None:
        """Say that GRPO has a part in the objective, which nobody may have asked for."""
        if share := config.grpo_share:
            self.tell(f"objective {1 - share:g} toward the teacher, {share:g} GRPO on the same rollouts")

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
        with told_if_full(self.config, lambda: "warmup"):
            report = warm_up_measured(self.setup, self.progress)
        self.seconds["warmup"] = report.seconds
        error = {"cache_error": report.cache_error} if report.cache_error else {}
        self.run.record_warmup({"is_cached": report.is_cached, **error, **report.figures})

    def _preflight(self) -> None:
        """Find the recipe of peers, and record it. Raises PreflightError where nothing can be learnt."""
        if self.config.preflight.action == "off":
            return
        began = time.perf_counter()
        with told_if_full(self.config, lambda: "sample"):
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
            live = LiveView(config.steps, self.run.metrics())
            watch = Watch(config.alarms, self.run, stepper)
            if self._is_evaluation_missing(done):  # ended before it, or due since the settings were changed
                done = self._after(done, stepper, watch)
            while done < config.steps:
                result = stepper.step(done, StoppingClock(phase, self.stopping))
                step, done = done, self._record(done, result, stepper, watch)
                row = {"step": step, **result.metrics}
                phase.show(*live.after(row, watch.given, done))
                if done > step:
                    done = self._after(done, stepper, watch)
                phase.advance(done - step, note=self._compiled(result.metrics))
                if self.on_step is not None:
                    self.on_step(StepDone.of(step, result))
        self.seconds["train"] = time.perf_counter() - began - (self.seconds["evaluate"] - evaluating)

    def _record(self, step: int, result: StepResult, stepper: Stepper, watch: Watch) -> int:
        """Write a step down, and act on its alarms. It counts as done from then on: SIGTERM finds it whole or not at
        all. Gives the steps done, fewer than before where the run fell back. Raises AlarmError."""
        self.stopping.hold()
        row = {"step": step, **result.metrics}
        if step == 0:
            self.run.record_beginning(stepper.beginning.state)
        self.run.record_groups(result.groups, result.records)
        self.run.record_metrics(row)
        self.tracker.log(step, result.metrics)
        fell_back_to = watch.step(row)
        self.done = step + 1 if fell_back_to is None else fell_back_to
        self.stopping.release()
        return self.done

    def _compiled(self, metrics: dict[str, float]) -> str:
        """Count what a step's compilation took, and say it where there was any."""
        seconds = metrics.get("time/compile_s", 0.0)
        if self.config.compute.compile:
            self.seconds["compile"] = self.seconds.get("compile", 0.0) + seconds
        return f"compiled in {seconds:.0f} s" if seconds else ""

    def _after(self, steps: int, stepper: Stepper, watch: Watch) -> int:
        """Evaluate and checkpoint where due after `steps` steps; evaluated first, so that a checkpoint covers it, and
        its alarms. Gives the steps done, fewer where the run fell back. Raises AlarmError."""
        config, is_last = self.config, steps == self.config.steps
        is_measured = self._is_evaluation_due(steps) and bool(self.setup.problems.held_out)
        if is_measured:
            self._evaluate(steps, "evaluate after" if is_last else f"evaluate at {steps}")
            self.stopping.hold()
            self.done = watch.evaluation(is_last) or steps
            self.stopping.release()
        if self.done == steps and (
            is_last or steps % config.checkpoint.every == 0 or (config.checkpoint.keep_best and is_measured)
        ):
            self._save(steps, stepper)
        return self.done or 0

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
        with told_if_full(self.config, lambda: "evaluate"):
            found = evaluate_held_out(self.setup, self.progress, title, step=steps)
        self.seconds["evaluate"] += time.perf_counter() - began
        completions = describe_completions(found.groups) if self.config.evaluation.keep_completions else []
        if completions:
            self.run.record_completions(steps, completions)
        asked, sampling = self.config.evaluation, self.config.evaluation_sampling
        measured = {"rollouts": asked.rollouts, "temperature": sampling.temperature, "top_p": sampling.top_p}
        self.run.record_evaluation({"step": steps, "measured": measured, **found.figures})
        self.tracker.log(steps, {f"evaluation/{name}": v for name, v in found.figures.items() if isinstance(v, float)})
        self.tracker.log_completions(steps, completions)
