"""Useful floating-point operations of scoring and update, and the rate at which the machine multiplies matrices.

Useful is what remains when every shared prefix is computed once: 2 operations for each parameter in a product and each
node of the trie of all contexts for the teacher; 6 for the student's trie (forward, and backward to inputs and to
weights); the head at loss tokens only, 2 and 6 times; and both products of attention at the keys a node really sees,
4 x heads x head size x depth in each layer, 3 times that for the student. Norms, softmax, divergence, optimiser and
teacher update count as nothing, while their seconds count: the share is of the whole of scoring and update.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from measuring import now
from mopd.core.types import Lesson
from mopd.estimating import flops as counted
from mopd.estimating.sizes import shapes_of
from mopd.scoring.rows import student_row, teacher_row
from mopd.scoring.trie import Trie, build_trie

SQUARE = 2048
REPEATS = 7


def useful_flops(model: Any, lessons: Sequence[Lesson]) -> dict[str, float]:
    """Of one step with a teacher and one update, with the counts that it is made of."""
    students = build_trie([student_row(lesson).token_ids for lesson in lessons])
    teachers = build_trie([teacher_row(lesson).token_ids for lesson in lessons])
    loss_tokens = sum(lesson.rollout.own_token_count for lesson in lessons)
    head = counted.head_flops(shapes_of(model), loss_tokens)
    forward = {name: decoder_flops(model, trie) + head for name, trie in (("t", teachers), ("s", students))}
    return {
        "flops": forward["t"] + counted.WITH_BACKWARD * forward["s"],
        "teacher_nodes": len(teachers.token_ids),
        "student_nodes": len(students.token_ids),
        "loss_tokens": loss_tokens,
        "lessons": len(lessons),
    }


def decoder_flops(model: Any, trie: Trie) -> int:
    """A forward pass over a trie, without the head."""
    return counted.decoder_flops(shapes_of(model), trie)


def attention_flops(model: Any, trie: Trie) -> int:
    """Scores and weighted sums of a forward pass: each node sees itself and its ancestors."""
    return counted.attention_flops(shapes_of(model), int((trie.positions + 1).sum()))


class ProductRate:
    """The better of two products' rates: 2048 cubed, and the model's own MLP product at `rows` tokens."""

    def __init__(self, model: Any, dtype: torch.dtype, rows: int) -> None:
        config = model.config.get_text_config()
        self.device = next(model.parameters()).device
        shapes = [(SQUARE, SQUARE, SQUARE), (rows, config.hidden_size, config.intermediate_size)]
        self.pairs = [
            tuple(torch.randn(size, device=self.device).to(dtype) for size in ((n, k), (m, k))) for n, k, m in shapes
        ]

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Operations a second now: medians of some products of each, and the better one as `rate`."""
        square, own = (self._rate(inputs, weight) for inputs, weight in self.pairs)
        return {"square_rate": square, "mlp_rate": own, "rate": max(square, own)}

    def _rate(self, inputs: torch.Tensor, weight: torch.Tensor) -> float:
        flops = 2 * inputs.shape[0] * weight.numel()
        seconds = []
        for _ in range(REPEATS + 1):
            began = now(self.device.type)
            nn.functional.linear(inputs, weight)
            seconds.append(now(self.device.type) - began)
        return flops / max(1e-9, statistics.median(seconds[1:]))
