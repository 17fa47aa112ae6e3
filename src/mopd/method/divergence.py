"""Divergences between student and teacher at one token, in nats. Pure functions of log-probabilities, or predictions.

Conventions: s and t are next-token distributions given as natural log-probabilities in the last axis; a result has
the leading shape; everything is computed in the dtype it is given. A zero probability (log-probability -inf)
contributes 0 where its own weight is zero, and an infinite divergence where only the other one is.

`forward_kl`, `reverse_kl` and `jensen_shannon` look at the values that they are given, which waits for an accelerator,
and refuse logits: ValueError. Training goes through `token_divergence`, whose log-probabilities are made here.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from mopd.config import DivergenceConfig
from mopd.method.predictions import Predictions

SUM_TOLERANCE, HALF_SUM_TOLERANCE = 0.01, 0.1
"""How far the sum of probabilities may be from 1: float32 and wider, and 16-bit numbers, which round each logarithm."""


def forward_kl(
    student_logprobs: Float[Tensor, "*tokens n"],
    teacher_logprobs: Float[Tensor, "*tokens n"],
    entry_clip: float | None = None,
) -> Float[Tensor, "*tokens"]:
    """KL(t || s) = sum t (log t - log s) in nats, each term at most `entry_clip`. Mass-covering."""
    _check_both(student_logprobs, teacher_logprobs)
    return unchecked_kl(teacher_logprobs, student_logprobs, entry_clip)


def reverse_kl(
    student_logprobs: Float[Tensor, "*tokens n"],
    teacher_logprobs: Float[Tensor, "*tokens n"],
    entry_clip: float | None = None,
) -> Float[Tensor, "*tokens"]:
    """KL(s || t) = sum s (log s - log t) in nats, each term at most `entry_clip` with its gradient. Mode-seeking."""
    _check_both(student_logprobs, teacher_logprobs)
    return unchecked_kl(student_logprobs, teacher_logprobs, entry_clip)


def jensen_shannon(
    student_logprobs: Float[Tensor, "*tokens n"],
    teacher_logprobs: Float[Tensor, "*tokens n"],
    w: float = 0.5,
    entry_clip: float | None = None,
) -> Float[Tensor, "*tokens"]:
    """(1-w) KL(s || m) + w KL(t || m) with m = (1-w) s + w t, in nats.

    At w = 0.5 it is symmetric and at most ln 2; it tends to 0, not to a KL, as w tends to 0 or 1.
    Raises ValueError where w is not strictly between 0 and 1.
    """
    if not 0 < w < 1:
        raise ValueError(f"w must lie strictly between 0 and 1, got {w}")
    _check_both(student_logprobs, teacher_logprobs)
    return _jensen_shannon(student_logprobs, teacher_logprobs, w, entry_clip)


def _jensen_shannon(
    student_logprobs: Float[Tensor, "*tokens n"],
    teacher_logprobs: Float[Tensor, "*tokens n"],
    w: float,
    entry_clip: float | None,
) -> Float[Tensor, "*tokens"]:
    mixture = _logaddexp(student_logprobs + math.log1p(-w), teacher_logprobs + math.log(w))
    return (1 - w) * unchecked_kl(student_logprobs, mixture, entry_clip) + w * unchecked_kl(
        teacher_logprobs, mixture, entry_clip
    )


def sampled_reverse_kl(
    student_logprob: Float[Tensor, "*tokens"], teacher_logprob: Float[Tensor, "*tokens"]
) -> Float[Tensor, "*tokens"]:
    """stopgrad(log s(y) - log t(y)) * log s(y) for sampled tokens y.

    Its gradient is the one-sample estimate of the gradient of `reverse_kl`; its value is no divergence.
    """
    return (student_logprob - teacher_logprob).detach() * student_logprob


def top_k_support(
    student: Predictions, teacher: Predictions, k: int, tail: bool = True, of_teacher: bool = False
) -> tuple[Float[Tensor, "*tokens support"], Float[Tensor, "*tokens support"]]:
    """Both distributions on the student's (or the teacher's) k most probable tokens, one prediction each for every
    token.

    With `tail` one bucket log(1 - sum p) is appended, computed as log(-expm1(min(logsumexp, -1e-7))); without it both
    are renormalised over the k tokens. A vocabulary of at most k tokens is used whole. Raises ValueError where k < 1,
    or where the predictions are not of the same tokens over the same vocabulary.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    _check_alike(student, teacher)
    if k >= student.vocabulary:
        return student.whole(), teacher.whole()
    token_ids = (teacher if of_teacher else student).top(k)
    student_top, teacher_top = student.at(token_ids), teacher.at(token_ids)
    if tail:
        return with_tail(student_top), with_tail(teacher_top)
    return student_top.log_softmax(-1), teacher_top.log_softmax(-1)


def token_divergence(student: Predictions, teacher: Predictions, config: DivergenceConfig) -> Float[Tensor, "*tokens"]:
    """The configured divergence of every token, in nats, bounded as configured.

    Raises ValueError where the predictions are not of the same tokens over the same vocabulary.
    """
    _check_alike(student, teacher)
    if config.support != "full":
        of_teacher = config.support == "teacher_top_k"
        student_logprobs, teacher_logprobs = top_k_support(student, teacher, config.k, config.tail, of_teacher)
    else:
        student_logprobs, teacher_logprobs = student.whole(), teacher.whole()
    if config.kind == "forward_kl":
        divergence = unchecked_kl(teacher_logprobs, student_logprobs, config.entry_clip)
    elif config.kind == "reverse_kl":
        divergence = unchecked_kl(student_logprobs, teacher_logprobs, config.entry_clip)
    elif config.kind == "jensen_shannon":
        divergence = _jensen_shannon(student_logprobs, teacher_logprobs, config.weight, config.entry_clip)
    else:
        raise ValueError(f"{config.kind} is not a divergence over a support")
    if config.clip is None:
        return divergence
    return divergence * (config.clip / divergence.detach().clamp(min=config.clip))


def _check_alike(student: Predictions, teacher: Predictions) -> None:
    if student.vocabulary != teacher.vocabulary or student.shape != teacher.shape:
        raise ValueError(
            "student and teacher predict the same tokens over the same vocabulary; got logits of the shapes "
            f"{[*student.logits.shape]} and {[*teacher.logits.shape]}"
        )


def _check_both(student_logprobs: Tensor, teacher_logprobs: Tensor) -> None:
    """Refuse what are no log-probabilities, such as logits, which would give a number all the same."""
    if student_logprobs.shape != teacher_logprobs.shape:
        got = f"{[*student_logprobs.shape]} and {[*teacher_logprobs.shape]}"
        raise ValueError(f"student and teacher have log-probabilities of the same shape; got {got}")
    for name, logprobs in (("student", student_logprobs), ("teacher", teacher_logprobs)):
        values = logprobs.detach()
        wide = values.to(torch.promote_types(values.dtype, torch.float32))
        gap = (wide.exp().sum(-1) - 1).abs()
        tolerance = SUM_TOLERANCE if values.dtype == wide.dtype else HALF_SUM_TOLERANCE
        if values.numel() and not (gap <= tolerance).all():
            raise ValueError(
                f"the {name}'s log-probabilities are of probabilities that add up to 1; got a sum that is off by "
                f"{gap.max().item():.3g}; where they are logits, use Predictions(logits).whole() or log_softmax(-1)"
            )


def unchecked_kl(
    p_log: Float[Tensor, "*tokens n"], q_log: Float[Tensor, "*tokens n"], entry_clip: float | None = None
) -> Float[Tensor, "*tokens"]:
    """sum p (log p - log q) over the last axis, 0 where p is 0, gradients free of nan there.

    The values are not looked at: for log-probabilities that were made here, in a training's loop.
    """
    is_zero = torch.isneginf(p_log)
    safe_p = p_log.masked_fill(is_zero, 0.0)
    safe_q = q_log.masked_fill(is_zero, 0.0)
    terms = (safe_p.exp() * (safe_p - safe_q)).masked_fill(is_zero, 0.0)
    return (terms if entry_clip is None else terms.clamp(max=entry_clip)).sum(-1)


def _logaddexp(a: Float[Tensor, "*tokens n"], b: Float[Tensor, "*tokens n"]) -> Float[Tensor, "*tokens n"]:
    """log(exp a + exp b), -inf without a nan gradient where both are -inf."""
    is_zero = torch.isneginf(a) & torch.isneginf(b)
    total = torch.logaddexp(a.masked_fill(is_zero, 0.0), b.masked_fill(is_zero, 0.0))
    return total.masked_fill(is_zero, -math.inf)


def with_tail(logprobs: Float[Tensor, "*tokens k"]) -> Float[Tensor, "*tokens k+1"]:
    """The log-probabilities of k tokens, and one bucket with the mass of all others."""
    inside = torch.logsumexp(logprobs, dim=-1, keepdim=True).clamp(max=-1e-7)
    return torch.cat([logprobs, torch.log(-torch.expm1(inside))], dim=-1)
