"""Whether this package scores as the model itself does: tried on a small group before training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mopd.core.errors import DivergenceError, StudentError
from mopd.scoring.head import head_logits
from mopd.scoring.hidden_states import hidden_states, small_group
from mopd.scoring.precision import in_double_precision
from mopd.scoring.rows import Row
from mopd.scoring.vocabulary import of_known_tokens


@torch.no_grad()
def check_scoring(model: Any) -> None:
    """Refuse a model that gives other logits here, for a small group, than by itself, before training on wrong numbers.

    Logits may differ by 1e-4 of the largest (1e-2 in half precision). A float32 model that rounds more than that by
    itself, as some do after training (their largest activations are thousands), is compared again in double precision.
    Raises StudentError, whatever the model raises, and DivergenceError where its logits are no numbers.
    """
    weight = next(model.parameters())
    allowed = 1e-4 if weight.dtype == torch.float32 else 1e-2
    gap, largest = _gap(model)
    can_be_double = weight.dtype == torch.float32 and weight.device.type != "mps"  # Apple's GPUs have no float64
    if gap > allowed * largest and can_be_double:
        with in_double_precision(model):
            gap, largest = _gap(model)
    if gap > allowed * largest:
        raise StudentError(
            "the model's logits are its output embedding applied to its decoder's last hidden state",
            f"{type(model).__name__}, whose logits differ by {gap:.3g}",
            "use another architecture, or report this one",
        )


def _gap(model: Any) -> tuple[float, float]:
    """How far at most the model's own logits are from those found here, and its largest logit (at least 1)."""
    rows = small_group(model)
    try:
        expected = _own_logits(model, rows)
        got = head_logits(model, hidden_states(model, rows)).float()
    except Exception as error:  # architectures differ in every way; what cannot be tried cannot be trained
        raise StudentError(
            "the model can be scored: its decoder gives hidden states, and its output embedding their logits",
            f"{type(model).__name__}: {type(error).__name__}: {error}",
            "use another architecture, or report this one",
        ) from error
    cannot_be = expected.isneginf() & got.isneginf()
    expected, got = (logits.masked_fill(cannot_be, 0.0) for logits in (expected, got))
    if not expected.isfinite().all():
        raise DivergenceError(
            "a student's logits are finite numbers",
            f"NaN or infinite ones from {type(model).__name__}",
            "see whether its weights are sound (a diverged run, a broken file)",
        )
    gap = (expected - got).abs().max().nan_to_num(torch.inf).item()
    return gap, max(1.0, expected.abs().max().item())


def _own_logits(model: Any, rows: Sequence[Row]) -> Tensor:
    """What the model itself says before the loss tokens of rows, each read alone."""
    device = next(model.parameters()).device
    own = [model(input_ids=torch.tensor([row.token_ids], device=device), use_cache=False).logits[0] for row in rows]
    found = torch.cat([logits[row.scored_from] for logits, row in zip(own, rows, strict=True)])
    return of_known_tokens(model, found).float()
