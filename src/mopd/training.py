"""The loop: sample, verify, teach, update. It reads like the algorithm in docs/algorithm.md.

Each step the student attempts several problems several times; verifiers say which attempts succeeded; the teacher,
shown what an attempt's successful and failed peers wrote, says at every token of the attempt what it would have
written next; the student moves toward that.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mopd.checkpoint import latest_checkpoint
from mopd.config import Config
from mopd.engines.local import LocalEngine
from mopd.evaluation import attempt_problems, paired_gain, summarise
from mopd.learner import Learner
from mopd.lessons import LessonMaker
from mopd.preparation import check_compiler, prepare_problems, prepare_student
from mopd.problems import ProblemSet
from mopd.progress import Phase, ProgressDisplay
from mopd.reading import read_contexts, read_recipes
from mopd.rewards import Given, make_judge, make_judge_again, with_functions
from mopd.run import Run
from mopd.statistics import mean_or_zero
from mopd.students import Student
from mopd.teacher import Teacher
from mopd.trackers import open_tracker
from mopd.types import VERDICT_KINDS, Group, LessonRecord
from mopd.verification import Judge, by_verifiers
from mopd.warmup import warm_up

PHASES = ("sample", "verify", "contexts", "teacher", "student", "update")


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
    judge = make_judge(config, problems, reward_functions)
    student = prepare_student(config, problems)
    with _closing(Run.begin(config, fresh)) as run:
        return _Training(run, student, problems, judge, quiet, began).go()


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
        student = prepare_student(run.config, problems, latest_checkpoint(run.checkpoints))
        return _Training(run, student, problems, judge, quiet, began).go()


@contextmanager
def _closing(run: Run) -> Iterator[Run]:
    try:
        yield run
    finally:
        run.close()


class StepClock:
    """Wall seconds by phase of one step."""

    def __init__(self, phase: Phase | None = None) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._phase = phase

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Count the block's wall seconds under `name`."""
        if self._phase is not None:
            self._phase.note(name)
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - began


@dataclass
class StepResult:
    """One step's groups, what became of each rollout, and its metrics."""

    groups: list[Group]
    records: list[list[LessonRecord]]
    metrics: dict[str, float]


class Stepper:
    """Student, teacher, engine and learner, and one step of the method with them."""

    def __init__(self, config: Config, student: Student, problems: ProblemSet, judge: Judge = by_verifiers) -> None:
        self.config, self.student, self.problems, self.judge = config, student, problems, judge
        self.engine = LocalEngine(student, config.compute.sampling_rows)
        self.learner = Learner(student.model, config, student.dtype)
        self.teacher = Teacher(student.model, config.teacher) if config.objective.kind == "distill" else None
        self.lesson_maker = LessonMaker(config, student.tokenizer, student.template)

    def step(self, step: int, clock: StepClock) -> StepResult:
        """Sample, verify, teach, update."""
        began = time.perf_counter()
        groups, judging = self.attempt(step, clock)
        with clock("contexts"):
            records = self.lesson_maker.make(groups)
        lessons = [record.lesson for group in records for record in group if record.lesson is not None]
        contexts = self._teacher_accuracy(groups, records, step, clock)
        learning = self.learner.learn(lessons, self.teacher.model if self.teacher else None, step, clock)
        if learning.is_updated and self.teacher is not None:
            with clock("update"):
                self.teacher.follow(self.student.model)
        metrics = group_metrics(groups) | judging | lesson_metrics(records) | contexts | learning.metrics
        durations = {f"time/{phase}_s": seconds for phase, seconds in clock.seconds.items()}
        return StepResult(groups, records, metrics | durations | {"time/step_s": time.perf_counter() - began})

    def attempt(self, step: int, clock: StepClock) -> tuple[list[Group], dict[str, float]]:
        """The step's groups: the student attempts every problem several times, and the judge says which succeeded.

        Also the judge's metrics.
        """
        config = self.config
        with clock("sample"):
            self.engine.sync()
            groups = self.engine.sample_groups(
                self.problems.take(step, config.problems_per_step, config.seed),
                config.group_size,
                key=lambda problem: (config.seed, "rollout", step, problem.id),
                step=step,
                success_reward=config.success_reward,
                completion_tokens=config.sampling.completion_tokens,
                temperature=config.sampling.temperature,
                top_p=config.sampling.top_p,
            )
        with clock("verify"):
            return self.judge(groups, step)

    def _teacher_accuracy(
        self, groups: Sequence[Group], records: Sequence[Sequence[LessonRecord]], step: int, clock: StepClock
    ) -> dict[str, float]:
        """How often the teacher is right, and copies a failed peer, when it *generates* from this step's contexts."""
        every = self.config.evaluation.contexts_every
        if self.teacher is None or every == 0 or step % every:
            return {}
        taught = [
            (group, record)
            for group, group_records in zip(groups, records, strict=True)
            for record in group_records
            if record.lesson is not None
        ]
        if not taught:
            return {}
        stride = math.ceil(len(taught) / self.config.evaluation.reading_contexts)  # evenly over the step's groups
        with clock("teacher_accuracy"):
            reader = replace(self.student, model=self.teacher.model)
            figures = read_contexts(reader, taught[::stride], self.config, self.judge, step)
            return {f"teacher/{name}": value for name, value in figures.items()}


class _Training:
    """A run from where it stands to its summary. Its seconds are those of this process, since `began`."""

    def __init__(
        self, run: Run, student: Student, problems: ProblemSet, judge: Judge, quiet: bool, began: float
    ) -> None:
        self.run, self.config, self.problems, self.judge = run, run.config, problems, judge
        self.student = student
        self.progress = ProgressDisplay(quiet)
        self.tracker = open_tracker(run.config)
        self.began = began
        self.seconds: dict[str, float] = {"warmup": 0.0, "train": 0.0, "evaluate": 0.0, "total": 0.0}

    def go(self) -> dict[str, Any]:
        """Train from where the run stands and return its summary."""
        if (self.run.path / "summary.json").exists():
            return read_summary(self.run.path)
        stepper = Stepper(self.config, self.student, self.problems, self.judge)
        done = self.run.restore(self.student, stepper.teacher, stepper.learner.optimizer)
        if done is None:
            self._warm_up()
            # again: the teacher begins as the warmed-up student
            stepper = Stepper(self.config, self.student, self.problems, self.judge)
            groups = self._evaluate(0, "evaluate before")
            self._measure_reading(groups)
            self.run.save(0, self.student, stepper.teacher, stepper.learner.optimizer)
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
        report = warm_up(self.student, self.problems, self.config, self.progress, self._figures_before, self.judge)
        self.seconds["warmup"] = report.seconds
        self.run.record_warmup({"is_cached": report.is_cached, **report.figures})

    def _figures_before(self) -> dict[str, Any]:
        """Of the student as it came, on held-out problems, one attempt each."""
        if not self.problems.held_out:
            return {}
        return summarise(self._attempt_held_out(1, "evaluate as it came", 0)[0], 1)

    def _measure_reading(self, groups: Sequence[Group]) -> None:
        """How well the student that training begins with reads contexts of its own held-out rollouts."""
        if self.config.warmup is None or self.config.objective.kind != "distill" or not groups:
            return
        began = time.perf_counter()
        figures = read_recipes(self.student, groups, self.config, self.judge, self.config.evaluation.reading_contexts)
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
            self.run.save(steps, self.student, stepper.teacher, stepper.learner.optimizer)

    def _evaluate(self, steps: int, title: str) -> list[Group]:
        """Attempt the held-out problems, record the figures, and return the groups."""
        if not self.problems.held_out:
            return []
        began = time.perf_counter()
        count = self.config.evaluation.rollouts
        groups, judging = self._attempt_held_out(count, title, steps)
        figures = summarise(groups, count) | judging
        self.seconds["evaluate"] += time.perf_counter() - began
        self.run.record_evaluation({"step": steps, **figures})
        self.tracker.log(steps, {f"evaluation/{name}": v for name, v in figures.items() if isinstance(v, float)})
        return groups

    def _attempt_held_out(self, count: int, title: str, steps: int) -> tuple[list[Group], dict[str, float]]:
        config, held_out = self.config, self.problems.held_out
        return attempt_problems(
            self.student, held_out, config, count, config.seed, self.progress, title, self.judge, steps
        )

    def _summary(self) -> dict[str, Any]:
        evaluations = self.run.evaluations()
        summary: dict[str, Any] = {"run": str(self.run.path), "steps": self.config.steps, "seed": self.config.seed}
        if evaluations:
            before, after = evaluations[0], evaluations[-1]
            gain, interval = paired_gain(before, after)
            summary |= {"before": before, "after": after, "gain": {"mean": gain, "interval": list(interval)}}
        summary["split"] = dataclasses.asdict(self.problems.split)
        summary["seconds"] = self.seconds
        if warmup := self.run.warmup():
            summary["warmup"] = warmup
        return summary


def read_summary(path: Path) -> dict[str, Any]:
    """summary.json of a finished run."""
    found: dict[str, Any] = json.loads((path / "summary.json").read_text(encoding="utf-8"))
    return found


def group_metrics(groups: Sequence[Group]) -> dict[str, float]:
    """What the step's rollouts and verdicts were. Rollouts whose grader failed are in no mean."""
    rollouts = [(g, r) for g in groups for r in g.rollouts]
    judged = [(g, r) for g, r in rollouts if g.verdicts[r.index].kind != "error"]
    kinds = Counter(verdict.kind for group in groups for verdict in group.verdicts)
    by_group = [[g.is_success(r.index) for g2, r in judged if g2 is g] for g in groups]
    return {
        "reward/mean": mean_or_zero([g.verdicts[r.index].reward for g, r in judged]),
        "reward/success_share": mean_or_zero([g.is_success(r.index) for g, r in judged]),
        "groups/all_success_count": float(sum(bool(found) and all(found) for found in by_group)),
        "groups/all_failure_count": float(sum(bool(found) and not any(found) for found in by_group)),
        "completion/tokens_mean": mean_or_zero([len(r.token_ids) for _, r in rollouts]),
        "completion/empty_count": float(sum(not r.text.strip() for _, r in rollouts)),
        "completion/distinct_share": mean_or_zero(
            [len({r.text for r in g.rollouts}) / len(g.rollouts) for g in groups]
        ),
        **{f"verdicts/{kind}_count": float(kinds[kind]) for kind in VERDICT_KINDS},
    }


def lesson_metrics(records: Sequence[Sequence[LessonRecord]]) -> dict[str, float]:
    """What became of the step's rollouts: lessons, reasons for none, peers and contexts."""
    flat = [record for group in records for record in group]
    lessons = [record for record in flat if record.lesson is not None]
    contexts = [record.context for record in flat if record.context is not None]
    reasons = Counter(record.reason for record in flat if record.reason is not None)
    return {
        "lessons/count": float(len(lessons)),
        **{f"lessons/none_{reason}_count": float(count) for reason, count in sorted(reasons.items())},
        "peers/successes_mean": mean_or_zero([len(r.peers.successes) for r in lessons]),
        "peers/failures_mean": mean_or_zero([len(r.peers.failures) for r in lessons]),
        "peers/own_text_count": float(sum(r.peers.shows_own_text for r in lessons)),
        "context/tokens_mean": mean_or_zero([c.token_count for c in contexts]),
        "context/tokens_max": float(max((c.token_count for c in contexts), default=0)),
        "context/shortened_peers_count": float(sum(c.shortened_count for c in contexts)),
        "context/dropped_peers_count": float(sum(c.dropped_count for c in contexts)),
    }
