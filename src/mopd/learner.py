"""The learner: turns lessons into updated weights, pack by pack, and counts what it did."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mopd.compiling import LayerCompiler
from mopd.config import Config, OptimizerConfig
from mopd.embeddings import sparse_input_gradient
from mopd.objective import TokenBatch, sampler_weights, token_coefficients, token_losses
from mopd.packing import pack_by_tokens
from mopd.precision import computing_in
from mopd.predictions import Predictions
from mopd.scoring import (
    Row,
    can_share_prefixes,
    chunks,
    live_hidden,
    predict,
    student_row,
    teacher_row,
)
from mopd.trie_attention import recomputing
from mopd.types import Lesson

Clock = Callable[[str], AbstractContextManager[None]]

PACKS_WITHOUT_GRADIENT = 4
"""How many microbatches the teacher reads at once: without a gradient only one layer's states exist at a time."""


class AdamW:
    """torch's AdamW over a model's parameters with gradient clipping and a refusal of non-finite gradients."""

    def __init__(self, model: Any, config: OptimizerConfig) -> None:
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.names = [name for name, p in model.named_parameters() if p.requires_grad]
        self.clip_norm = config.clip_norm
        self.inner = torch.optim.AdamW(
            self.parameters,
            lr=config.learning_rate,
            betas=config.betas,
            weight_decay=config.weight_decay,
            fused=True,  # one pass over the weights: 10 to 20 times as fast on a CPU
        )

    def update(self, learning_rate: float) -> tuple[bool, float]:
        """One update from the gradients present: (done, gradient norm). A non-finite gradient updates nothing."""
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.clip_norm).item()
        is_finite = math.isfinite(norm)
        if is_finite:
            for group in self.inner.param_groups:
                group["lr"] = learning_rate
            self.inner.step()
        self.inner.zero_grad(set_to_none=True)
        return is_finite, norm

    def state_tensors(self) -> dict[str, Tensor]:
        """The optimiser's state as named tensors, for a checkpoint."""
        return {
            f"{key}/{name}": torch.as_tensor(value)
            for name, parameter in zip(self.names, self.parameters, strict=True)
            for key, value in self.inner.state.get(parameter, {}).items()
        }

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Restore what `state_tensors` gave."""
        parameters = dict(zip(self.names, self.parameters, strict=True))
        for full_name, value in tensors.items():
            key, _, name = full_name.partition("/")
            like = value if key == "step" else value.to(parameters[name].device)
            self.inner.state[parameters[name]][key] = like.clone()


def learning_rate_at(step: int, config: OptimizerConfig) -> float:
    """Constant after a linear rise over `warmup_steps`: a function of the step alone."""
    return config.learning_rate * min(1.0, (step + 1) / max(1, config.warmup_steps))


@dataclass(frozen=True, slots=True)
class _LiveToken:
    """A token of a lesson that the student wrote itself, and its weight in the step's objective."""

    lesson: Lesson
    position: int
    coefficient: float


def _batch(
    live: Sequence[_LiveToken], student: Predictions, teacher: Predictions | None, first: Tensor | None
) -> TokenBatch:
    """What the objective needs of some live tokens; `first` is None in a step's first update."""
    rollouts = [(token.lesson.rollout, token.position) for token in live]
    token_ids = torch.tensor([rollout.token_ids[j] for rollout, j in rollouts], device=student.logits.device)
    sampled = student.of(token_ids)
    return TokenBatch(
        student=student,
        token_ids=token_ids,
        sampled_logprobs=sampled,
        sampler_logprobs=torch.tensor([rollout.sampler_logprobs[j] for rollout, j in rollouts]).to(sampled),
        first_logprobs=sampled.detach() if first is None else first,
        advantages=torch.tensor([token.lesson.advantage for token in live]).to(sampled),
        teacher=teacher,
    )


@dataclass
class Learning:
    """What one step of learning did: metrics, and whether the student's weights moved."""

    metrics: dict[str, float]
    is_updated: bool


class Learner:
    """Holds the student's weights and optimiser; the teacher is lent to it for each step.

    `dtype` is that of matrix products; weights, gradients and the optimiser's state stay in the model's own.
    """

    def __init__(self, model: Any, config: Config, dtype: torch.dtype = torch.float32) -> None:
        self.model = model
        self.config = config
        self.dtype = dtype
        self.optimizer = AdamW(model, config.optimizer)
        self.compiler = LayerCompiler() if config.compute.compile else None

    def learn(self, lessons: Sequence[Lesson], teacher_model: Any | None, step: int, clock: Clock) -> Learning:
        """Update on the lessons of one step. No lessons: nothing is computed, nothing moves, and it is counted."""
        if not lessons:
            return Learning({"update/skipped_empty_count": 1.0}, False)
        sums: dict[str, float] = defaultdict(float)
        first_logprobs: dict[tuple[int, int], Tensor] = {}
        updated = 0
        taught = self._read_contexts(lessons, teacher_model, clock)
        for _ in range(self.config.optimizer.updates_per_step):
            self._accumulate(lessons, teacher_model, taught, first_logprobs, sums, clock)
            with clock("update"):
                done, norm = self.optimizer.update(learning_rate_at(step, self.config.optimizer))
            updated += done
            sums["update/grad_norm"] += norm if done else 0.0
            sums["update/skipped_nonfinite_count"] += not done
        return Learning(self._metrics(sums, updated, step), updated > 0)

    @torch.no_grad()
    def _read_contexts(self, lessons: Sequence[Lesson], teacher_model: Any | None, clock: Clock) -> list[Tensor]:
        """For each lesson the teacher's hidden states before its live tokens, [live, hidden] in the dtype of products.

        Once a step: a teacher stays as it is between updates. Its head follows later, for some tokens at a time.
        """
        if teacher_model is None:
            return []
        taught: dict[int, Tensor] = {}
        rows = [teacher_row(lesson) for lesson in lessons]
        with clock("teacher"), self._computing(teacher_model):
            for pack in self._packs(rows, PACKS_WITHOUT_GRADIENT):
                with self._compiled(teacher_model):
                    hidden = live_hidden(teacher_model, [rows[i] for i in pack])
                counts = [lessons[i].rollout.own_token_count for i in pack]
                wide = torch.float64 if hidden.dtype == torch.float64 else self.dtype
                taught.update(zip(pack, torch.split(hidden.to(wide), counts), strict=True))
        return [taught[i] for i in range(len(lessons))]

    def _accumulate(
        self,
        lessons: Sequence[Lesson],
        teacher_model: Any | None,
        taught: Sequence[Tensor],
        first_logprobs: dict[tuple[int, int], Tensor],
        sums: dict[str, float],
        clock: Clock,
    ) -> None:
        """Backward over all packs; the objective is that of the whole step whatever the packs are."""
        coefficients = token_coefficients(lessons, self.config.objective)
        rows = [student_row(lesson) for lesson in lessons]
        for index, pack in enumerate(self._packs(rows)):
            live = [
                _LiveToken(lessons[i], j, coefficients[i])
                for i in pack
                for j, own in enumerate(lessons[i].rollout.is_own)
                if own
            ]
            with clock("student"), self._computing(self.model):
                with sparse_input_gradient(self.model):
                    hidden = self._hidden([rows[i] for i in pack])
                cut = hidden.detach().requires_grad_()
            read = torch.cat([taught[i] for i in pack]) if taught else None
            for part in chunks(self.model, len(live)):
                teacher = None
                if read is not None:
                    with clock("teacher"), torch.no_grad(), self._computing(teacher_model):
                        teacher = predict(teacher_model, read[part], self.config.sampling.temperature)
                with clock("student"):
                    with self._computing(self.model):
                        student = predict(self.model, cut[part], self.config.sampling.temperature)
                    batch = _batch(live[part], student, teacher, first_logprobs.get((index, part.start)))
                    first_logprobs.setdefault((index, part.start), batch.first_logprobs)
                    losses = token_losses(batch, self.config)
                    weights = torch.tensor([token.coefficient for token in live[part]])
                    objective = (losses * weights.to(losses)).sum()
                    objective.backward()  # type: ignore[no-untyped-call]
                    self._count(batch, objective, sums)
            with clock("student"):
                hidden.backward(cut.grad)  # type: ignore[no-untyped-call]

    def _packs(self, rows: Sequence[Row], times: int = 1) -> list[list[int]]:
        budget = times * self.config.compute.microbatch_tokens
        return pack_by_tokens([row.token_ids for row in rows], budget, can_share_prefixes(self.model))

    def _hidden(self, pack: Sequence[Row]) -> Tensor:
        """The student's hidden states; of a sequence beyond the budget layers are computed again in the backward."""
        if len(pack) == 1 and len(pack[0].token_ids) > self.config.compute.microbatch_tokens:
            with recomputing(self.model):
                return live_hidden(self.model, pack)
        with self._compiled(self.model):
            return live_hidden(self.model, pack)

    def _compiled(self, model: Any) -> AbstractContextManager[None]:
        return nullcontext() if self.compiler is None else self.compiler.applied(model)

    def _computing(self, model: Any) -> AbstractContextManager[Any]:
        return computing_in(self.dtype, next(model.parameters()).device)

    @torch.no_grad()
    def _count(self, batch: TokenBatch, objective: Tensor, sums: dict[str, float]) -> None:
        cap = self.config.optimizer.importance_cap
        gap = batch.first_logprobs - batch.sampler_logprobs
        sums["tokens"] += len(batch.token_ids)
        sums["objective"] += objective.item()
        sums["entropy"] += batch.student.entropies.sum().item()
        sums["gap"] += gap.abs().sum().item()
        sums["capped"] += (sampler_weights(batch, cap) >= cap).sum().item()
        if batch.teacher is not None:
            sums["teacher_gap"] += (batch.teacher.of(batch.token_ids) - batch.sampled_logprobs).sum().item()

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
        if self.compiler is not None:
            metrics["time/compile_s"] = self.compiler.take_seconds()
        if "teacher_gap" in sums:
            metrics["teacher/logprob_gain_nats"] = sums["teacher_gap"] / tokens
        return metrics
