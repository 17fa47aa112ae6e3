"""Small movements of weights in bfloat16, by chance: rounded to the nearest, most of them would be lost.

A bfloat16 number has 8 significant bits; an update of a weight by less than a 512th of it leaves it where it was when
the sum is rounded to the nearest. Rounded up or down by chance, in proportion to how near either neighbour is, it moves
as far as it should on average. (Stochastic rounding: Gupta et al. 2015, arXiv 1502.02551.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from mopd.core.seeding import derive_seed

ELEMENTS = 2**17
"""Weights that a processor works on at a time, so that what is formed on the way stays in its cache."""

ELEMENTS_OF_A_GPU = 2**24
"""The same of a GPU, so that what is formed on the way is small beside the model."""


def generator_on(device: torch.device, *parts: int | str) -> torch.Generator:
    """A generator on a device, seeded by `derive_seed(*parts)`. Another kind of device draws other numbers."""
    return torch.Generator(device).manual_seed(derive_seed(*parts))


def round_stochastically(values: Tensor, generator: torch.Generator) -> Tensor:
    """float32 values as bfloat16, each rounded to one of its two neighbours so that its mean is the value itself.

    A bfloat16 number is the first half of a float32's bits: a random number of 16 bits is added to the second half,
    which is then cut off. What is not finite stays what it is.
    """
    noise = torch.randint(0, 1 << 16, values.shape, generator=generator, dtype=torch.int32, device=values.device)
    rounded = ((values.view(torch.int32) + noise) & -(1 << 16)).view(torch.float32)
    return torch.where(values.isfinite(), rounded, values).bfloat16()


@torch.no_grad()
def move(weights: Tensor, goal: Tensor, share: float, *seed: int | str) -> None:
    """weights <- (1 - share) weights + share goal, in place; in bfloat16 rounded stochastically, by the seed."""
    if share == 1:
        weights.copy_(goal)
    elif weights.dtype != torch.bfloat16:
        weights.lerp_(goal.to(weights), share)
    else:
        generator = generator_on(weights.device, *seed)
        for own, toward in in_parts(weights, goal.to(weights.device)):
            own.copy_(round_stochastically(own.float().lerp(toward.float(), share), generator))


def in_parts(*tensors: Tensor) -> Iterator[Sequence[Tensor]]:
    """Tensors of one size, flat, in parts that a processor works on at a time. Contiguous ones are seen, not copied."""
    flat = [tensor.detach().reshape(-1) for tensor in tensors]
    size = ELEMENTS if flat[0].device.type == "cpu" else ELEMENTS_OF_A_GPU
    yield from zip(*(torch.split(tensor, size) for tensor in flat), strict=True)
