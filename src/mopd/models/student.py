"""The student: a causal language model with its tokenizer, pretrained or embedded."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mopd.config import PYTHON_PREFIX, ComputeConfig, LoraConfig, TemplateConfig
from mopd.core.errors import ConfigError, StudentError
from mopd.method.contexts import ENGLISH
from mopd.models.adapter_files import AdapterFiles, check_base, find_adapter
from mopd.models.adapters import (
    KEPT_BASE,
    Base,
    add_adapter,
    attach,
    check_agrees,
    is_base,
    save_adapter,
)
from mopd.models.devices import resolve_device, resolve_dtype
from mopd.models.embedded import PREFIX, embedded_student
from mopd.models.masters import spread_masters
from mopd.models.passed import take_over
from mopd.models.pretrained import hide_transformers_bars, open_base, open_pretrained, open_tokenizer
from mopd.models.tokenizer import ChatTokenizer
from mopd.models.weights import (
    check_products,
    convert_weights,
    full_weights,
    in_full,
    keep_masters,
    kept_dtypes,
    weights_digest,
    widen_embeddings,
)
from mopd.scoring.hidden_states import share_alike
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

    `dtype` is that of the model's matrix products; its weights are kept as `compute.weights` says (`models.weights`).
    Where an adapter is trained, `base` says of what; `merged` names the adapter that was merged into the model when it
    was opened.
    """

    model: Any
    dtype: torch.dtype = torch.float32
    base: Base | None = None
    merged: str = ""

    def save(self, folder: Path, state: dict[str, Any] | None = None) -> None:
        """Write model, tokenizer and configuration so that `AutoModelForCausalLM.from_pretrained` opens `folder`; of an
        adapter what PEFT opens, and the tokenizer. `state` are the tensors of a model that is split over ranks, whole.
        """
        hide_transformers_bars()
        if self.base is None:
            with in_full(self.model):
                self.model.save_pretrained(folder, state_dict=state)
        else:
            save_adapter(self.model, self.base, folder)
        self.tokenizer.inner.save_pretrained(folder)


def load_student(
    name: str,
    seed: int,
    compute: ComputeConfig | None = None,
    chat_options: Mapping[str, Any] | None = None,
    passed: tuple[Any, Any] | None = None,
    lora: LoraConfig | None = None,
) -> Student:
    """The student called `name`: `builtin:...`, untrained, by `seed`; a folder; a `.gguf` file; or a hub id.

    `passed` is the model and tokenizer of one that was passed in Python: the model itself is trained. With `lora` an
    adapter is trained: a new one, or the one that `name` is. Without, an adapter is merged into its base.

    Where products are in bfloat16, trained float32 weights that lie on a file's grid are spread by `seed`
    (`models.masters`). `chat_options` are passed to its chat template. Raises StudentError or AdapterError where it
    cannot serve, ConfigError where `compute` names a device that is not there or weights in a dtype that products are
    not in, or where `lora` does not suit the model.
    """
    compute = compute or ComputeConfig()
    adapter = None if passed is not None or name.startswith((PREFIX, PYTHON_PREFIX)) else find_adapter(name)
    model, tokenizer = _opened(name, seed, passed, adapter, lora)
    device = resolve_device(compute.device)
    if compute.weights == "float32":
        model.to(device)
    student = as_student(model.eval(), tokenizer, chat_options)
    check_scoring(model)
    student.dtype = resolve_dtype(compute.dtype, device, model)
    check_products(compute, student.dtype)
    if lora is not None:
        student.base = _adapt(student, name, adapter, lora, seed)
    elif adapter is not None:
        student.merged = adapter.name
    if student.dtype != torch.float32 and compute.weights != "bfloat16" and not name.startswith(PREFIX):
        spread_masters(model, seed)
    if compute.weights == "bfloat16":
        convert_weights(model, torch.bfloat16)
    elif compute.weights == "offloaded":
        keep_masters(model)
    model.to(device)  # what is not float32 not before: a GPU never holds more than it keeps
    return student


def _opened(
    name: str, seed: int, passed: tuple[Any, Any] | None, adapter: AdapterFiles | None, lora: LoraConfig | None
) -> tuple[Any, Any]:
    """(model, tokenizer) before any adapter that is to be trained."""
    if passed is not None:
        take_over(*passed)
        return passed
    if name.startswith(PYTHON_PREFIX):
        raise StudentError(
            "a student that was passed in Python is passed again until the run's first checkpoint keeps it",
            f"{name}, and no checkpoint",
            "begin the run again: train(config, student=(model, tokenizer), fresh=True)",
        )
    if name.startswith(PREFIX):
        if lora is not None:
            raise ConfigError(
                "an adapter changes a model that has learnt something",
                f"[lora] with {name}, whose weights are random until all of them are trained",
                "remove [lora], or set student to a pretrained model",
            )
        return embedded_student(name).build(seed)
    return open_pretrained(name) if adapter is None or lora is None else open_base(adapter)


def _adapt(student: Student, name: str, adapter: AdapterFiles | None, lora: LoraConfig, seed: int) -> Base:
    """Put the adapter that is to be trained into a student's model, and freeze its base, held in the dtype of products.

    Of a model that was passed the run keeps the base as it is held.
    """
    model = student.model
    if name.startswith(PYTHON_PREFIX):
        convert_weights(model, student.dtype)
        base = Base(str(KEPT_BASE), weights_digest(model))
    else:
        base = Base(name if adapter is None else adapter.base, weights_digest(model))
        if adapter is not None:
            check_base(adapter, base.digest)
            check_agrees(model, adapter, lora)
        convert_weights(model, student.dtype)
    if adapter is None:
        add_adapter(model, lora, seed)
    else:
        attach(model, adapter)
    return base


def load_reader(name: str, chat_options: Mapping[str, Any] | None = None) -> Reader:
    """How the student called `name` reads, without its weights. Raises StudentError."""
    if name.startswith(PREFIX):
        embedded = embedded_student(name)
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


def copy_model(model: Any, dtype: torch.dtype | None = None, device: torch.device | None = None) -> Any:
    """A copy that never takes a gradient; with `dtype`, its weights are kept in it, from the model's full ones, and
    with `device` they are there. The base of an adapter is not copied: model and copy have it together.

    Each weight is converted by itself: of none is there a second copy in between.
    """
    kinds, full = ({}, {}) if dtype is None else (kept_dtypes(model, dtype), full_weights(model))
    memo = {}
    for name, parameter in model.named_parameters():
        if is_base(model, name):
            memo[id(parameter)] = parameter
            continue
        source = full.get(name, parameter).detach()
        place, kind = device or parameter.device, kinds.get(name, parameter.dtype)
        memo[id(parameter)] = torch.nn.Parameter(source.to(place, kind, copy=True), requires_grad=False)
    copied = copy.deepcopy(model, memo).eval()
    if device is not None:
        copied.to(device)  # buffers
    if dtype == torch.bfloat16:
        widen_embeddings(copied)
    share_alike(copied, model)
    return copied
