"""Next-token predictions: log-probabilities from logits, without ever holding a second [n, V] in float32.

An objective needs a few log-probabilities a token (the sampled token's, the student's most probable ones), and their
gradient in the logits is a softmax times a number, plus those few. Both are formed here in blocks of rows that fit a
processor's cache: exact in float32 whatever the dtype of the logits, and rounded to it once, at the end.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

BLOCK = 2**19
"""Logits that a processor works on at a time: 2 MiB in float32."""


class Predictions:
    """Next-token distributions, given as logits [..., V] of any floating dtype, divided by `temperature`.

    Log-probabilities come in float32, or float64 for float64 logits, and pass gradients on to the logits.
    `log_normalizers` [...] and `entropies` [...], in nats, pass none. Raises ValueError where logits are no
    floating-point tensor with a vocabulary, or where the temperature is not a finite number over 0.
    """

    def __init__(self, logits: Float[Tensor, "*tokens vocabulary"], temperature: float = 1.0) -> None:
        _check(logits, temperature)
        self.logits = logits
        self.temperature = temperature
        with torch.autocast(logits.device.type, enabled=False):  # it would take sums of products in half precision
            normalizers, entropies = _normalise(_rows(logits.detach()), temperature)
        self.log_normalizers, self.entropies = normalizers.view(self.shape), entropies.view(self.shape)

    def __len__(self) -> int:
        """How many distributions there are, whatever their shape."""
        return self.log_normalizers.numel()

    @property
    def shape(self) -> torch.Size:
        """The leading shape, without the vocabulary."""
        return self.logits.shape[:-1]

    @property
    def vocabulary(self) -> int:
        return int(self.logits.shape[-1])

    def at(self, token_ids: Int[Tensor, "*tokens m"]) -> Float[Tensor, "*tokens m"]:
        """Log-probabilities of some tokens each. Raises ValueError where `token_ids` have another leading shape."""
        if token_ids.shape[:-1] != self.shape:
            raise ValueError(
                f"token ids have the leading shape of the predictions, {[*self.shape]}; got {[*token_ids.shape[:-1]]}"
            )
        picked: Tensor = _LogprobsAt.apply(  # type: ignore[no-untyped-call]
            _rows(self.logits), _rows(token_ids), self.log_normalizers.view(-1), self.temperature
        )
        return picked.view(token_ids.shape)

    def of(self, token_ids: Int[Tensor, "*tokens"]) -> Float[Tensor, "*tokens"]:
        """Log-probability of one token each."""
        return self.at(token_ids.unsqueeze(-1)).squeeze(-1)

    def top(self, k: int) -> Int[Tensor, "*tokens k"]:
        """The k most probable tokens of each."""
        return self.logits.detach().topk(k, dim=-1).indices

    def whole(self) -> Float[Tensor, "*tokens vocabulary"]:
        """All log-probabilities."""
        scaled = self.logits.to(_wide(self.logits.dtype)) / self.temperature
        return scaled - scaled.logsumexp(-1, keepdim=True)  # more exact than log_softmax, see `_softmax`


def _check(logits: Tensor, temperature: float) -> None:
    """What a tensor says of itself, so that a device need not be waited for."""
    if not isinstance(logits, Tensor) or not logits.is_floating_point():
        got = f"a {logits.dtype} tensor" if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
        raise ValueError(f"logits are a floating-point tensor [..., vocabulary]; got {got}")
    if logits.dim() == 0 or logits.shape[-1] == 0:
        raise ValueError(f"logits [..., vocabulary] have a vocabulary of at least 1; got the shape {[*logits.shape]}")
    if not (temperature > 0 and math.isfinite(temperature)):
        raise ValueError(f"a temperature is a finite number over 0; got {temperature}")


def _rows(values: Tensor) -> Tensor:
    """[..., m] as [n, m]; what is so already stays the very tensor."""
    return values if values.dim() == 2 else values.reshape(-1, values.shape[-1])


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _blocks(logits: Float[Tensor, "n vocabulary"], temperature: float) -> Iterator[tuple[slice, Tensor]]:
    """Rows, and their scaled logits as a copy that may be written to; on an accelerator all at once."""
    size = max(1, BLOCK // logits.shape[-1]) if logits.device.type == "cpu" else max(1, len(logits))
    for start in range(0, len(logits), size):
        rows = slice(start, start + size)
        block = logits[rows].to(_wide(logits.dtype), copy=True)
        yield rows, block if temperature == 1.0 else block.div_(temperature)


@torch.no_grad()
def _normalise(
    logits: Float[Tensor, "n vocabulary"], temperature: float
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """log sum exp and entropy of each row."""
    normalizers = logits.new_empty(len(logits), dtype=_wide(logits.dtype))
    entropies = torch.empty_like(normalizers)
    for rows, block in _blocks(logits, temperature):
        probabilities = _softmax(block)
        normalizers[rows] = block.amax(-1) - probabilities.amax(-1).log()
        entropies[rows] = normalizers[rows] - torch.linalg.vecdot(probabilities, block)
        if entropies[rows].isnan().any():  # 0 times -inf: a token that cannot be
            block.masked_fill_(probabilities == 0, 0.0)
            entropies[rows] = normalizers[rows] - torch.linalg.vecdot(probabilities, block)
    return normalizers, entropies


def _softmax(
    block: Float[Tensor, "n vocabulary"], factor: Float[Tensor, "n 1"] | float = 1.0
) -> Float[Tensor, "n vocabulary"]:
    """Probabilities times `factor`.

    torch's softmax takes half the time of its exp, but adds up a large vocabulary one by one: in float32 the sum is off
    by some 1e-5. `sum` adds in pairs.
    """
    probabilities = block.softmax(-1)
    return probabilities.mul_(factor / probabilities.sum(-1, keepdim=True))


class _LogprobsAt(torch.autograd.Function):
    """log p(i) = z_i / T - log sum exp(z / T) at chosen i; its gradient is (1{i} - p) / T."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, token_ids: Tensor, normalizers: Tensor, temperature: float) -> Tensor:
        ctx.save_for_backward(logits, token_ids)
        ctx.temperature = temperature
        return logits.gather(-1, token_ids).to(normalizers.dtype) / temperature - normalizers[:, None]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        logits, token_ids = ctx.saved_tensors
        (grad,) = grads
        found = torch.empty_like(logits)
        for rows, block in _blocks(logits, ctx.temperature):
            block = _softmax(block, -grad[rows].sum(-1, keepdim=True))
            block.scatter_add_(-1, token_ids[rows], grad[rows])
            found[rows] = block if ctx.temperature == 1.0 else block.div_(ctx.temperature)
        return found, None, None, None
