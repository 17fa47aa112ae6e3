"""Forward passes: log-probabilities at the completion's live tokens, and nowhere else.

Rows are padded on the right and need no attention mask: under causal attention no real token sees the padding. The
head runs only at live positions, so logits for prompt positions never exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mopd.errors import StudentError
from mopd.types import Lesson


@dataclass(frozen=True, slots=True)
class Row:
    """A sequence to score: `prefix` is read, `completion` is scored where `is_live`."""

    prefix: tuple[int, ...]
    completion: tuple[int, ...]
    is_live: tuple[bool, ...]

    @property
    def length(self) -> int:
        """Tokens read and scored."""
        return len(self.prefix) + len(self.completion)


def student_row(lesson: Lesson) -> Row:
    """What the student scores: its prompt, then its own completion."""
    return Row(lesson.prompt_ids, lesson.rollout.token_ids, lesson.rollout.is_own)


def teacher_row(lesson: Lesson) -> Row:
    """What the teacher scores: the context, then the same completion ids."""
    assert lesson.context_ids is not None
    return Row(lesson.context_ids, lesson.rollout.token_ids, lesson.rollout.is_own)


def live_logprobs(model: Any, rows: Sequence[Row], temperature: float = 1.0) -> Tensor:
    """Next-token log-probabilities before each live token, rows in order: [live tokens, vocabulary], float32 or wider.

    Logits are divided by `temperature` before normalisation. Gradients flow if the caller enabled them.
    """
    logits = live_logits(model, rows)
    if logits.dtype in (torch.bfloat16, torch.float16):
        logits = logits.float()
    return (logits / temperature).log_softmax(-1)


def live_logits(model: Any, rows: Sequence[Row]) -> Tensor:
    """Logits before each live token, rows in order: [live tokens, vocabulary], in the model's dtype."""
    device = next(model.parameters()).device
    width = max(row.length for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    live: list[int] = []
    for index, row in enumerate(rows):
        ids[index, : row.length] = torch.tensor(row.prefix + row.completion)
        before_completion = index * width + len(row.prefix) - 1
        live += [before_completion + offset for offset, is_live in enumerate(row.is_live) if is_live]
    hidden = model.get_decoder()(input_ids=ids.to(device), use_cache=False).last_hidden_state
    return head_logits(model, hidden.flatten(0, 1)[torch.tensor(live, device=device)])


def head_logits(model: Any, hidden: Tensor) -> Tensor:
    """The model's own head on chosen hidden states: [n, hidden] -> [n, vocabulary], scaled and capped as configured."""
    logits: Tensor = model.get_output_embeddings()(hidden)
    config = model.config.get_text_config()
    if getattr(config, "logits_scaling", None):
        logits = logits / config.logits_scaling
    if getattr(config, "logit_scale", None):
        logits = logits * config.logit_scale
    cap = getattr(config, "final_logit_softcapping", None)
    return logits if cap is None else torch.tanh(logits / cap) * cap


@torch.no_grad()
def check_head(model: Any) -> None:
    """Refuse a model whose own logits differ from `live_logits`, before any training on wrong numbers.

    Raises StudentError.
    """
    vocabulary = model.get_output_embeddings().weight.shape[0]
    ids = tuple(i % vocabulary for i in range(3, 11))
    expected = model(input_ids=torch.tensor([ids], device=next(model.parameters()).device), use_cache=False).logits[
        0, 3:-1
    ]
    got = live_logits(model, [Row(ids[:4], ids[4:], (True,) * 4)])
    gap = (expected.float() - got.float()).abs().max().item()
    if gap > 1e-2 * max(1.0, expected.abs().max().item()):
        raise StudentError(
            "the model's logits are its output embedding applied to its decoder's last hidden state",
            f"{type(model).__name__}, whose logits differ by {gap:.3g}",
            "use another architecture, or report this one",
        )
