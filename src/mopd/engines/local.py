"""The local engine: samples completions with the model in this process, in the student's dtype.

Each prompt is read once, whatever the number of its rollouts; finished rows leave the batch. Every rollout
draws from its own stream of uniform numbers, keyed by what it is for, so batching cannot change what is sampled
(beyond rounding in the logits).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mopd.engines.decoding import open_decoder
from mopd.scoring import can_share_prefixes
from mopd.seeding import derive_seed
from mopd.students import Student, copy_model
from mopd.types import Group, Problem, Rollout

DRAW_BLOCK = 256
"""Tokens whose probabilities are added up before a block of them is chosen."""


@dataclass(frozen=True, slots=True)
class SamplingRequest:
    """`count` completions of one prompt; rollout j draws its randomness from (*key, j)."""

    prompt_ids: tuple[int, ...]
    count: int
    key: tuple[int | str, ...]


class LocalEngine:
    """Samples with `student.model` as it was when last synchronised: at first, and at every `sync`.

    In float32 it samples with the very model; in another dtype with a copy of its weights, so that they are converted
    once a step and not once a token.
    """

    def __init__(self, student: Student, max_rows: int) -> None:
        self.student = student
        self.max_rows = max_rows
        is_own = student.dtype == torch.float32
        self.model = student.model if is_own else copy_model(student.model).to(student.dtype)

    @torch.no_grad()
    def sync(self) -> None:
        """Take over the student's weights as they are now."""
        if self.model is not self.student.model:
            torch._foreach_copy_(list(self.model.parameters()), list(self.student.model.parameters()))

    def sample_groups(
        self,
        problems: Sequence[Problem],
        count: int,
        *,
        key: Callable[[Problem], tuple[int | str, ...]],
        step: int,
        success_reward: float,
        completion_tokens: int,
        temperature: float,
        top_p: float,
        on_batch: Callable[[int], None] = lambda rows: None,
    ) -> list[Group]:
        """One unverified group of `count` rollouts for each problem. `on_batch(n)` is told of n finished rollouts."""
        requests = [
            SamplingRequest(tuple(self.student.tokenizer.encode_prompt(p.messages)), count, key(p)) for p in problems
        ]
        rollouts = self.sample(requests, completion_tokens, temperature, top_p, on_batch)
        return [
            Group(step, problem, request.prompt_ids, tuple(found), success_reward=success_reward)
            for problem, request, found in zip(problems, requests, rollouts, strict=True)
        ]

    @torch.no_grad()
    def sample(
        self,
        requests: Sequence[SamplingRequest],
        completion_tokens: int,
        temperature: float,
        top_p: float,
        on_batch: Callable[[int], None] = lambda rows: None,
    ) -> list[list[Rollout]]:
        """For each request its rollouts; batches hold up to `max_rows` rollouts, and at least one request."""
        found: list[list[Rollout]] = []
        for batch in _batches(requests, self.max_rows):
            found += self._sample_batch(batch, completion_tokens, temperature, top_p)
            on_batch(sum(request.count for request in batch))
        return found

    def _sample_batch(
        self, requests: Sequence[SamplingRequest], limit: int, temperature: float, top_p: float
    ) -> list[list[Rollout]]:
        end_ids = self.student.tokenizer.end_ids
        known = self.student.tokenizer.size  # a model may have more rows than there are tokens
        uniforms = torch.from_numpy(
            np.stack([_uniforms((*r.key, index), limit) for r in requests for index in range(r.count)])
        )
        shares = can_share_prefixes(self.student.model)
        decoder = open_decoder(self.model, [r.prompt_ids for r in requests], [r.count for r in requests], shares)
        logits = decoder.logits

        rows = len(uniforms)
        tokens: list[list[int]] = [[] for _ in range(rows)]
        logprobs: list[list[float]] = [[] for _ in range(rows)]
        live = torch.arange(rows)
        for position in range(limit):
            chosen, chosen_logprobs = sample_tokens(
                logits[:, :known].cpu(), uniforms[live, position], temperature, top_p
            )
            for row, token, logprob in zip(live.tolist(), chosen.tolist(), chosen_logprobs.tolist(), strict=True):
                tokens[row].append(token)
                logprobs[row].append(logprob)
            going = torch.tensor([token not in end_ids for token in chosen.tolist()])
            if position == limit - 1 or not going.any():
                break
            if not going.all():
                keep = going.nonzero().squeeze(-1)
                live, chosen = live[keep], chosen[keep]
                decoder.keep(keep)
            logits = decoder.step(chosen)
        return self._as_rollouts(requests, tokens, logprobs)

    def _as_rollouts(
        self, requests: Sequence[SamplingRequest], tokens: list[list[int]], logprobs: list[list[float]]
    ) -> list[list[Rollout]]:
        rows = iter(zip(tokens, logprobs, strict=True))
        found = []
        for request in requests:
            found.append([self._as_rollout(index, *next(rows)) for index in range(request.count)])
        return found

    def _as_rollout(self, index: int, ids: list[int], logprobs: list[float]) -> Rollout:
        tokenizer = self.student.tokenizer
        return Rollout(
            index=index,
            token_ids=tuple(ids),
            is_own=(True,) * len(ids),
            sampler_logprobs=tuple(logprobs),
            text=tokenizer.decode(ids),
            is_truncated=ids[-1] not in tokenizer.end_ids,
        )


def _batches(requests: Sequence[SamplingRequest], max_rows: int) -> list[list[SamplingRequest]]:
    batches: list[list[SamplingRequest]] = []
    for request in requests:
        if batches and sum(r.count for r in batches[-1]) + request.count <= max_rows:
            batches[-1].append(request)
        else:
            batches.append([request])
    return batches


def _uniforms(key: tuple[int | str, ...], count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A rollout's stream of uniform numbers in [0, 1): a function of its key alone."""
    return np.random.Generator(np.random.Philox(derive_seed(*key))).random(count)


def sample_tokens(logits: Tensor, uniforms: Tensor, temperature: float, top_p: float) -> tuple[Tensor, Tensor]:
    """One token a row by inverse transform, and its log-probability under the sampling distribution.

    logits [rows, V] on the CPU; uniforms [rows] float64 in [0, 1) -> ([rows] int64, [rows] float64), computed in
    float32. With top_p < 1
    the distribution is the smallest set of most probable tokens that holds that mass, renormalised.
    """
    logprobs = (logits.float() / temperature).log_softmax(-1)
    if top_p < 1.0:
        ordered, indices = logprobs.sort(dim=-1, descending=True)
        mass_before = ordered.exp().double().cumsum(-1) - ordered.exp()
        ordered = ordered.masked_fill(mass_before >= top_p, -torch.inf)
        logprobs = torch.empty_like(logprobs).scatter(-1, indices, ordered).log_softmax(-1)
    tokens = _draw(logprobs.exp(), uniforms)
    return tokens, logprobs.gather(-1, tokens[:, None]).squeeze(-1).double()


def _draw(probabilities: Tensor, uniforms: Tensor) -> Tensor:
    """The first token at which the running sum exceeds uniform x total: [rows, V], [rows] -> [rows].

    First the block of tokens, then the token in it: a running sum over a whole vocabulary in float64 would take longer
    than the model. Tokens of probability 0 are never drawn.
    """
    rows, size = probabilities.shape
    blocks = torch.nn.functional.pad(probabilities, (0, -size % DRAW_BLOCK)).view(rows, -1, DRAW_BLOCK)
    sums = blocks.sum(-1, dtype=torch.float64).cumsum(-1)
    total = sums[:, -1:]  # may differ from 1 by rounding
    target = torch.minimum(uniforms[:, None] * total, total.nextafter(torch.zeros_like(total)))
    block = torch.searchsorted(sums, target, right=True)
    before = torch.where(block > 0, sums.gather(1, (block - 1).clamp(min=0)), 0.0)
    inside = blocks[torch.arange(rows), block.squeeze(-1)].double().cumsum(-1)
    offset = torch.searchsorted(inside, target - before, right=True)
    last = DRAW_BLOCK - 1 - (inside.diff(prepend=inside.new_zeros(rows, 1)) > 0).flip(-1).int().argmax(-1, keepdim=True)
    return (block * DRAW_BLOCK + torch.minimum(offset, last)).squeeze(-1)
