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
   update that made it drift too far is shortened.                                              `update_meter`

2 to 6 repeat for `updates_per_step`; from the second update on r weighs each token by s(y) / s_old(y), where s_old is
the student before the first update (`old_logprobs`). GRPO and SFT take the same way without 1, with other costs in 3.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from mopd.config import Config
from mopd.core.types import Lesson
from mopd.learning.alike import Alike, loss_tokens, scored_row
from mopd.learning.mismatch import mismatch_metrics
from mopd.learning.optimizer import AdamW, Update, learning_rate_at
from mopd.learning.teacher import Teacher
from mopd.learning.update_meter import drift
from mopd.learning.work import Part, Work
from mopd.method.objective import is_never_negative, sampler_weights
from mopd.method.predictions import Predictions
from mopd.parallel.ranks import ONE, Ranks
from mopd.scoring.head import loss_parts
from mopd.scoring.rows import student_row
from mopd.scoring.scorer import PartLoss, Scorer

MEANS = ("grad_norm", "share", "drift_nats")
"""Figures of updates that are told as their mean; those of losses are told as sums, and the learning rate once."""

AIM = 0.9
"""An update that drifts too far is shortened to this share of what the bound leaves, and by half where that is still
too far: so most are measured twice, and few are much shorter than they may be."""

SHORTEST = 2**-20
"""An update is not shortened further: what drifts then is no update."""

Clock = Callable[[str], AbstractContextManager[None]]
"""Counts the seconds of a block under a phase's name."""


@dataclass(frozen=True, slots=True)
class Learning:
    """What one step of learning did: its metrics, and whether the student's weights moved."""

    metrics: dict[str, float]
    is_updated: bool


class Learner:
    """Holds the student's weights and optimiser; the teacher is lent to it for each step.

    Of several `ranks` each scores its own lessons; what is summed over tokens, gradients too, is summed over ranks
    before anything is decided by it, so that every rank takes the same update.
    """

    def __init__(self, model: Any, config: Config, scorer: Scorer, ranks: Ranks = ONE) -> None:
        self.model = model
        self.config = config
        self.scorer = scorer
        self.ranks = ranks
        self.optimizer = AdamW(model, config.optimizer, config.compute.moments, config.seed)
        self.rate_share = 1.0
        """What alarms have left of the learning rate."""

    def learn(self, lessons: Sequence[Lesson], teacher: Teacher | None, step: int, clock: Clock) -> Learning:
        """Update on the lessons of one step. Without lessons nothing is computed, nothing moves, and it is counted."""
        if not lessons:
            return Learning({"update/skipped_empty_count": 1.0}, False)
        work, updated = Work(self.config, lessons, ranks=self.ranks), 0
        for part in work.parts(step):
            work.done["parts"] += 1
            if teacher is not None:
                with clock("teacher"):
                    part.read(teacher)
            with clock("student"):
                loss = self._backward(part, clock)
            with clock("update"):
                done = self.optimizer.update(self._rate(step), self._most_fall(loss))
                self._count_update(part, done, is_teacher_fixed=teacher is None or not teacher.changes_within_step)
            updated += done.is_done
        work.sums["evidence"] = math.fsum(map(abs, work.evidence.values()))
        work.sums["evidence_tokens"] = len(work.evidence)
        sums = defaultdict(float, self.ranks.sum_numbers(work.sums) | work.done)
        gaps = [gap for of_rank in self.ranks.gather(work.gaps) for gap in of_rank]
        metrics = self._metrics(sums, updated, step) | mismatch_metrics(gaps)
        return Learning(metrics, updated > 0)

    def _rate(self, step: int) -> float:
        return self.rate_share * learning_rate_at(step, self.config.steps, self.config.optimizer)

    def _most_fall(self, loss: float) -> float | None:
        """The most that the loss may fall to first order, in nats; None where no update is ever shortened."""
        share = self.config.optimizer.fall_share if is_never_negative(self.config) else 0.0
        if not share and not self.config.optimizer.drift_nats:
            return None
        return share * loss if share else math.inf

    def _backward(self, part: Part, clock: Clock) -> float:
        """The gradient of the update's objective, microbatch by microbatch, and its value."""
        sums = part.work.sums
        before = sums["objective"]

        scored = list(part.alike.values())

        def loss_of(pack: Sequence[int]) -> PartLoss:
            tokens = [alike for row in pack for alike in scored[row]]
            teacher_of = part.teacher_of(tokens)

            def part_loss(rows: slice, student: Predictions) -> Tensor:
                with clock("teacher"):
                    teacher = teacher_of(rows, student)
                costs = part.costs(tokens[rows], student, teacher)
                self._count(part, tokens[rows], student, teacher, costs)
                return costs.sum()

            return part_loss

        rows = [scored_row(tokens) for tokens in scored]
        self.scorer.backward(self.model, rows, loss_of, self.config.sampling.temperature)
        self.ranks.sum_gradients(self.optimizer.whole)
        return self.ranks.sum_numbers({"loss": sums["objective"] - before})["loss"]

    @torch.no_grad()
    def _count(
        self,
        part: Part,
        tokens: Sequence[Alike],
        student: Predictions,
        teacher: Predictions | None,
        costs: Tensor,
    ) -> None:
        sums, cap = part.work.sums, self.config.optimizer.importance_cap
        batch = part.work.batch(tokens, student, None)
        each = [token for alike in tokens for token in alike]
        sums["tokens"] += len(each)
        sums["alike"] += len(each) - len(tokens)
        sums["objective"] += costs.sum().item()
        sums["entropy"] += batch.of_tokens(student.entropies).sum().item()
        sums["capped"] += (sampler_weights(batch, cap) >= cap).sum().item()
        is_end = torch.tensor([token.is_end for token in each], device=costs.device)
        sums["ends"] += is_end.sum().item()
        sums["student_at_ends"] += batch.logprobs[is_end].exp().sum().item()
        if teacher is not None:
            shown = [place for place, alike in enumerate(tokens) if alike[0].lesson.context_ids is not None]
            times = torch.tensor([len(tokens[place]) for place in shown], device=costs.device)
            taught = torch.tensor([token.lesson.context_ids is not None for token in each], device=costs.device)
            said = teacher.of(batch.token_ids[torch.tensor(shown, device=costs.device)]).repeat_interleave(times)
            sums["taught_tokens"] += len(said)
            sums["teacher_gap"] += (said - batch.logprobs[taught]).sum().item()
            sums["taught_ends"] += is_end[taught].sum().item()
            sums["teacher_at_ends"] += said[is_end[taught]].exp().sum().item()
        firsts = torch.tensor([0, *accumulate(map(len, tokens))][:-1], device=costs.device)
        owners = [alike[0].index for alike in tokens]
        part.meter.remember(owners, student, batch.logprobs[firsts], costs[firsts])

    def _count_update(self, part: Part, done: Update, is_teacher_fixed: bool) -> None:
        """Measure what an update did, and shorten it where the student drifted too far."""
        sums = part.work.done
        sums["update/skipped_nonfinite_count"] += not done.is_done
        if not done.is_done:
            return
        share, most = 1.0, self.config.optimizer.drift_nats or math.inf
        fall, drifted = self._measured(part, is_teacher_fixed)
        while not drifted <= most and share > SHORTEST and self.optimizer.can_take_back:
            fitting = AIM * math.sqrt(most / drifted) if math.isfinite(drifted) else 0.5  # KL grows with the square
            shorter = fitting if share == 1 else min(0.5, fitting)
            share *= shorter
            self.optimizer.take_back(shorter)
            fall, drifted = self._measured(part, is_teacher_fixed)
        self.optimizer.forget()
        sums["update/grad_norm"] += done.norm
        sums["update/share"] += done.share * share
        if done.expected_fall is not None:
            sums["update/expected_fall_nats"] += done.expected_fall * share
        sums["update/drift_nats"] += drifted
        if is_teacher_fixed:  # else the loss is toward another teacher than before
            sums["update/measured_fall_nats"] += fall

    @torch.no_grad()
    def _measured(self, part: Part, is_teacher_fixed: bool) -> tuple[float, float]:
        """By how much the objective fell, and the mean KL(old || new), both in nats, at the lessons that are measured.

        Toward a teacher that moved with the student no fall is measured.
        """
        indices, temperature = sorted(part.meter.lessons & set(part.indices)), self.config.sampling.temperature
        lessons = [part.work.lessons[index] for index in indices]
        fall, drifted, count = 0.0, 0.0, 0
        for index, hidden in zip(
            indices, self.scorer.read(self.model, [student_row(lesson) for lesson in lessons]), strict=True
        ):
            tokens = [(token,) for token in loss_tokens(index, part.work.lessons[index])]
            before = part.meter.was(index)
            teacher_of = part.teacher_of(tokens)
            for rows in loss_parts(self.model, len(hidden)):
                student, was = self.scorer.predict(self.model, hidden[rows], temperature), before.part(rows)
                drifted += drift(was, student).sum().item()
                if is_teacher_fixed:
                    moved = part.work.batch(tokens[rows], student, None).logprobs - was.sampled
                    fall += (
                        (was.costs - part.costs(tokens[rows], student, teacher_of(rows, student), moved)).sum().item()
                    )
            count += len(hidden)
        total = self.ranks.sum_numbers({"fall": fall, "drifted": drifted, "count": count})
        return total["fall"] / part.weight(sorted(part.meter.lessons)), total["drifted"] / total["count"]

    def _metrics(self, sums: dict[str, float], updated: int, step: int) -> dict[str, float]:
        repeats, tokens = self.config.optimizer.updates_per_step, sums["tokens"]
        metrics = {
            "objective/loss": sums["objective"] / sums["parts"],
            "objective/tokens_count": tokens / repeats,
            "objective/alike_tokens_count": sums["alike"] / repeats,
            "student/entropy_nats": sums["entropy"] / tokens,
            "importance/capped_tokens_count": sums["capped"] / repeats,
            **{f"update/{name}": sums[f"update/{name}"] / max(1, updated) for name in MEANS},
            "update/learning_rate": self._rate(step),
            "update/count": float(updated),
            "update/skipped_nonfinite_count": sums["update/skipped_nonfinite_count"],
            "update/skipped_empty_count": 0.0,
        }
        for name in ("update/expected_fall_nats", "update/measured_fall_nats"):
            if name in sums:
                metrics[name] = sums[name]
        if self.scorer.compiler is not None:
            metrics["time/compile_s"] = self.scorer.compiler.take_seconds()
        if sums["evidence_tokens"]:
            metrics["contrast/evidence_nats"] = sums["evidence"] / sums["evidence_tokens"]
        if sums["ends"]:
            metrics["student/end_probability"] = sums["student_at_ends"] / sums["ends"]
        if sums["taught_ends"]:
            metrics["teacher/end_probability"] = sums["teacher_at_ends"] / sums["taught_ends"]
        if "teacher_gap" in sums:
            metrics["teacher/logprob_gain_nats"] = sums["teacher_gap"] / sums["taught_tokens"]
        return metrics
