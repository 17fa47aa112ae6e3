"""Forward passes: log-probabilities at the completion's live tokens, and nowhere else.

Sequences are scored as a trie in one row where the model allows it (`can_share_prefixes`), else as rows padded on the
right, which need no mask: under causal attention no real token sees the padding. The head runs only at live positions,
so logits for prompt positions never exist; while learning it runs on some of them at a time (`chunks`).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from mopd.embeddings import output_logits
from mopd.errors import StudentError
from mopd.packing import build_trie
from mopd.predictions import Predictions
from mopd.trie_attention import read_trie
from mopd.types import Lesson


@dataclass(frozen=True, slots=True)
class Row:
    """A sequence to score: `prefix` is read, `completion` is scored where `is_live`."""

    prefix: tuple[int, ...]
    completion: tuple[int, ...]
    is_live: tuple[bool, ...]

    @property
    def token_ids(self) -> tuple[int, ...]:
        """Prefix and completion."""
        return self.prefix + self.completion

    @property
    def scored_from(self) -> list[int]:
        """The positions whose hidden states predict the live tokens: each is one before its token."""
        before = len(self.prefix) - 1
        return [before + offset for offset, is_live in enumerate(self.is_live) if is_live]


def student_row(lesson: Lesson) -> Row:
    """What the student scores: its prompt, then its own completion."""
    return Row(lesson.prompt_ids, lesson.rollout.token_ids, lesson.rollout.is_own)


def teacher_row(lesson: Lesson) -> Row:
    """What the teacher scores: the context, then the same completion ids."""
    assert lesson.context_ids is not None
    return Row(lesson.context_ids, lesson.rollout.token_ids, lesson.rollout.is_own)


LOGITS_AT_ONCE = 2**24
"""Logits that exist at a time while learning, of the student and of the teacher each: 64 MiB in float32."""


def live_logprobs(model: Any, rows: Sequence[Row], temperature: float = 1.0) -> Tensor:
    """Next-token log-probabilities before each live token, rows in order: [live tokens, vocabulary], float32 or wider.

    Gradients flow if the caller enabled them.
    """
    return predict(model, live_hidden(model, rows), temperature).whole()


def live_hidden(model: Any, rows: Sequence[Row]) -> Tensor:
    """Hidden states before each live token, rows in order: [live tokens, hidden]."""
    return (_trie_hidden if can_share_prefixes(model) else _padded_hidden)(model, rows)


def predict(model: Any, hidden: Tensor, temperature: float = 1.0) -> Predictions:
    """What the model's head makes of chosen hidden states: [n, hidden] -> n predictions."""
    return Predictions(head_logits(model, hidden), temperature)


def chunks(model: Any, count: int) -> list[slice]:
    """`count` live tokens in parts of equal size whose logits are at most `LOGITS_AT_ONCE`, or one token's.

    A backward pass for each part, down to the hidden states, and one from there for all: the gradients are the same,
    and memory does not grow with tokens times vocabulary.
    """
    largest = max(1, LOGITS_AT_ONCE // int(model.get_output_embeddings().weight.shape[0]))
    parts = math.ceil(count / largest)
    return [slice(count * part // parts, count * (part + 1) // parts) for part in range(parts)]


def _trie_hidden(model: Any, rows: Sequence[Row]) -> Tensor:
    """Hidden states before each live token, every shared prefix computed once: [live tokens, hidden]."""
    trie = build_trie([row.token_ids for row in rows])
    live = [int(path[position]) for row, path in zip(rows, trie.paths, strict=True) for position in row.scored_from]
    states = read_trie(model, trie)
    return states[torch.tensor(live, device=states.device)]


def _padded_hidden(model: Any, rows: Sequence[Row]) -> Tensor:
    """The same, one row a sequence."""
    device = next(model.parameters()).device
    width = max(len(row.token_ids) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    for index, row in enumerate(rows):
        ids[index, : len(row.token_ids)] = torch.tensor(row.token_ids)
    live = [index * width + position for index, row in enumerate(rows) for position in row.scored_from]
    hidden = model.get_decoder()(input_ids=ids.to(device), use_cache=False).last_hidden_state
    chosen: Tensor = hidden.flatten(0, 1)[torch.tensor(live, device=device)]
    return chosen


def head_logits(model: Any, hidden: Tensor) -> Tensor:
    """The model's own head on chosen hidden states: [n, hidden] -> [n, vocabulary], scaled and capped as configured."""
    logits = output_logits(model, hidden)
    config = model.config.get_text_config()
    if getattr(config, "logits_scaling", None):
        logits = logits / config.logits_scaling
    if getattr(config, "logit_scale", None):
        logits = logits * config.logit_scale
    cap = getattr(config, "final_logit_softcapping", None)
    return logits if cap is None else torch.tanh(logits / cap) * cap


_CAN_SHARE: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


def can_share_prefixes(model: Any) -> bool:
    """Whether the model gives the same hidden states for a trie as for its sequences, tried once a model.

    Models with sliding windows, chunked attention or a state do not: they are scored row by row, with a warning.
    """
    if model not in _CAN_SHARE:
        kinds = set(getattr(model.config.get_text_config(), "layer_types", None) or ["full_attention"])
        reason = ", ".join(sorted(kinds)) if kinds != {"full_attention"} else _why_not(model)
        _CAN_SHARE[model] = not reason
        if reason:
            text = f"{type(model).__name__} cannot share prefixes ({reason}): it is scored row by row"
            warnings.warn(f"{text}, which is as exact, and slower", stacklevel=1)  # one place: said once
    return _CAN_SHARE[model]


@torch.no_grad()
def _why_not(model: Any) -> str:
    """Why a trie cannot stand for its sequences, or nothing."""
    rows = _small_group(model)
    with torch.autocast(next(model.parameters()).device.type, enabled=False):
        wanted = _padded_hidden(model, rows)
        try:
            got = _trie_hidden(model, rows)
        except (TypeError, ValueError, RuntimeError, IndexError, NotImplementedError) as error:
            return f"its attention is of another kind: {type(error).__name__}: {error}"
    gap = float((got - wanted).abs().max() / wanted.abs().max())
    return "" if gap <= 1e-3 else f"hidden states differ by {gap:.1g}"


def _small_group(model: Any) -> list[Row]:
    """Three completions of one prompt, two of which begin alike."""
    size = model.get_input_embeddings().weight.shape[0]
    ends = [(5, 6, 7), (8, 9), (5, 6, 10, 11)]
    return [Row(tuple(t % size for t in range(3, 9)), tuple(t % size for t in end), (True,) * len(end)) for end in ends]


@torch.no_grad()
def check_scoring(model: Any) -> None:
    """Refuse a model that gives other logits here, for a small group, than by itself, before training on wrong numbers.

    Raises StudentError.
    """
    rows = _small_group(model)
    device = next(model.parameters()).device
    own = [model(input_ids=torch.tensor([row.token_ids], device=device), use_cache=False).logits[0] for row in rows]
    expected = torch.cat([logits[row.scored_from] for logits, row in zip(own, rows, strict=True)]).float()
    got = head_logits(model, live_hidden(model, rows)).float()
    gap = (expected - got).abs().max().item()
    if not gap <= 1e-2 * max(1.0, expected.abs().max().item()):
        raise StudentError(
            "the model's logits are its output embedding applied to its decoder's last hidden state",
            f"{type(model).__name__}, whose logits differ by {gap:.3g}",
            "use another architecture, or report this one",
        )
