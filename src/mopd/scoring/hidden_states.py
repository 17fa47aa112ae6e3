"""Hidden states before the loss tokens of rows, and at no other position.

Rows are read as one trie where the model allows it (`can_share_prefixes`), so that every shared prefix is computed
once. Other models read them as rows padded on the right, which need no mask: under causal attention no token sees the
padding.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor

from mopd.scoring.attention import Seen, decoder_layers, inner_decoder, read_trie
from mopd.scoring.rows import Row
from mopd.scoring.trie import build_trie


def hidden_states(model: Any, rows: Sequence[Row]) -> Float[Tensor, "loss_tokens hidden"]:
    """Hidden states before each loss token, rows in order. Gradients flow if the caller enabled them."""
    return (_from_trie if can_share_prefixes(model) else _from_padded_rows)(model, rows)


def _from_trie(model: Any, rows: Sequence[Row]) -> Float[Tensor, "loss_tokens hidden"]:
    trie = build_trie([row.token_ids for row in rows])
    before = [int(path[position]) for row, path in zip(rows, trie.paths, strict=True) for position in row.scored_from]
    states = read_trie(model, trie)
    return states[torch.tensor(before, device=states.device)]


def _from_padded_rows(model: Any, rows: Sequence[Row]) -> Float[Tensor, "loss_tokens hidden"]:
    device = next(model.parameters()).device
    width = max(len(row.token_ids) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    for index, row in enumerate(rows):
        ids[index, : len(row.token_ids)] = torch.tensor(row.token_ids)
    before = [index * width + position for index, row in enumerate(rows) for position in row.scored_from]
    states = inner_decoder(model)(input_ids=ids.to(device), use_cache=False).last_hidden_state
    chosen: Tensor = states.flatten(0, 1)[torch.tensor(before, device=device)]
    return chosen


_CAN_SHARE: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


def can_share_prefixes(model: Any) -> bool:
    """Whether the model gives the same hidden states for a trie as for its sequences, tried once for each model.

    Models with sliding windows, chunked attention or a recurrent state do not. They are scored row by row, with a
    warning that says why.
    """
    if model not in _CAN_SHARE:
        kinds = set(getattr(model.config.get_text_config(), "layer_types", None) or ["full_attention"])
        reason = ", ".join(sorted(kinds)) if kinds != {"full_attention"} else _why_not(model)
        _CAN_SHARE[model] = not reason
        if reason:
            text = f"{type(model).__name__} cannot share prefixes ({reason}): it is scored row by row"
            warnings.warn(f"{text}, which is as exact, and slower", stacklevel=1)  # one place: said once
    return _CAN_SHARE[model]


def share_alike(copied: Any, model: Any) -> None:
    """Let a rounded copy share prefixes as its model does; tried by itself, its rounding would be taken for more."""
    _CAN_SHARE[copied] = can_share_prefixes(model)


@torch.no_grad()
def _why_not(model: Any) -> str:
    """Why a trie cannot stand for its sequences; empty where it can."""
    rows = small_group(model)
    if is_without_numbers(model):
        return _why_not_by_calls(model, rows)
    with torch.autocast(next(model.parameters()).device.type, enabled=False):
        wanted = _from_padded_rows(model, rows)
        try:
            got = _from_trie(model, rows)
        except Exception as error:  # whatever a model raises at attention that is not its own
            return f"its attention is of another kind: {type(error).__name__}: {error}"
    gap = float((got - wanted).abs().max() / wanted.abs().max())
    return "" if gap <= 1e-3 else f"hidden states differ by {gap:.1g}"


def is_without_numbers(model: Any) -> bool:
    """Whether the model's weights have shapes alone: on the meta device, or torch's fake tensors on another."""
    weight = next(model.parameters())
    return bool(weight.is_meta or hasattr(weight, "fake_mode"))


def _why_not_by_calls(model: Any, rows: Sequence[Row]) -> str:
    """Of a model without numbers: whether each of its layers attends as it is told to."""
    seen: Seen = {}
    try:
        read_trie(model, build_trie([row.token_ids for row in rows]), seen)
    except Exception as error:  # whatever a model raises at attention that is not its own
        return f"its attention is of another kind: {type(error).__name__}: {error}"
    layers = len(decoder_layers(model))
    return "" if len(seen) == layers else f"{layers - len(seen)} of {layers} layers do not attend"


def small_group(model: Any) -> list[Row]:
    """Three completions of one prompt, two of which begin alike: what a model is tried on."""
    size = model.get_input_embeddings().weight.shape[0]
    ends = [(5, 6, 7), (8, 9), (5, 6, 10, 11)]
    return [Row(tuple(t % size for t in range(3, 9)), tuple(t % size for t in end), (True,) * len(end)) for end in ends]
