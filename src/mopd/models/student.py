"""The student: a causal language model with its tokenizer, pretrained or embedded."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mopd.config import PYTHON_PREFIX, ComputeConfig, TemplateConfig
from mopd.core.errors import StudentError
from mopd.method.contexts import ENGLISH
from mopd.models.devices import resolve_device, resolve_dtype
from mopd.models.embedded import EMBEDDED, PREFIX, EmbeddedStudent
from mopd.models.masters import spread_masters
from mopd.models.passed import take_over
from mopd.models.pretrained import hide_transformers_bars, open_pretrained, open_tokenizer
from mopd.models.tokenizer import ChatTokenizer
from mopd.scoring.self_check import check_scoring
from mopd.scoring.vocabulary import restrict_vocabulary


@dataclass
class Reader:
    """How a student reads: its tokenizer, the wording of its contexts, and its window in tokens. It needs no weights.

    `window_note` says why a window is shorter than the model's positions.
    """

    tokenizer: ChatTokenizer
    template: TemplateConfig
    window: int
    window_note: str


@dataclass
class Student(Reader):
    """A model that learns, and how it reads.

    The model's weights are float32 masters; `dtype` is that of its matrix products.
    """

    model: Any
    dtype: torch.dtype = torch.float32

    def save(self, folder: Path) -> None:
        """Write model, tokenizer and configuration so that `AutoModelForCausalLM.from_pretrained` opens `folder`."""
        hide_transformers_bars()
        self.model.save_pretrained(folder)
        self.tokenizer.inner.save_pretrained(folder)


def load_student(
    name: str,
    seed: int,
    compute: ComputeConfig | None = None,
    chat_options: Mapping[str, Any] | None = None,
    passed: tuple[Any, Any] | None = None,
) -> Student:
    """The student called `name`: `builtin:...`, untrained, by `seed`; a folder; a `.gguf` file; or a hub id.

    `passed` is the model and tokenizer of one that was passed in Python: the model itself is trained.

    Where products are in bfloat16, weights that lie on a file's grid are spread by `seed` (`models.masters`).
    `chat_options` are passed to its chat template. Raises StudentError where it cannot serve, ConfigError where
    `compute` names a device that is not there.
    """
    compute = compute or ComputeConfig()
    if passed is not None:
        model, tokenizer = passed
        take_over(model, tokenizer)
    elif name.startswith(PYTHON_PREFIX):
        raise StudentError(
            "a student that was passed in Python is passed again until the run's first checkpoint keeps it",
            f"{name}, and no checkpoint",
            "begin the run again: train(config, student=(model, tokenizer), fresh=True)",
        )
    elif name.startswith(PREFIX):
        model, tokenizer = _embedded(name.removeprefix(PREFIX)).build(seed)
    else:
        model, tokenizer = open_pretrained(name)
    device = resolve_device(compute.device)
    model.to(device).eval()
    student = as_student(model, tokenizer, chat_options)
    check_scoring(model)
    student.dtype = resolve_dtype(compute.dtype, device, model)
    if student.dtype != torch.float32 and not name.startswith(PREFIX):
        spread_masters(model, seed)
    return student


def load_reader(name: str, chat_options: Mapping[str, Any] | None = None) -> Reader:
    """How the student called `name` reads, without its weights. Raises StudentError."""
    if name.startswith(PREFIX):
        embedded = _embedded(name.removeprefix(PREFIX))
        return Reader(ChatTokenizer(embedded.tokenizer(), (), chat_options), embedded.template, embedded.window, "")
    config, tokenizer = open_tokenizer(name)
    return Reader(ChatTokenizer(tokenizer, (), chat_options), _template(config), *window_of(config, tokenizer))


def as_student(model: Any, tokenizer: Any, chat_options: Mapping[str, Any] | None = None) -> Student:
    """A transformers model and tokenizer as a student. Raises StudentError where they cannot serve."""
    ends = getattr(model.generation_config, "eos_token_id", None)
    chat = ChatTokenizer(tokenizer, ends if isinstance(ends, list) else [] if ends is None else [ends], chat_options)
    _check_vocabulary(model, chat)
    restrict_vocabulary(model, chat.token_ids)
    return Student(chat, _template(model.config), *window_of(model.config, tokenizer), model)


def _template(config: Any) -> TemplateConfig:
    """The wording that a model's configuration brings along (embedded students), else the English default."""
    own = getattr(config, "mopd_context", None)
    return TemplateConfig(**own) if own else ENGLISH


def window_of(config: Any, tokenizer: Any) -> tuple[int, str]:
    """The longest sequence in tokens, and a note where that is not all that the model has positions for.

    It has positions as its configuration says, else (positions without a limit) as its tokenizer says. Some change the
    meaning of all positions once a sequence is longer than it was first trained on: then what a token is depends on
    what else is read in the same call, and what was read before the limit is wrong behind it.
    """
    config = config.get_text_config()
    positions = getattr(config, "max_position_embeddings", None)
    whole = int(positions or min(tokenizer.model_max_length, 2**30))
    kind, limit = _change_of_positions(config)
    if limit >= whole:
        return whole, ""
    return limit, f" (of {whole}: behind {limit} its RoPE, of type {kind}, would read all positions otherwise)"


def _change_of_positions(config: Any) -> tuple[str, int]:
    """The kind of RoPE that depends on how long a sequence is, and the longest before it changes; else no limit."""
    found = getattr(config, "rope_parameters", None) or {}
    for rope in (found, *(value for value in found.values() if isinstance(value, Mapping))):
        kind = rope.get("rope_type")
        limit = rope.get("original_max_position_embeddings") or getattr(
            config, "original_max_position_embeddings", None
        )
        changes = kind == "dynamic" or (kind == "longrope" and rope.get("short_factor") != rope.get("long_factor"))
        if changes and limit:
            return str(kind), int(limit)
    return "", 2**62


def _check_vocabulary(model: Any, chat: ChatTokenizer) -> None:
    """Ids beyond the model's embedding would be an index error in the middle of a run.

    A model with more rows than its tokenizer has tokens is common (rows are padded to a round number): it predicts no
    id that no token has.
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
            f"there is no builtin:{name}",
            f"did you mean {near[0] if near else 'digits'}?",
        )
    return EMBEDDED[name]


def copy_model(model: Any, dtype: torch.dtype | None = None) -> Any:
    """An independent copy that never takes a gradient, its weights in `dtype`, if given, as `convert` has it."""
    copied = copy.deepcopy(model).requires_grad_(False).eval()
    if dtype is not None:
        convert(copied, dtype)
    return copied


def convert(model: Any, dtype: torch.dtype) -> None:
    """Put the weights of a model into `dtype`, in place, one after the other.

    Buffers stay as they are, and so do the weights that the architecture keeps in float32: positions, decays and biases
    of experts' scores are wrong, not less exact, when they are rounded. It is what transformers makes of a file.
    """
    is_kept = _keeps_float32(model, dtype)
    for name, parameter in model.named_parameters():
        if parameter.is_floating_point() and not is_kept(name):
            parameter.data = parameter.data.to(dtype)


def _keeps_float32(model: Any, dtype: torch.dtype) -> Callable[[str], bool]:
    """Whether a weight of this name stays in float32 while the others are in `dtype`."""
    from transformers.core_model_loading import build_glob_alternation

    plan = list(model._get_dtype_plan(dtype))
    if not plan:
        return lambda name: False
    kept, *_ = build_glob_alternation(plan)
    return lambda name: kept.search(name) is not None
