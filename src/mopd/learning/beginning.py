"""How far the student has come from what it was before the first step, measured on what it wrote then.

Completions of the first step are samples of the first student s_0. With its log-probabilities of their tokens at hand,
the mean of log s_0(y) - log s(y) over them estimates KL(s_0 || s) without its weights: no second model is held.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

import torch

from mopd.core.statistics import mean_error, mean_or_zero
from mopd.core.types import Group
from mopd.parallel.ranks import ONE, Ranks
from mopd.scoring.head import loss_parts
from mopd.scoring.rows import Row
from mopd.scoring.scorer import Scorer

KEPT = 8
"""Completions of the first step that are scored in every step."""


class Beginning:
    """A few completions of the first student with its log-probabilities; nothing is known until `begin` or `recall`."""

    def __init__(self, scorer: Scorer, temperature: float, ranks: Ranks = ONE) -> None:
        self.scorer, self.temperature, self.ranks = scorer, temperature, ranks
        self._rows: list[Row] = []
        self._logprobs: list[list[float]] = []

    def begin(self, model: Any, groups: Sequence[Group]) -> None:
        """Keep completions of the first step, which `model` wrote: the first of each group, then the second of each."""
        of_groups = [[Row(g.prompt_ids, r.token_ids, r.is_own) for r in g.rollouts if any(r.is_own)] for g in groups]
        in_turns = [row for turn in zip_longest(*of_groups) for row in turn if row is not None]
        self._rows = in_turns[:KEPT]
        self._logprobs = self._read(model)

    def measured(self, model: Any) -> dict[str, float]:
        """`student/from_start_nats`, KL(first || now) in nats a token, completions weighing alike, with its standard
        error; nothing where the beginning is not known."""
        if not self._rows:
            return {}
        gaps = [
            mean_or_zero([was - is_now for was, is_now in zip(before, now, strict=True)])
            for before, now in zip(self._logprobs, self._read(model), strict=True)
        ]
        return {"student/from_start_nats": mean_or_zero(gaps), "student/from_start_error": mean_error(gaps)}

    def _read(self, model: Any) -> list[list[float]]:
        """Log-probabilities of the kept completions' own tokens. Every rank reads all; the first one's figures hold."""
        found = []
        with torch.no_grad():
            for row, hidden in zip(self._rows, self.scorer.read(model, self._rows), strict=True):
                own = [t for t, counts in zip(row.completion, row.loss_mask, strict=True) if counts]
                ids = torch.tensor(own, device=hidden.device)
                parts = [
                    self.scorer.predict(model, hidden[part], self.temperature).of(ids[part])
                    for part in loss_parts(model, len(hidden))
                ]
                found.append(torch.cat(parts).double().tolist())
        return self.ranks.first(lambda: found)

    @property
    def state(self) -> dict[str, Any]:
        """What is kept, as JSON."""
        rows = [[list(row.prefix), list(row.completion), list(row.loss_mask)] for row in self._rows]
        return {"rows": rows, "logprobs": self._logprobs}

    def recall(self, state: Mapping[str, Any]) -> None:
        """Go on with what `state` gave; an empty one is of a version that kept nothing: nothing is then measured."""
        self._rows = [Row(tuple(p), tuple(c), tuple(mask)) for p, c, mask in state.get("rows", ())]
        self._logprobs = [list(row) for row in state.get("logprobs", ())]
