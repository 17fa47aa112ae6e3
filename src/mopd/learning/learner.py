"""The learner: one step's lessons become one or more updates of the student's weights.

With student s, teacher t, a lesson (x, c, y) of prompt, context and completion, and j its loss tokens:

1. The teacher reads each context with the completion behind it: t(. | c, y_<j).               `teacher.Teacher.read`
2. The student scores its own completion, microbatch by microbatch: s(. | x, y_<j).            `scoring.Scorer.backward`
3. Each loss token costs w r D(s, t): divergence times importance weights.                     `method.objective`
4. The step's objective is sum_j a_j w_j r_j D_j. The coefficients a_j are fixed by the whole
   step before any forward pass, so the microbatches' gradients add up to the step's.          `method.objective`
5. AdamW takes one update; a gradient that is not finite is skipped and counted.               `optimizer.AdamW`

2 to 5 repeat for `updates_per_step`; from the second update on r weighs each token by s(y) / s_old(y), where s_old is
the student before the first update (`old_logprobs`). GRPO and SFT take the same way without 1, with other costs in 3.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mopd.config import Config
from mopd.core.types import Lesson
from mopd.learning.optimizer import AdamW, learning_rate_at
from mopd.learning.teacher import Reading, Teacher
from mopd.method.objective import TokenBatch, sampler_weights, token_coefficients, token_losses
from mopd.method.predictions import Predictions
from mopd.scoring.rows import student_row
from mopd.scoring.scorer import PartLoss, Scorer

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
            if teacher is not None and (update == 0 or teacher.changes_within_step):
                with clock("teacher"):
                    work.reading = teacher.read(lessons)
            with clock("student"):
                self._backward(work, clock)
            with clock("update"):
                done, norm = self.optimizer.update(learning_rate_at(step, self.config.optimizer))
            updated += done
            work.sums["update/grad_norm"] += norm if done else 0.0
            work.sums["update/skipped_nonfinite_count"] += not done
        return Learning(self._metrics(work.sums, updated, step), updated > 0)

    def _backward(self, work: _Work, clock: Clock) -> None:
        """The gradient of the step's objective, microbatch by microbatch."""

        def loss_of(pack: Sequence[int]) -> PartLoss:
            tokens = work.loss_tokens(pack)
            taught = work.reading(pack) if work.reading is not None else None

            def part_loss(part: slice, student: Predictions) -> Tensor:
                with clock("teacher"):
                    teacher = taught(part) if taught is not None else None
                batch = work.batch(tokens[part], student, teacher, (pack[0], part.start))
                coefficients = torch.tensor([token.coefficient for token in tokens[part]])
                losses = token_losses(batch, self.config)
                objective = (losses * coefficients.to(losses)).sum()
                self._count(batch, objective, work.sums)
                return objective

            return part_loss

        rows = [student_row(lesson) for lesson in work.lessons]
        self.scorer.backward(self.model, rows, loss_of, self.config.sampling.temperature)

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
            "update/grad_norm": sums["update/grad_norm"] / max(1, updated),
            "update/learning_rate": learning_rate_at(step, self.config.optimizer),
            "update/skipped_nonfinite_count": sums["update/skipped_nonfinite_count"],
            "update/skipped_empty_count": 0.0,
        }
        if self.scorer.compiler is not None:
            metrics["time/compile_s"] = self.scorer.compiler.take_seconds()
        if "teacher_gap" in sums:
            metrics["teacher/logprob_gain_nats"] = sums["teacher_gap"] / tokens
        return metrics


@dataclass(frozen=True, slots=True)
class _LossToken:
    """A token of a lesson that counts, and its coefficient in the step's objective."""

    lesson: Lesson
    position: int
    coefficient: float


@dataclass
class _Work:
    """What one step of learning goes on with from update to update.

    `old_logprobs` are those of the first update, by (first lesson of the microbatch, start of the part); `sums` are
    over all updates.
    """

    lessons: Sequence[Lesson]
    coefficients: Sequence[float]
    reading: Reading | None = None
    old_logprobs: dict[tuple[int, int], Tensor] = field(default_factory=dict)
    sums: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def loss_tokens(self, pack: Sequence[int]) -> list[_LossToken]:
        """The loss tokens of some lessons, in order."""
        return [
            _LossToken(self.lessons[i], position, self.coefficients[i])
            for i in pack
            for position, counts in enumerate(self.lessons[i].rollout.is_own)
            if counts
        ]

    def batch(
        self, tokens: Sequence[_LossToken], student: Predictions, teacher: Predictions | None, place: tuple[int, int]
    ) -> TokenBatch:
        """What the objective needs of some loss tokens; `place` finds their old log-probabilities again."""
        rollouts = [(token.lesson.rollout, token.position) for token in tokens]
        token_ids = torch.tensor([rollout.token_ids[j] for rollout, j in rollouts], device=student.logits.device)
        logprobs = student.of(token_ids)
        return TokenBatch(
            student=student,
            token_ids=token_ids,
            logprobs=logprobs,
            sampler_logprobs=torch.tensor([rollout.sampler_logprobs[j] for rollout, j in rollouts]).to(logprobs),
            old_logprobs=self.old_logprobs.setdefault(place, logprobs.detach()),
            advantages=torch.tensor([token.lesson.advantage for token in tokens]).to(logprobs),
            teacher=teacher,
        )
