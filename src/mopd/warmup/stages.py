"""The stages of a warm-up: supervised updates on demonstrations, and rollouts between them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from mopd.config import DemonstratorWarmup, OptimizerConfig, SolutionsWarmup
from mopd.core.seeding import derive_seed
from mopd.core.types import Group
from mopd.learning.optimizer import AdamW
from mopd.method.predictions import Predictions
from mopd.parallel.sharing import shared_out
from mopd.preflight.setup import Setup
from mopd.rollouts.engine import sample_groups
from mopd.runs.progress import ProgressDisplay
from mopd.scoring.rows import Row
from mopd.scoring.scorer import PartLoss, Scorer
from mopd.warmup.demonstrations import NoisyDemonstrator, Solutions


def learn(setup: Setup, progress: ProgressDisplay) -> dict[str, Any]:
    """Train the student in place under `[warmup]` and return the figures: losses, shares and counts."""
    warmup = setup.config.warmup
    assert warmup is not None
    if isinstance(warmup, SolutionsWarmup):
        return _learn_solutions(setup, warmup, progress)
    return _learn_from_demonstrator(setup, warmup, progress)


def _learn_from_demonstrator(setup: Setup, warmup: DemonstratorWarmup, progress: ProgressDisplay) -> dict[str, Any]:
    demonstrator = NoisyDemonstrator(setup.student, setup.problems.train, setup.config, warmup)
    stage = _Stage(setup, warmup.learning_rate)
    loss = stage.run("warm-up", warmup.steps, demonstrator.batch, progress)
    return {"loss_nats": loss, "skipped_nonfinite_count": stage.skipped}


def _learn_solutions(setup: Setup, warmup: SolutionsWarmup, progress: ProgressDisplay) -> dict[str, Any]:
    solutions = Solutions(setup.student, setup.problems.train, setup.config, warmup)
    stage = _Stage(setup, warmup.learning_rate)
    figures: dict[str, Any] = {f"problems_{name}_count": count for name, count in solutions.counts.items()}
    shown = setup.judge(solutions.as_groups(), 0)[0]
    figures["solutions_rejected_count"] = sum(not group.is_success(0) for group in shown)
    figures["loss_nats"] = stage.run("warm-up", warmup.steps, solutions.plain_batch, progress)
    if warmup.context_steps:
        groups = _attempted_groups(setup, solutions, progress)
        figures["rollouts_success_share"] = _success_share(groups)
        figures["contexts_loss_nats"] = stage.run(
            "warm-up, contexts", warmup.context_steps, lambda step: solutions.context_batch(step, groups), progress
        )
    figures["skipped_nonfinite_count"] = stage.skipped
    return figures


def _attempted_groups(setup: Setup, solutions: Solutions, progress: ProgressDisplay) -> list[Group]:
    """Verified groups of the student's own rollouts, as the plain stage left it."""
    config, count = setup.config, solutions.warmup.context_rollouts
    setup.engine.sync(setup.student.model)
    with progress.phase("warm-up, rollouts", len(solutions.context_problems) * count) as phase:
        groups = sample_groups(
            setup.engine,
            setup.student.tokenizer.encode_prompt,
            solutions.context_problems,
            count,
            config.sampling,
            key=lambda problem: (config.seed, "warmup rollout", problem.id),
            success_reward=config.success_reward,
            on_batch=phase.advance,
        )
        return setup.judge(groups, 0)[0]


def _success_share(groups: Sequence[Group]) -> float:
    found = [group.is_success(rollout.index) for group in groups for rollout in group.rollouts]
    return sum(found) / len(found)


class _Stage:
    """Supervised updates of one student; the optimiser goes on from stage to stage, and `skipped` counts vain ones."""

    def __init__(self, setup: Setup, learning_rate: float) -> None:
        self.model, self.learning_rate, self.ranks = setup.student.model, learning_rate, setup.ranks
        self.scorer = Scorer.of(setup.config.compute, setup.student.dtype, may_compile=False)
        self.optimizer = AdamW(
            self.model,
            OptimizerConfig(learning_rate=learning_rate, betas=(0.9, 0.98)),
            setup.config.compute.moments,
            derive_seed(setup.config.seed, "warm-up"),
        )
        self.skipped = 0

    def run(self, name: str, steps: int, batch: Callable[[int], Sequence[Row]], progress: ProgressDisplay) -> float:
        """`steps` updates on `batch(step)`; the mean loss of the last tenth, in nats."""
        losses: list[float] = []
        with progress.phase(name, steps) as phase:
            for step in range(steps):
                losses.append(self._backward(batch(step)))
                done = self.optimizer.update(self.learning_rate * _share_of_peak(step, steps))
                self.skipped += not done.is_done
                phase.advance(note=f"loss {losses[-1]:.3f} nats")
        last = losses[-max(1, len(losses) // 10) :]
        return sum(last) / len(last)

    def _backward(self, rows: Sequence[Row]) -> float:
        """Gradients of the mean cross-entropy over the completions' tokens, and that mean in nats."""
        count = sum(len(row.completion) for row in rows)
        rows = [rows[i] for i in shared_out([len(row.token_ids) for row in rows], self.ranks.size)[self.ranks.rank]]
        losses: list[float] = []

        def loss_of(pack: Sequence[int]) -> PartLoss:
            targets = torch.tensor([token for i in pack for token in rows[i].completion])

            def part_loss(part: slice, predictions: Predictions) -> Tensor:
                loss = -predictions.of(targets[part].to(predictions.logits.device)).sum() / count
                losses.append(loss.item())
                return loss

            return part_loss

        self.scorer.backward(self.model, rows, loss_of)
        self.ranks.sum_gradients(self.optimizer.whole)
        return self.ranks.sum_numbers({"loss": sum(losses)})["loss"]


def _share_of_peak(step: int, steps: int) -> float:
    """Share of the peak learning rate: a linear rise over 5 % of the steps, then a cosine down to 5 %."""
    rise = min(1.0, (step + 1) / max(1.0, 0.05 * steps))
    return rise * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / steps)))
