"""One step of the method. Multi-rollout on-policy distillation differs from GRPO in three lines:

1. The student s attempts every problem of the step G times: y_1 .. y_G ~ s(. | x).            `rollouts.engine`
2. Verifiers give each attempt a verdict: success or failure, never where.                     `judging.verdicts`
3. Each attempt gets a context c_i: the problem with its peers' successes and failures.        `method.peers`
   GRPO goes without contexts; its lessons carry advantages instead.                           `method.lessons`
4. The teacher t, the same model or an average of its past, reads c_i and says at every
   token of y_i what it would have written next: t(. | c_i, y_i,<j).                           `learning.teacher`
5. The student moves toward the teacher, token by token: sum_j a_j w_j D(s, t).                `learning.learner`
6. The teacher takes one step after the student: t <- (1 - rate) t + rate s.                   `learning.teacher`

Every baseline is a setting, not other code: SDPO shows one success and no failure, GRPO and SFT are other objectives on
the same groups. All randomness comes from (seed, step, problem, rollout), so a step can be taken again.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from mopd.core.types import Group, LessonRecord
from mopd.evaluation.from_contexts import accuracy_from_contexts
from mopd.learning.beginning import Beginning
from mopd.learning.choosing import open_teacher
from mopd.learning.learner import Learner
from mopd.learning.splitting import split_over_ranks
from mopd.learning.teacher import Health
from mopd.method.lessons import LessonMaker
from mopd.models.devices import peak_memory_bytes
from mopd.models.memory import told_if_full
from mopd.preflight.setup import Setup
from mopd.runs.progress import Phase, say
from mopd.scoring.scorer import Scorer
from mopd.training.attempts import Attempts
from mopd.training.metrics import group_metrics, lesson_metrics, nonfinite_metrics
from mopd.training.nothing_learnt import EarlyNotice
from mopd.training.pausing import Pausing

PHASES = ("sample", "verify", "contexts", "teacher", "student", "update")


class StepClock:
    """Seconds by phase of one step; an inner phase's seconds are not counted in the phase around it."""

    def __init__(self, phase: Phase | None = None, now: Callable[[], float] = time.perf_counter) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._phase = phase
        self._now = now
        self._inner: list[float] = []
        self.broken_off = ""
        """The phase in which an error came up."""

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Count the block's seconds under `name`."""
        if self._phase is not None:
            self._phase.note(name)
        began = self._now()
        self._inner.append(0.0)
        try:
            yield
        except BaseException:
            self.broken_off = self.broken_off or name
            raise
        finally:
            elapsed = self._now() - began
            self.seconds[name] += elapsed - self._inner.pop()
            if self._inner:
                self._inner[-1] += elapsed


@dataclass
class StepResult:
    """One step's groups, what became of each rollout, and its metrics."""

    groups: list[Group]
    records: list[list[LessonRecord]]
    metrics: dict[str, float]


class Stepper:
    """Learner and teacher of a run, and one step of the method with them and with what `setup` holds."""

    def __init__(self, setup: Setup) -> None:
        config, student = setup.config, setup.student
        scorer = Scorer.of(config.compute, student.dtype)
        self.setup, self.config = setup, config
        begins_as, known = (setup.external or student).model, student.tokenizer.token_ids
        self.teacher = open_teacher(config, begins_as, known, scorer, setup.ranks)
        split_over_ranks(student.model, self.teacher, config.parallel, setup.ranks)
        self.learner = Learner(student.model, config, scorer, setup.ranks)
        self.attempts = Attempts(setup)
        self.notice = EarlyNotice(config)
        self.pausing = Pausing()
        self.beginning = Beginning(scorer, config.sampling.temperature, setup.ranks)
        self.lesson_maker = LessonMaker(config, student.tokenizer.encode_prompt, student.template)
        # a contrast moves the student from where it stands: how well one of its teachers reads is no bound to that
        self.is_pausing = config.lessons.pause and self.lesson_maker.contrast is None

    def step(self, step: int, clock: StepClock) -> StepResult:
        """Sample, verify, teach, update. Raises OutOfMemoryError."""
        with told_if_full(self.config, lambda: clock.broken_off):
            return self._step(step, clock)

    def _step(self, step: int, clock: StepClock) -> StepResult:
        began = time.perf_counter()
        groups, judging = self.attempt(step, clock)
        with clock("contexts"):
            records = self.lesson_maker.make(groups)
        contexts = self._teacher_accuracy(groups, records, step, clock)
        if self.is_pausing and self.pausing.is_paused:
            records = self.pausing.without_teacher(records)
        lessons = [record.lesson for group in records for record in group if record.lesson is not None]
        contexts |= self._from_start(groups, step, clock)
        learning = self.learner.learn(lessons, self.teacher, step, clock)
        metrics = group_metrics(groups) | judging | lesson_metrics(records) | contexts | learning.metrics
        if learning.is_updated and self.teacher is not None:
            health = Health(metrics["reward/success_share"], metrics["completion/tokens_p95"])
            with clock("update"):
                metrics |= self.teacher.follow(self.setup.student.model, health, step)
        metrics |= self.setup.engine_metrics() | nonfinite_metrics(metrics)
        if told := self.notice.after(step, metrics):
            say(told)  # whatever is quiet: it is no progress
        durations = {f"time/{phase}_s": seconds for phase, seconds in clock.seconds.items()}
        seconds = time.perf_counter() - began
        tokens = sum(len(rollout.token_ids) for group in groups for rollout in group.rollouts)
        peak = peak_memory_bytes(next(self.setup.student.model.parameters()).device)
        machine = {"time/step_s": seconds, "time/tokens_per_s": tokens / seconds, "memory/peak_gib": peak / 2**30}
        return StepResult(groups, records, metrics | durations | machine)

    def attempt(self, step: int, clock: StepClock) -> tuple[list[Group], dict[str, float]]:
        """The step's verified groups, and what there is to tell of them."""
        with clock("sample"):
            groups, figures = self.attempts.take(step)
        with clock("verify"):
            groups, judging = self.setup.judge(groups, step)
        return groups, judging | figures

    def _from_start(self, groups: Sequence[Group], step: int, clock: StepClock) -> dict[str, float]:
        """How far the student that wrote these groups is from that of the first step."""
        model = self.setup.student.model
        with clock("from_start"):
            if step == 0:
                self.beginning.begin(model, groups)
            return self.beginning.measured(model)

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
            if record.has_teacher
        ]
        if not taught:
            return {}
        stride = math.ceil(len(taught) / self.config.evaluation.reading_contexts)  # evenly over the step's groups
        with clock("teacher_accuracy"):
            figures = accuracy_from_contexts(self.setup.of_teacher, self.teacher.model, taught[::stride], step)
        gap = self.pausing.measured(figures["accuracy_from_contexts_share"], taught[::stride])
        return {f"teacher/{name}": value for name, value in figures.items()} | gap
