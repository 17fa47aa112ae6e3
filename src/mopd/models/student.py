"""The student: a causal language model with its tokenizer, pretrained or embedded."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mopd.config import ComputeConfig, TemplateConfig
from mopd.core.errors import StudentError
from mopd.method.contexts import ENGLISH
from mopd.models.devices import resolve_device, resolve_dtype
from mopd.models.embedded import EMBEDDED, PREFIX, EmbeddedStudent
from mopd.models.pretrained import hide_transformers_bars, open_pretrained, open_tokenizer
from mopd.models.tokenizer import ChatTokenizer
from mopd.scoring.self_check import check_scoring


@dataclass
class Student:
    """A model that learns, its tokenizer, the wording it reads contexts in, and its window in tokens.

    The model's weights are float32 masters; `dtype` is that of its matrix products.
    """

    model: Any
    tokenizer: ChatTokenizer
    template: TemplateConfig
    window: int
    dtype: torch.dtype = torch.float32

    def save(self, folder: Path) -> None:
        """Write model, tokenizer and configuration so that `AutoModelForCausalLM.from_pretrained` opens `folder`."""
        hide_transformers_bars()
        self.model.save_pretrained(folder)
        self.tokenizer.inner.save_pretrained(folder)


def load_student(
    name: str, seed: int, compute: ComputeConfig | None = None, chat_options: Mapping[str, Any] | None = None
) -> Student:
    """The student called `name`: `builtin:...`, untrained, by `seed`; a folder; a `.gguf` file; or a hub id.

    `chat_options` are passed to its chat template. Raises StudentError where it cannot serve, ConfigError where
    `compute` names a device that is not there.
    """
    compute = compute or ComputeConfig()
    if name.startswith(PREFIX):
        model, tokenizer = _embedded(name.removeprefix(PREFIX)).build(seed)
    else:
        model, tokenizer = open_pretrained(name)
    device = resolve_device(compute.device)
    model.to(device).eval()
    student = as_student(model, tokenizer, chat_options)
    check_scoring(model)
    student.dtype = resolve_dtype(compute.dtype, device, model)
    return student


def load_tokenizer(name: str, chat_options: Mapping[str, Any] | None = None) -> tuple[ChatTokenizer, TemplateConfig]:
    """Tokenizer and wording of contexts of the student called `name`, without its weights. Raises StudentError."""
    if name.startswith(PREFIX):
        embedded = _embedded(name.removeprefix(PREFIX))
        return ChatTokenizer(embedded.tokenizer(), (), chat_options), embedded.template
    config, tokenizer = open_tokenizer(name)
    return ChatTokenizer(tokenizer, (), chat_options), _template(config)


def as_student(model: Any, tokenizer: Any, chat_options: Mapping[str, Any] | None = None) -> Student:
    """A transformers model and tokenizer as a student. Raises StudentError where they cannot serve."""
    ends = getattr(model.generation_config, "eos_token_id", None)
    chat = ChatTokenizer(tokenizer, ends if isinstance(ends, list) else [] if ends is None else [ends], chat_options)
    _check_vocabulary(model, chat)
    return Student(model, chat, _template(model.config), _window(model, tokenizer))


def _template(config: Any) -> TemplateConfig:
    """The wording that a model's configuration brings along (embedded students), else the English default."""
    own = getattr(config, "mopd_context", None)
    return TemplateConfig(**own) if own else ENGLISH


def _window(model: Any, tokenizer: Any) -> int:
    """The longest sequence in tokens: the model's positions, else (positions without a limit) its tokenizer's word."""
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return int(positions or min(tokenizer.model_max_length, 2**30))


def _check_vocabulary(model: Any, chat: ChatTokenizer) -> None:
    """Ids beyond the model's embedding would be an index error in the middle of a run.

    A model with more rows than its tokenizer has tokens is common (rows are padded to a round number): the engine never
    samples ids that no token has.
    """
    rows = int(model.get_input_embeddings().weight.shape[0])
    if chat.size > rows:
        raise StudentError(
            "every token of the student's tokenizer has a row in its model's embedding",
            f"{chat.size} tokens, {rows} rows in {type(model).__name__}",
            "use the model's own tokenizer, or resize the model's embeddings and save it",
        )


def _embedded(name: str) -> EmbeddedStudent:
    if name not in EMBEDDED:
        near = difflib.get_close_matches(name, EMBEDDED, n=1)
        raise StudentError(
            f"an embedded student is one of {', '.join(EMBEDDED)}",
            repr(name),
            f"did you mean {near[0] if near else 'digits'}?",
        )
    return EMBEDDED[name]


def copy_model(model: Any) -> Any:
    """An independent copy that never takes a gradient."""
    return copy.deepcopy(model).requires_grad_(False).eval()
