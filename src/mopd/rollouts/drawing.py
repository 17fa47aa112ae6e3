"""Drawing tokens from logits, by a stream of uniform numbers that belongs to the rollout alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mopd.config import Sampling
from mopd.core.errors import DivergenceError
from mopd.core.seeding import derive_seed

DRAW_BLOCK = 256
"""Tokens whose probabilities are added up before a block of them is chosen."""


def uniforms_of(key: tuple[int | str, ...], count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A rollout's stream of uniform numbers in [0, 1): a function of its key alone."""
    return np.random.Generator(np.random.Philox(derive_seed(*key))).random(count)


def sample_tokens(logits: Tensor, uniforms: Tensor, temperature: float, top_p: float) -> tuple[Tensor, Tensor]:
    """One token a row by inverse transform, and its log-probability under the sampling distribution.

    logits [rows, V]; uniforms [rows] float64 in [0, 1), on the same device -> ([rows] int64, [rows] float64), computed
    in float32. With top_p < 1 the distribution is the smallest set of most probable tokens that holds that mass,
    renormalised.
    """
    _, logprobs = _distributions(logits, temperature, top_p)
    tokens = _draw(logprobs.exp(), uniforms)
    return tokens, _of(tokens, logprobs)


def draw_recorded(logits: Tensor, uniforms: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """Tokens as `sample_tokens` draws them, each with its log-probability before top-p: what a rollout records.

    The importance weight of a token compares that with the learner's, which knows no top-p, and must be 1 where both
    computed the same numbers. Of the renormalised set the log-probability is larger by -log(kept mass): every weight,
    and so every loss, would be smaller by that mass.
    """
    whole, drawn_from = _distributions(logits, sampling.temperature, sampling.top_p)
    tokens = _draw(drawn_from.exp(), uniforms)
    return tokens, _of(tokens, whole)


def _distributions(logits: Tensor, temperature: float, top_p: float) -> tuple[Tensor, Tensor]:
    """Log-probabilities of all tokens, and of those that may be drawn: with top_p < 1 the nucleus, renormalised."""
    whole = (logits.float() / temperature).log_softmax(-1)
    return whole, whole if top_p >= 1.0 else _nucleus(whole, top_p)


def _of(tokens: Tensor, logprobs: Tensor) -> Tensor:
    """The log-probability of one token a row."""
    return logprobs.gather(-1, tokens[:, None]).squeeze(-1).double()


def _nucleus(logprobs: Tensor, top_p: float) -> Tensor:
    """Log-probabilities of the most probable tokens that together hold `top_p`, renormalised; others cannot be."""
    ordered, indices = logprobs.sort(dim=-1, descending=True)
    mass_before = ordered.exp().double().cumsum(-1) - ordered.exp()
    ordered = ordered.masked_fill(mass_before >= top_p, -torch.inf)
    return torch.empty_like(logprobs).scatter(-1, indices, ordered).log_softmax(-1)


def _draw(probabilities: Tensor, uniforms: Tensor) -> Tensor:
    """The first token at which the running sum exceeds uniform x total: [rows, V], [rows] -> [rows].

    First the block of tokens, then the token in it: a running sum over a whole vocabulary in float64 would take longer
    than the model. Tokens of probability 0 are never drawn. Raises DivergenceError where there are no probabilities.
    """
    rows, size = probabilities.shape
    blocks = torch.nn.functional.pad(probabilities, (0, -size % DRAW_BLOCK)).view(rows, -1, DRAW_BLOCK)
    sums = blocks.sum(-1, dtype=torch.float64).cumsum(-1)
    total = sums[:, -1:]  # may differ from 1 by rounding
    diverged = int((~total.isfinite()).sum())
    if diverged:
        raise DivergenceError(
            "a model's logits are numbers, of which a next token can be drawn",
            f"NaN or infinite logits for {diverged} of {rows} completions",
            "see whether its weights are sound (a diverged run, a broken file), or set compute.dtype = 'float32'",
        )
    target = torch.minimum(uniforms[:, None] * total, total.nextafter(torch.zeros_like(total)))
    block = torch.searchsorted(sums, target, right=True)
    before = torch.where(block > 0, sums.gather(1, (block - 1).clamp(min=0)), 0.0)
    inside = blocks[torch.arange(rows, device=blocks.device), block.squeeze(-1)].double().cumsum(-1)
    offset = torch.searchsorted(inside, target - before, right=True)
    last = DRAW_BLOCK - 1 - (inside.diff(prepend=inside.new_zeros(rows, 1)) > 0).flip(-1).int().argmax(-1, keepdim=True)
    return (block * DRAW_BLOCK + torch.minimum(offset, last)).squeeze(-1)
