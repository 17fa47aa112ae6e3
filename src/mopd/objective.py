"""Objectives: what each token of a lesson costs, and how tokens become one scalar.

The objective of a step is sum over live tokens of coefficient * importance * token loss. The coefficients are fixed
for the whole step before any forward pass, so neither the microbatch size nor the number of ranks can change it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean as exact_mean

import torch
from torch import Tensor

from mopd.config import Config, DistillObjective, GrpoObjective, SftObjective
from mopd.divergence import sampled_reverse_kl, token_divergence
from mopd.predictions import Predictions
from mopd.types import Group, Lesson


@dataclass(frozen=True)
class TokenBatch:
    """The live tokens of some lessons, flattened: n of them.

    student: predictions with gradient; token_ids [n] the sampled tokens; sampled_logprobs [n] the student's of these,
    with gradient; sampler_logprobs [n] as recorded at sampling; first_logprobs [n] the learner's own at the step's
    first update, detached; advantages [n]; teacher: predictions without gradient, or None.
    """

    student: Predictions
    token_ids: Tensor
    sampled_logprobs: Tensor
    sampler_logprobs: Tensor
    first_logprobs: Tensor
    advantages: Tensor
    teacher: Predictions | None = None


def token_losses(batch: TokenBatch, config: Config) -> Tensor:
    """The loss of every live token, importance weights included: [n]. The kind is `config.objective.kind`.

    `distill` and `grpo` weigh tokens by sampler against learner; `sft` treats a success as a demonstration, whoever
    sampled it.
    """
    losses = _LOSSES[config.objective.kind](batch, config)
    if config.objective.kind == "sft":
        return losses
    return losses * sampler_weights(batch, config.optimizer.importance_cap)


def sampler_weights(batch: TokenBatch, cap: float) -> Tensor:
    """min(exp(clamp(log s_old(y) - log p_sampler(y), +-20)), cap), detached: [n]. 1 where sampler and learner agree."""
    return _capped_ratio(batch.first_logprobs, batch.sampler_logprobs, cap)


def _capped_ratio(new: Tensor, old: Tensor, cap: float) -> Tensor:
    return (new - old).detach().clamp(-20.0, 20.0).exp().clamp(max=cap)


def _distill(batch: TokenBatch, config: Config) -> Tensor:
    assert batch.teacher is not None
    reuse = _capped_ratio(batch.sampled_logprobs, batch.first_logprobs, config.optimizer.importance_cap)
    if config.divergence.kind == "sampled_reverse_kl":
        return reuse * sampled_reverse_kl(batch.sampled_logprobs, batch.teacher.of(batch.token_ids))
    return reuse * token_divergence(batch.student, batch.teacher, config.divergence)


def _grpo(batch: TokenBatch, config: Config) -> Tensor:
    """Clipped policy gradient against the first update's log-probabilities (Schulman 2017; dual clip Ye 2020)."""
    objective = config.objective
    assert isinstance(objective, GrpoObjective)
    log_ratio = batch.sampled_logprobs - batch.first_logprobs
    ratio = log_ratio.clamp(-20.0, 20.0).exp()
    clipped = ratio.clamp(1 - objective.clip_low, 1 + objective.clip_high)
    losses = torch.maximum(-batch.advantages * ratio, -batch.advantages * clipped)
    bounded = torch.minimum(losses, -batch.advantages * objective.dual_clip)
    return torch.where(batch.advantages < 0, bounded, losses)


def _sft(batch: TokenBatch, config: Config) -> Tensor:
    return -batch.sampled_logprobs


_LOSSES: dict[str, Callable[[TokenBatch, Config], Tensor]] = {
    "distill": _distill,
    "grpo": _grpo,
    "sft": _sft,
}


def token_coefficients(
    lessons: Sequence[Lesson], objective: DistillObjective | GrpoObjective | SftObjective
) -> list[float]:
    """For each lesson the weight of each of its live tokens in the step's objective.

    `token_mean`: 1 / all live tokens. `rollout_mean`: 1 / (lessons x its live tokens). `domain_balanced`:
    1 / (domains present x its domain's live tokens). For every aggregation the weights of all live tokens sum to 1.
    """
    lengths = [lesson.rollout.own_token_count for lesson in lessons]
    if objective.aggregation == "token_mean":
        return [1 / sum(lengths) for _ in lengths]
    if objective.aggregation == "rollout_mean":
        return [1 / (len(lengths) * length) for length in lengths]
    tokens: Counter[str] = Counter()
    for lesson, length in zip(lessons, lengths, strict=True):
        tokens[lesson.domain] += length
    return [1 / (len(tokens) * tokens[lesson.domain]) for lesson in lessons]


def group_advantages(group: Group) -> list[float | None]:
    """reward - mean reward of the group, for each rollout; None where the grader failed (left out of the mean)."""
    judged = [v.reward for v in group.verdicts if v.kind != "error"]
    mean = exact_mean(judged) if judged else 0.0  # exact, so that equal rewards have no advantage at all
    return [None if v.kind == "error" else v.reward - mean for v in group.verdicts]
