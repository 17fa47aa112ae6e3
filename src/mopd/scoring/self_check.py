"""Whether this package scores as the model itself does: tried on a small group before training."""

from __future__ import annotations

from typing import Any

import torch

from mopd.core.errors import StudentError
from mopd.scoring.head import head_logits
from mopd.scoring.hidden_states import hidden_states, small_group


@torch.no_grad()
def check_scoring(model: Any) -> None:
    """Refuse a model that gives other logits here, for a small group, than by itself, before training on wrong numbers.

    Raises StudentError.
    """
    rows = small_group(model)
    device = next(model.parameters()).device
    own = [model(input_ids=torch.tensor([row.token_ids], device=device), use_cache=False).logits[0] for row in rows]
    expected = torch.cat([logits[row.scored_from] for logits, row in zip(own, rows, strict=True)]).float()
    got = head_logits(model, hidden_states(model, rows)).float()
    gap = (expected - got).abs().max().item()
    if not gap <= 1e-2 * max(1.0, expected.abs().max().item()):
        raise StudentError(
            "the model's logits are its output embedding applied to its decoder's last hidden state",
            f"{type(model).__name__}, whose logits differ by {gap:.3g}",
            "use another architecture, or report this one",
        )
