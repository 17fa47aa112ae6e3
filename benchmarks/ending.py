"""Completions of laid-down lengths, so that systems that sample differently write the same number of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def end_rows(logits: Tensor, is_last: Tensor, end_id: int) -> Tensor:
    """Logits [rows, vocabulary], changed: rows that are at their last token can only end, others cannot."""
    logits[:, end_id] = -torch.inf
    if is_last.any():
        logits[is_last] = -torch.inf
        logits[is_last, end_id] = 0.0
    return logits


class EndsAt:
    """A logits processor for transformers' generate: each row of `prompts` [rows, length] ends at its length."""

    def __init__(self, lengths: Sequence[int], end_id: int, prompts: Tensor) -> None:
        self.lengths = torch.tensor(lengths, device=prompts.device)
        self.end_id, self.prompt = end_id, prompts.shape[1]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """scores [rows, vocabulary]."""
        return end_rows(scores, self.lengths == input_ids.shape[1] - self.prompt + 1, self.end_id)


class EndingDecoder:
    """This project's decoder, each row of which ends at its length."""

    def __init__(self, inner: Any, lengths: Sequence[int], end_id: int) -> None:
        self.inner, self.end_id = inner, end_id
        self.lengths, self.written = torch.tensor(lengths), 0
        self.logits = self._ended(inner.logits)

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows only."""
        self.lengths = self.lengths[rows.cpu()]
        self.inner.keep(rows)

    def step(self, tokens: Tensor) -> Tensor:
        """The logits behind one more token a row."""
        self.written += 1
        return self._ended(self.inner.step(tokens))

    def _ended(self, logits: Tensor) -> Tensor:
        return end_rows(logits, (self.lengths == self.written + 1).to(logits.device), self.end_id)
