"""Masters that move as told: float32 weights off the grid on which a file's numbers lie.

Matrix products in bfloat16 read a rounded copy of the float32 masters. Weights of a file in half precision, or of a
quantised one, lie on a grid. Those that are bfloat16 numbers themselves are in the middle of the values that round to
them: small updates move no copy. Those half-way between two such numbers jump to the next at any update: a first update
moves the copy up to 19 times too far. Anywhere in between, and by chance, a copy moves as far as its master on average.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mopd.core.seeding import derive_seed

ON_GRID = 0.01
"""Share of a tensor's numbers that are bfloat16 numbers or half-way between two, above which a file put them there.

In weights that were trained in float32 it is one in 32,768; in matrices of SmolLM2's Q4_1 and Qwen2.5-Coder's Q4_K_M it
is 4 % to 36 %, in float16 files a quarter, in bfloat16 files all.
"""

CHUNK = 1 << 22
"""Numbers that are spread at a time, so that a large embedding needs no second copy."""


@torch.no_grad()
def spread_masters(model: Any, seed: int) -> float:
    """Move each weight of a tensor on a grid to a random place among the values that round to the same bfloat16 number.

    Places are uniform, by (seed, name of the tensor). The bfloat16 copy of the model stays what it is, to the bit, and
    its mean movement is that of the masters. Returns the share of the trained weights that were spread.
    """
    spread_count = total = 0
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:  # never moves, so that rounding is all that it needs
            continue
        total += parameter.numel()
        if parameter.dtype == torch.float32 and share_on_grid(parameter) > ON_GRID:
            generator = torch.Generator().manual_seed(derive_seed(seed, "masters", name))
            flat = parameter.view(-1)
            for begin in range(0, len(flat), CHUNK):
                part = flat[begin : begin + CHUNK]
                part.copy_(_spread(part, torch.rand(part.shape, generator=generator).to(part.device)))
            spread_count += parameter.numel()
    return spread_count / max(1, total)


def share_on_grid(weights: Tensor) -> float:
    """Of the numbers other than 0, the share that are bfloat16 numbers or exactly half-way between two."""
    on_grid = nonzero = 0
    for part in torch.split(weights.detach().reshape(-1), CHUNK):
        is_nonzero = part != 0
        on_grid += int(((part.view(torch.int32) & 0x7FFF == 0) & is_nonzero).sum())
        nonzero += int(is_nonzero.sum())
    return on_grid / max(1, nonzero)


def _spread(weights: Tensor, places: Tensor) -> Tensor:
    """float32 numbers at `places`, [0, 1), of the values that round to the same bfloat16 numbers; 0 stays 0.

    The first half of a float32 number's bits are those of a bfloat16 number. All that lie less than half a step of the
    second half to either side round to it, whatever the rule for ties.
    """
    middle = weights.bfloat16().float()
    bits = middle.view(torch.int32)
    low, high = (bits - 0x7FFF).view(torch.float32), (bits + 0x7FFF).view(torch.float32)
    moved = (low + (high - low) * places).clamp(torch.minimum(low, high), torch.maximum(low, high))
    is_kept = (middle == 0) | ~high.isfinite() | ~middle.isfinite()
    return torch.where(is_kept, weights, moved)
