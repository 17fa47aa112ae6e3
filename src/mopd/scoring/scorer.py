"""Scoring in microbatches: reading rows without gradients, and the backward pass of a loss over rows.

The learner and the warm-up share `Scorer.backward`; a teacher reads its contexts with `Scorer.read`. A wrapper for
several devices goes around these two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mopd.config import ComputeConfig
from mopd.method.predictions import Predictions
from mopd.parallel.sharded import ranks_of
from mopd.scoring.attention import recomputing
from mopd.scoring.compiling import LayerCompiler
from mopd.scoring.embeddings import sparse_input_gradient
from mopd.scoring.head import loss_parts, predict
from mopd.scoring.hidden_states import can_share_prefixes, hidden_states
from mopd.scoring.packing import pack_by_tokens
from mopd.scoring.precision import computing_in
from mopd.scoring.rows import Row
from mopd.scoring.trie import common_prefix

PartLoss = Callable[[slice, Predictions], Float[Tensor, ""]]
"""From a part of a pack's loss tokens and the student's predictions before them to their loss."""

PLACEHOLDER = Row((0,), (0,), (True,))
"""What a rank reads in the place of a pack that only others have."""

PACKS_WITHOUT_GRADIENT = 4
"""How many microbatches are read at once without a gradient: only one layer's states exist at a time then."""


@dataclass(frozen=True)
class Scorer:
    """How rows are scored: the dtype of matrix products, the tokens of a microbatch, and compiled layers or none."""

    dtype: torch.dtype = torch.float32
    microbatch_tokens: int = 512
    compiler: LayerCompiler | None = None

    @classmethod
    def of(cls, compute: ComputeConfig, dtype: torch.dtype, may_compile: bool = True) -> Scorer:
        """A scorer as `[compute]` says; the student knows its dtype."""
        return cls(dtype, compute.microbatch_tokens, LayerCompiler() if compute.compile and may_compile else None)

    @torch.no_grad()
    def read(self, model: Any, rows: Sequence[Row]) -> list[Float[Tensor, "loss_tokens hidden"]]:
        """For each row the hidden states before its loss tokens, in the dtype of products (float64 stays float64)."""
        found: dict[int, Tensor] = {}
        with self.computing(model):
            for pack in self.packs(model, rows, PACKS_WITHOUT_GRADIENT * self.microbatch_tokens):
                if not pack:
                    hidden_states(model, [PLACEHOLDER])
                    continue
                with self._compiled(model):
                    states = hidden_states(model, [rows[i] for i in pack])
                wide = torch.float64 if states.dtype == torch.float64 else self.dtype
                counts = [sum(rows[i].loss_mask) for i in pack]
                found.update(zip(pack, torch.split(states.to(wide), counts), strict=True))
        return [found[i] for i in range(len(rows))]

    def backward(
        self, model: Any, rows: Sequence[Row], loss_of: Callable[[Sequence[int]], PartLoss], temperature: float = 1.0
    ) -> None:
        """Add to `grad` the gradients of a loss that is a sum over loss tokens, whatever the microbatches are.

        `loss_of(pack)`, told the indices of a microbatch's rows, gives the function from a part of their loss tokens (a
        slice, rows in order) and the model's predictions before them to their summed loss.
        """
        for pack in self.packs(model, rows, self.microbatch_tokens):
            if not pack:
                with self.computing(model):
                    nothing = 0 * hidden_states(model, [PLACEHOLDER]).sum()
                nothing.backward()  # type: ignore[no-untyped-call]
                continue
            with self.computing(model), sparse_input_gradient(model):
                states = self.states_with_gradient(model, [rows[i] for i in pack])
            cut = states.detach().requires_grad_()
            part_loss = loss_of(pack)
            for part in loss_parts(model, len(cut)):
                with self.computing(model):
                    predictions = predict(model, cut[part], temperature)
                part_loss(part, predictions).backward()  # type: ignore[no-untyped-call]
            states.backward(cut.grad)  # type: ignore[no-untyped-call]

    def predict(self, model: Any, hidden: Float[Tensor, "n hidden"], temperature: float) -> Predictions:
        """The predictions that the model's head makes of chosen hidden states, in the dtype of products."""
        with self.computing(model):
            return predict(model, hidden, temperature)

    def computing(self, model: Any) -> AbstractContextManager[Any]:
        """Within the block matrix products are computed in `dtype`."""
        return computing_in(self.dtype, next(model.parameters()).device)

    def packs(self, model: Any, rows: Sequence[Row], budget: int) -> list[list[int]]:
        """The indices of rows that are scored together, the largest pack first.

        Where a model is split over ranks, which gather its layers together, there are as many packs in each: the last
        ones are then empty, and a placeholder takes their rows' place.
        """
        found = pack_by_tokens([row.token_ids for row in rows], budget, can_share_prefixes(model))
        return found + [[]] * (ranks_of(model).largest(len(found)) - len(found))

    def states_with_gradient(self, model: Any, pack: Sequence[Row]) -> Float[Tensor, "loss_tokens hidden"]:
        """Hidden states; of a pack beyond the budget layers are computed again in the backward pass, not kept."""
        if self._distinct_tokens(pack) > self.microbatch_tokens:
            with recomputing(model):
                return hidden_states(model, pack)
        with self._compiled(model):
            return hidden_states(model, pack)

    def _distinct_tokens(self, pack: Sequence[Row]) -> int:
        ids = [row.token_ids for row in pack]  # in the order in which `pack_by_tokens` counted them
        return len(ids[0]) + sum(len(b) - common_prefix(a, b) for a, b in pairwise(ids))

    def _compiled(self, model: Any) -> AbstractContextManager[None]:
        return nullcontext() if self.compiler is None else self.compiler.applied(model)
