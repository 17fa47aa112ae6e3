"""A model's input and output embeddings, the largest weights of a small one, without copies of them or their gradients.

Under autocast each part of the hidden states would convert the whole output embedding, and its gradient back; each pack
would make a gradient of zeros as large as the input embedding for the few rows that it read. At 49,152 tokens and a
width of 576 that is 54 to 108 MiB every time, when most else is in memory too. Here the output embedding is converted a
block of tokens at a time, and gradients are added to `weight.grad` where they belong. In float32 that saves, at 151,936
tokens and a width of 896, 519 MiB for each part, which the system would have to zero before they were written.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from mopd.scoring.precision import product_dtype

BLOCK = 2**23
"""Weights of the output embedding that are converted at a time."""


@contextmanager
def sparse_input_gradient(model: Any) -> Iterator[None]:
    """Forward passes within the block will give the input embedding a gradient for the rows that they read only.

    It is added to a dense `weight.grad`, which is made here if there is none.
    """
    embedding = model.get_input_embeddings()
    if embedding.weight.requires_grad:
        _dense_gradient(embedding.weight)
    before, embedding.sparse = embedding.sparse, True
    try:
        yield
    finally:
        embedding.sparse = before


def output_logits(model: Any, hidden: Float[Tensor, "n hidden"]) -> Float[Tensor, "n vocabulary"]:
    """The output embedding on hidden states, in autocast's dtype where that is on, else the weight's.

    The weight's gradient does not pass through autograd: a backward pass adds it to `weight.grad`. A head that is no
    plain linear layer, or has hooks, is called itself.
    """
    embedding = model.get_output_embeddings()
    if type(embedding) is not torch.nn.Linear or embedding._forward_hooks or embedding._forward_pre_hooks:
        called: Tensor = embedding(hidden.to(embedding.weight.dtype))
        return called
    dtype = product_dtype(embedding.weight)
    logits: Tensor = _Logits.apply(hidden.to(dtype), embedding.weight)  # type: ignore[no-untyped-call]
    return logits if embedding.bias is None else logits + embedding.bias.to(dtype)


class _Logits(torch.autograd.Function):
    """hidden [n, d] @ weight [V, d] transposed, in the hidden states' dtype."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(hidden)
        ctx.weight = weight  # itself, for its `grad`: what is saved may come back as another tensor
        if hidden.dtype == weight.dtype:
            return hidden @ weight.T
        return torch.cat([hidden @ block.T for _, block in _converted(weight, hidden.dtype)], dim=1)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (hidden,) = ctx.saved_tensors
        weight: Tensor = ctx.weight
        found = _dense_gradient(weight) if weight.requires_grad else None
        if hidden.dtype == weight.dtype:
            if found is not None:
                found.addmm_(grad.T, hidden)
            return grad @ weight, None
        summed = torch.zeros_like(hidden, dtype=torch.promote_types(weight.dtype, torch.float32))
        for rows, block in _converted(weight, hidden.dtype):
            summed += grad[:, rows] @ block
            if found is not None:
                found[rows] += grad[:, rows].T @ hidden
        return summed.to(hidden.dtype), None


def _dense_gradient(weight: Tensor) -> Tensor:
    """`weight.grad`, of zeros if there was none."""
    if weight.grad is None:
        weight.grad = torch.zeros_like(weight)
    return weight.grad


def _converted(weight: Tensor, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
    size = max(1, BLOCK // weight.shape[1])
    for start in range(0, len(weight), size):
        rows = slice(start, start + size)
        yield rows, weight[rows].detach().to(dtype)
