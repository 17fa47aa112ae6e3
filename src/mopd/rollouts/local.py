"""The local engine: samples completions with a model in this process.

Each prompt is read once, whatever the number of its rollouts; finished rows leave the batch. Every rollout draws from
its own stream of uniform numbers, keyed by what it is for, so batching cannot change what is sampled (beyond rounding
in the logits).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from mopd.config import Sampling
from mopd.core.types import Rollout
from mopd.models.student import Student, copy_model
from mopd.models.weights import full_weights, is_in
from mopd.parallel.sharded import whole
from mopd.rollouts.decoding import open_decoder
from mopd.rollouts.drawing import draw_recorded, uniforms_of
from mopd.rollouts.engine import SamplingRequest, tell_nobody
from mopd.scoring.hidden_states import can_share_prefixes


class LocalEngine:
    """Samples with a model in this process: the student's, until `sync` names another or the same again.

    It samples with that very model where its weights are on the device in the dtype of products. Else it samples with a
    copy of them that are, so that they are converted once a step and not once a token. With `keeps_copy` it does so in
    any case: a model that will be split over ranks is then gathered once a step.
    """

    def __init__(self, student: Student, max_rows: int, keeps_copy: bool = False) -> None:
        self.tokenizer = student.tokenizer
        self.max_rows = max_rows
        self.dtype, self.device = student.dtype, next(student.model.parameters()).device
        self.keeps_copy = keeps_copy
        self._copy: Any = None
        self.sync(student.model)

    @torch.no_grad()
    def sync(self, model: Any) -> None:
        """Take over the weights of `model`, of the student's architecture, as they are now."""
        self._source = model
        if self._can_sample_with(model):
            self.model, self._copy = model, None
            return
        if self._copy is None:
            self._copy = copy_model(model, self.dtype, self.device)
        else:
            now = full_weights(model)
            for name, kept in self._copy.named_parameters():
                if kept is not now[name]:  # what both share is not trained
                    kept.copy_(whole(now[name]))
            torch._foreach_copy_(list(self._copy.buffers()), list(model.buffers()))
        self.model = self._copy

    def _can_sample_with(self, model: Any) -> bool:
        return not self.keeps_copy and (
            next(model.parameters()).device == self.device
            if self.dtype == torch.float32
            else is_in(model, self.dtype, self.device)
        )

    @torch.no_grad()
    def sample(
        self, requests: Sequence[SamplingRequest], sampling: Sampling, on_batch: Callable[[int], None] = tell_nobody
    ) -> list[list[Rollout]]:
        """For each request its rollouts; batches hold up to `max_rows` rollouts, and at least one request."""
        found: list[list[Rollout]] = []
        for batch in _batches(requests, self.max_rows):
            found += self._sample_batch(batch, sampling)
            on_batch(sum(request.count for request in batch))
        return found

    def take_metrics(self) -> dict[str, float]:
        """Nothing: all that happens here is seen by whoever calls."""
        return {}

    def _sample_batch(self, requests: Sequence[SamplingRequest], sampling: Sampling) -> list[list[Rollout]]:
        end_ids = self.tokenizer.end_ids
        uniforms = torch.from_numpy(
            np.stack(
                [uniforms_of((*r.key, index), sampling.completion_tokens) for r in requests for index in range(r.count)]
            )
        )
        shares = can_share_prefixes(self._source)
        decoder = open_decoder(self.model, [r.prompt_ids for r in requests], [r.count for r in requests], shares)
        logits = decoder.logits

        rows = len(uniforms)
        tokens: list[list[int]] = [[] for _ in range(rows)]
        logprobs: list[list[float]] = [[] for _ in range(rows)]
        writing = torch.arange(rows)
        for position in range(sampling.completion_tokens):
            logits = logits if logits.is_cuda else logits.cpu()  # CUDA adds up in float64, which not every device can
            chosen, chosen_logprobs = draw_recorded(logits, uniforms[writing, position].to(logits.device), sampling)
            written = chosen.tolist()
            for row, token, logprob in zip(writing.tolist(), written, chosen_logprobs.tolist(), strict=True):
                tokens[row].append(token)
                logprobs[row].append(logprob)
            going = torch.tensor([token not in end_ids for token in written])
            if position == sampling.completion_tokens - 1 or not going.any():
                break
            if not going.all():
                keep = going.nonzero().squeeze(-1)
                writing, chosen = writing[keep], chosen[keep]
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
        tokenizer = self.tokenizer
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
