"""A model's head on chosen hidden states: logits exist for a few tokens at a time, and at loss tokens only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mopd.method.predictions import Predictions
from mopd.scoring.embeddings import output_logits
from mopd.scoring.hidden_states import hidden_states
from mopd.scoring.rows import Row
from mopd.scoring.vocabulary import of_known_tokens

CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
"""What configurations call c, where a head's logits l become c tanh(l / c): Gemma, RecurrentGemma, xLSTM."""

LOGITS_AT_ONCE = 2**24
"""Logits that exist at a time while learning, of the student and of the teacher each: 64 MiB in float32."""


def predict(model: Any, hidden: Float[Tensor, "n hidden"], temperature: float = 1.0) -> Predictions:
    """The n next-token distributions that the model's head makes of chosen hidden states."""
    return Predictions(head_logits(model, hidden), temperature)


def row_logprobs(model: Any, rows: Sequence[Row], temperature: float = 1.0) -> Float[Tensor, "loss_tokens vocabulary"]:
    """Next-token log-probabilities before each loss token, rows in order, all at once; float32 or wider.

    Gradients flow if the caller enabled them.
    """
    return predict(model, hidden_states(model, rows), temperature).whole()


def loss_parts(model: Any, count: int) -> list[slice]:
    """`count` loss tokens in parts of equal size whose logits are at most `LOGITS_AT_ONCE`, or one token's.

    Each part has a backward pass of its own down to the hidden states; one backward pass from there serves all. So the
    gradients are the same, and memory does not grow with tokens times vocabulary.
    """
    largest = max(1, LOGITS_AT_ONCE // int(model.get_output_embeddings().weight.shape[0]))
    parts = math.ceil(count / largest)
    return [slice(count * part // parts, count * (part + 1) // parts) for part in range(parts)]


def head_logits(model: Any, hidden: Float[Tensor, "n hidden"]) -> Float[Tensor, "n vocabulary"]:
    """The model's own head, scaled and capped as its configuration says, at the ids that a token has."""
    logits = output_logits(model, hidden)
    config = model.config.get_text_config()
    if getattr(config, "logits_scaling", None):
        logits = logits / config.logits_scaling
    if getattr(config, "logit_scale", None):
        logits = logits * config.logit_scale
    cap = next((cap for name in CAPS if (cap := getattr(config, name, None)) is not None), None)
    return of_known_tokens(model, logits if cap is None else torch.tanh(logits / cap) * cap)
