"""The learner: one step's lessons become one or more updates of the student's weights.

With student s, teacher t, a lesson (x, c, y) of prompt, context and completion, and j its loss tokens:

1. The teacher reads each context with the completion behind it: t(. | c, y_<j).               `teacher.Teacher.read`
2. The student scores its own completion, microbatch by microbatch: s(. | x, y_<j).            `scoring.Scorer.backward`
3. Each loss token costs w r D(s, t): divergence times importance weights.                     `method.objective`
4. The step's objective is sum_j a_j w_j r_j D_j. The coefficients a_j are fixed by the whole
   step before any forward pass, so the microbatches' gradients add up to the step's.          `method.objective`
5. AdamW takes one update; a gradient that is not finite is skipped and counted. The update is
   shortened where the loss would fall by more than it can.                                    `optimizer.AdamW`
6. A few lessons are scored again: how far the loss fell, and how far the student drifted. An
   update that made it drift too far is halved.                                                `update_meter`

2 to 6 repeat for `updates_per_step`; from the second update on r weighs each token by s(y) / s_old(y), where s_old is
the student before the first update (`old_logprobs`). GRPO and SFT take the same way without 1, with other costs in 3.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from mopd.config import Config
from mopd.core.types import Lesson
from mopd.learning.optimizer import AdamW, Update, learning_rate_at
from mopd.learning.teacher import Reading, Teacher
from mopd.learning.update_meter import UpdateMeter, drift
from mopd.method.objective import TokenBatch, is_never_negative, sampler_weights, token_coefficients, token_losses
from mopd.method.predictions import Predictions
from mopd.scoring.head import loss_parts
from mopd.scoring.rows import student_row
from mopd.scoring.scorer import PartLoss, Scorer

SHORTEST = 2**-20
"""An update is not halved further: what drifts then is no update."""

Clock = Callable[[str], AbstractContextManager[None]]
"""Counts the seconds of a block under a phase's name."""


@dataclass(frozen=True, slots=True)
class Learning:
    """What one step of learning did: its metrics, and whether the student's weights moved."""

    metrics: dict[str, float]
    is_updated: bool


class Learner:
    """Holds the student's weights and optimiser; the teacher is lent to it for each step."""

    def __init__(self, model: Any, config: Config, scorer: Scorer) -> None:
        self.model = model
        self.config = config
        self.scorer = scorer
        self.optimizer = AdamW(model, config.optimizer)

    def learn(self, lessons: Sequence[Lesson], teacher: Teacher | None, step: int, clock: Clock) -> Learning:
        """Update on the lessons of one step. Without lessons nothing is computed, nothing moves, and it is counted."""
        if not lessons:
            return Learning({"update/skipped_empty_count": 1.0}, False)
        work = _Work(lessons, token_coefficients(lessons, self.config.objective))
        updated = 0
        for update in range(self.config.optimizer.updates_per_step):
            work.meter = UpdateMeter.of(len(lessons), self.config.seed, step, update)
            if teacher is not None and (update == 0 or teacher.changes_within_step):
                with clock("teacher"):
                    work.reading = teacher.read(lessons)
            with clock("student"):
                loss = self._backward(work, clock)
            with clock("update"):
                done = self.optimizer.update(learning_rate_at(step, self.config.optimizer), self._most_fall(loss))
                is_fixed = teacher is None or not teacher.changes_within_step
                self._count_update(work, done, is_fixed)
            updated += done.is_done
        return Learning(self._metrics(work.sums, updated, step), updated > 0)

    def _most_fall(self, loss: float) -> float:
        """The most that the loss may fall to first order, in nats."""
        share = self.config.optimizer.fall_share
        return share * loss if share and is_never_negative(self.config) else math.inf

    def _count_update(self, work: _Work, done: Update, is_teacher_fixed: bool) -> None:
        """Measure what an update did, and halve it where the student drifted too far."""
        sums = work.sums
        sums["update/skipped_nonfinite_count"] += not done.is_done
        if not done.is_done:
            return
        share, most = 1.0, self.config.optimizer.drift_nats or math.inf
        fall, drifted = self._measured(work, is_teacher_fixed)
        while drifted > most and share > SHORTEST:
            share /= 2
            self.optimizer.take_back(0.5)
            fall, drifted = self._measured(work, is_teacher_fixed)
        self.optimizer.forget()
        sums["update/grad_norm"] += done.norm
        sums["update/share"] += done.share * share
        sums["update/expected_fall_nats"] += (done.expected_fall or 0.0) * share
        sums["update/drift_nats"] += drifted
        if is_teacher_fixed:  # else the loss is toward another teacher than before
            sums["update/measured_fall_nats"] += fall

    @torch.no_grad()
    def _measured(self, work: _Work, is_teacher_fixed: bool) -> tuple[float, float]:
        """By how much the objective fell, and the mean KL(old || new), both in nats, at the lessons that are measured.

        Toward a teacher that moved with the student no fall is measured.
        """
        indices, temperature = sorted(work.meter.lessons), self.config.sampling.temperature
        states = self.scorer.read(self.model, [student_row(work.lessons[index]) for index in indices])
        fall, drifted, weight, count = 0.0, 0.0, 0.0, 0
        for index, hidden in zip(indices, states, strict=True):
            tokens, before = work.loss_tokens([index]), work.meter.was(index)
            taught = work.reading([index]) if work.reading is not None else None
            for part in loss_parts(self.model, len(hidden)):
                student = self.scorer.predict(self.model, hidden[part], temperature)
                drifted += drift(before.part(part), student).sum().item()
                if is_teacher_fixed:
                    teacher = taught(part) if taught is not None else None
                    losses = self._losses_now(work.batch(tokens[part], student, teacher), before.sampled[part])
                    fall += work.coefficients[index] * (before.losses[part] - losses).sum().item()
            weight += work.coefficients[index] * len(hidden)
            count += len(hidden)
        return fall / weight, drifted / count

    def _losses_now(self, batch: TokenBatch, before: Tensor) -> Tensor:
        """Losses after an update, under the importance weights of before: a distillation does not lower those."""
        if self.config.objective.kind == "distill":
            moved = batch.logprobs - before
            old, sampler = batch.old_logprobs + moved, batch.sampler_logprobs + moved
            batch = replace(batch, old_logprobs=old, sampler_logprobs=sampler)
        return token_losses(batch, self.config)

    def _backward(self, work: _Work, clock: Clock) -> float:
        """The gradient of the step's objective, microbatch by microbatch, and its value."""
        before = work.sums["objective"]

        def loss_of(pack: Sequence[int]) -> PartLoss:
            tokens = work.loss_tokens(pack)
            taught = work.reading(pack) if work.reading is not None else None

            def part_loss(part: slice, student: Predictions) -> Tensor:
                with clock("teacher"):
                    teacher = taught(part) if taught is not None else None
                batch = work.batch(tokens[part], student, teacher)
                coefficients = torch.tensor([token.coefficient for token in tokens[part]])
                losses = token_losses(batch, self.config)
                objective = (losses * coefficients.to(losses)).sum()
                self._count(batch, objective, work.sums)
                work.meter.remember([token.index for token in tokens[part]], student, batch.logprobs, losses)
                return objective

            return part_loss

        rows = [student_row(lesson) for lesson in work.lessons]
        self.scorer.backward(self.model, rows, loss_of, self.config.sampling.temperature)
        return work.sums["objective"] - before

    @torch.no_grad()
    def _count(self, batch: TokenBatch, objective: Tensor, sums: dict[str, float]) -> None:
        cap = self.config.optimizer.importance_cap
        gap = batch.old_logprobs - batch.sampler_logprobs
        sums["tokens"] += len(batch.token_ids)
        sums["objective"] += objective.item()
        sums["entropy"] += batch.student.entropies.sum().item()
        sums["gap"] += gap.abs().sum().item()
        sums["capped"] += (sampler_weights(batch, cap) >= cap).sum().item()
        if batch.teacher is not None:
            sums["teacher_gap"] += (batch.teacher.of(batch.token_ids) - batch.logprobs).sum().item()

    def _metrics(self, sums: dict[str, float], updated: int, step: int) -> dict[str, float]:
        updates, tokens = self.config.optimizer.updates_per_step, sums["tokens"]
        metrics = {
            "objective/loss": sums["objective"] / updates,
            "objective/tokens_count": tokens / updates,
            "student/entropy_nats": sums["entropy"] / tokens,
            "importance/logprob_gap_nats": sums["gap"] / tokens,
            "importance/capped_tokens_count": sums["capped"] / updates,
            **{f"update/{name}": sums[f"update/{name}"] / max(1, updated) for name in ("grad_norm", "share", "drift_nats")},
            "update/expected_fall_nats": sums["update/expected_fall_nats"],
            "update/learning_rate": learning_rate_at(step, self.config.optimizer),
            "update/skipped_nonfinite_count": sums["update/skipped_nonfinite_count"],
            "update/skipped_empty_count": 0.0,
        }
        if "update/measured_fall_nats" in sums:
            metrics["update/measured_fall_nats"] = sums["update/measured_fall_nats"]
        if self.scorer.compiler is not None:
            metrics["time/compile_s"] = self.scorer.compiler.take_seconds()
        if "teacher_gap" in sums:
            metrics["teacher/logprob_gain_nats"] = sums["teacher_gap"] / tokens
        return metrics


@dataclass(frozen=True, slots=True)
class _LossToken:
    """A token of a lesson (its index among the step's) that counts, and its coefficient in the step's objective."""

    index: int
    lesson: Lesson
    position: int
    coefficient: float


@dataclass
class _Work:
    """What one step of learning goes on with from update to update.

    `old_logprobs` are those before the first update, by (index of the lesson, position); `sums` are over all updates;
    `meter` is that of the update at hand.
    """

    lessons: Sequence[Lesson]
    coefficients: Sequence[float]
    reading: Reading | None = None
    old_logprobs: dict[tuple[int, int], float] = field(default_factory=dict)
    sums: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    meter: UpdateMeter = field(default_factory=lambda: UpdateMeter(frozenset()))

    def loss_tokens(self, pack: Sequence[int]) -> list[_LossToken]:
        """The loss tokens of some lessons, in order."""
        return [
            _LossToken(i, self.lessons[i], position, self.coefficients[i])
            for i in pack
            for position, counts in enumerate(self.lessons[i].rollout.is_own)
            if counts
        ]

    def batch(self, tokens: Sequence[_LossToken], student: Predictions, teacher: Predictions | None) -> TokenBatch:
        """What the objective needs of some loss tokens."""
        rollouts = [(token.lesson.rollout, token.position) for token in tokens]
        token_ids = torch.tensor([rollout.token_ids[j] for rollout, j in rollouts], device=student.logits.device)
        logprobs = student.of(token_ids)
        places = [(token.index, token.position) for token in tokens]
        old = [
            self.old_logprobs.setdefault(at, now) for at, now in zip(places, logprobs.detach().tolist(), strict=True)
        ]
        return TokenBatch(
            student=student,
            token_ids=token_ids,
            logprobs=logprobs,
            sampler_logprobs=torch.tensor([rollout.sampler_logprobs[j] for rollout, j in rollouts]).to(logprobs),
            old_logprobs=torch.tensor(old, dtype=torch.float64).to(logprobs),
            advantages=torch.tensor([token.lesson.advantage for token in tokens]).to(logprobs),
            teacher=teacher,
        )
