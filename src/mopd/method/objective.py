"""Objectives: what each loss token costs, and how tokens become the one scalar that an update lowers.

With student s, teacher t, sampler p (the student as it was when the rollout was drawn), s_old the student before the
step's first update, and y a loss token of a rollout (docs/algorithm.md, sections 4 to 6):

1. D = D(s, t) at the token, in nats: the divergence of the configuration.            `divergence.token_divergence`
2. r = min(exp(log s(y) - log s_old(y)), cap): the step's batch is used again.        `_distill`; GRPO clips it instead
3. w = min(exp(log s_old(y) - log p(y)), cap): sampler and learner differ.            `sampler_weights`
4. a = the token's share of the step's objective: 1 / all loss tokens, or as the
   aggregation says. Fixed for the whole step before any forward pass.                `token_coefficients`
5. objective = sum over loss tokens of a w r D.                                       `learning.learner`

A new objective is one function of a `TokenBatch` here, one table in `config/method.py`, one rule in `lessons.py` for
which rollouts get a lesson, and a line in the tests of laws.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean as exact_mean

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mopd.config import Config, GrpoObjective, ObjectiveConfig
from mopd.core.types import Group, Lesson
from mopd.method.divergence import sampled_reverse_kl, token_divergence
from mopd.method.predictions import Predictions


@dataclass(frozen=True)
class TokenBatch:
    """n loss tokens of some lessons, flattened, at places before each of which there is one prediction.

    `student` predicts the `token_ids` of the places with gradient, `teacher` without, where the objective has one.
    `places` are those of the tokens; without, each token has its own. Of each token `logprobs` are the student's, with
    gradient; `sampler_logprobs` were recorded at sampling; `old_logprobs` are the learner's own before the step's first
    update, detached.
    """

    student: Predictions
    token_ids: Int[Tensor, " places"]
    logprobs: Float[Tensor, " n"]
    sampler_logprobs: Float[Tensor, " n"]
    old_logprobs: Float[Tensor, " n"]
    advantages: Float[Tensor, " n"]
    teacher: Predictions | None = None
    places: Int[Tensor, " n"] | None = None

    def of_tokens(self, values: Float[Tensor, " places"]) -> Float[Tensor, " n"]:
        """From what is of places to what is of tokens."""
        return values if self.places is None else values[self.places]


def token_losses(batch: TokenBatch, config: Config, objective: ObjectiveConfig | None = None) -> Float[Tensor, " n"]:
    """The cost of every loss token under an objective (unset: the configuration's), importance weights included.

    `distill` and `grpo` weigh tokens by sampler against learner; `sft` treats a success as a demonstration, whoever
    sampled it.
    """
    objective = objective or config.objective
    losses = _LOSSES[objective.kind](batch, config, objective)
    if objective.kind == "sft":
        return losses
    return losses * sampler_weights(batch, config.optimizer.importance_cap)


def is_never_negative(config: Config) -> bool:
    """Whether the objective is at least 0 and 0 at its best: what is left of it bounds how far an update may lower it.

    GRPO has no such bound; `sampled_reverse_kl` has the value of no divergence, and so has a sum of bounded entries.
    """
    objective, divergence = config.objective, config.divergence
    if objective.kind == "distill":
        is_divergence = divergence.kind != "sampled_reverse_kl" and divergence.entry_clip is None
        is_policy_gradient = objective.contrast is not None and objective.contrast.form == "advantage"
        return is_divergence and not config.grpo_share and not is_policy_gradient
    return objective.kind == "sft"


def sampler_weights(batch: TokenBatch, cap: float) -> Float[Tensor, " n"]:
    """min(exp(clamp(log s_old(y) - log p_sampler(y), +-20)), cap), detached. 1 where sampler and learner agree."""
    return _capped_ratio(batch.old_logprobs, batch.sampler_logprobs, cap)


def _capped_ratio(new: Float[Tensor, " n"], old: Float[Tensor, " n"], cap: float) -> Float[Tensor, " n"]:
    return (new - old).detach().clamp(-20.0, 20.0).exp().clamp(max=cap)


def _distill(batch: TokenBatch, config: Config, objective: ObjectiveConfig) -> Float[Tensor, " n"]:
    assert batch.teacher is not None
    reuse = _capped_ratio(batch.logprobs, batch.old_logprobs, config.optimizer.importance_cap)
    if config.divergence.kind == "sampled_reverse_kl":
        return reuse * sampled_reverse_kl(batch.logprobs, batch.of_tokens(batch.teacher.of(batch.token_ids)))
    return reuse * batch.of_tokens(token_divergence(batch.student, batch.teacher, config.divergence))


def _grpo(batch: TokenBatch, config: Config, objective: ObjectiveConfig) -> Float[Tensor, " n"]:
    """Clipped policy gradient against the old log-probabilities (Schulman 2017; dual clip Ye 2020)."""
    assert isinstance(objective, GrpoObjective)
    log_ratio = batch.logprobs - batch.old_logprobs
    ratio = log_ratio.clamp(-20.0, 20.0).exp()
    clipped = ratio.clamp(1 - objective.clip_low, 1 + objective.clip_high)
    losses = torch.maximum(-batch.advantages * ratio, -batch.advantages * clipped)
    bounded = torch.minimum(losses, -batch.advantages * objective.dual_clip)
    return torch.where(batch.advantages < 0, bounded, losses)


def _sft(batch: TokenBatch, config: Config, objective: ObjectiveConfig) -> Float[Tensor, " n"]:
    return -batch.logprobs


_LOSSES: dict[str, Callable[[TokenBatch, Config, ObjectiveConfig], Tensor]] = {
    "distill": _distill,
    "grpo": _grpo,
    "sft": _sft,
}


def token_coefficients(lessons: Sequence[Lesson], objective: ObjectiveConfig) -> list[float]:
    """For each lesson the weight of each of its loss tokens in the step's objective.

    `token_mean`: 1 / all loss tokens. `rollout_mean`: 1 / (lessons x its loss tokens). `domain_balanced`:
    1 / (domains present x its domain's loss tokens). For every aggregation the weights of all loss tokens sum to 1.
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
