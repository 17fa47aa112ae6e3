"""The student: a causal language model with its tokenizer, pretrained or embedded."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mopd.config import ComputeConfig, Config, TemplateConfig
from mopd.contexts import ENGLISH, render_context
from mopd.embedded import EMBEDDED, PREFIX
from mopd.errors import ConfigError, ProblemError, StudentError
from mopd.pretrained import hide_transformers_bars, open_pretrained
from mopd.problems import ProblemSet
from mopd.scoring import check_scoring
from mopd.tokens import ChatTokenizer


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
        model, tokenizer = _build_embedded(name.removeprefix(PREFIX), seed)
    else:
        model, tokenizer = open_pretrained(name)
    device = resolve_device(compute.device)
    model.to(device).eval()
    student = as_student(model, tokenizer, chat_options)
    check_scoring(model)
    student.dtype = resolve_dtype(compute.dtype, device, model)
    return student


def as_student(model: Any, tokenizer: Any, chat_options: Mapping[str, Any] | None = None) -> Student:
    """A transformers model and tokenizer as a student. Raises StudentError where they cannot serve."""
    ends = getattr(model.generation_config, "eos_token_id", None)
    chat = ChatTokenizer(tokenizer, ends if isinstance(ends, list) else [] if ends is None else [ends], chat_options)
    _check_vocabulary(model, chat)
    own_wording = getattr(model.config, "mopd_context", None)
    template = TemplateConfig(**own_wording) if own_wording else ENGLISH
    return Student(model, chat, template, _window(model, tokenizer))


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


def _build_embedded(name: str, seed: int) -> tuple[Any, Any]:
    if name not in EMBEDDED:
        near = difflib.get_close_matches(name, EMBEDDED, n=1)
        raise StudentError(
            f"an embedded student is one of {', '.join(EMBEDDED)}",
            repr(name),
            f"did you mean {near[0] if near else 'digits'}?",
        )
    return EMBEDDED[name].build(seed)


def _check_feedback(student: Student) -> None:
    """Verifiers write feedback in English; a student with an alphabet of its own may not be able to read it."""
    try:
        student.tokenizer.encode_completion("The boxed answer '1' is wrong.")
    except Exception as error:
        raise ConfigError(
            "context.feedback is shown to a student whose vocabulary can write it",
            f"{type(error).__name__}: {error}",
            "set context.feedback = 'never'",
        ) from error


def resolve_device(device: str) -> torch.device:
    """`auto` as cuda where there is one, else cpu. Raises ConfigError where a device is not there."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError("compute.device exists on this machine", f"{device}: {error}", "use auto or cpu") from error
    return torch.device(device)


BFLOAT16_PAYS_PARAMETERS = 20_000_000
"""Below this, conversions on a CPU cost more than faster matrix products save."""


def resolve_dtype(dtype: str, device: torch.device, model: Any) -> torch.dtype:
    """The dtype of matrix products. `auto`: bfloat16 where the processor multiplies it and the model is large."""
    if dtype != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[dtype]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    is_large = sum(parameter.numel() for parameter in model.parameters()) >= BFLOAT16_PAYS_PARAMETERS
    is_fast = device.type == "cpu" and _cpu_multiplies_bfloat16()
    return torch.bfloat16 if is_large and is_fast else torch.float32


def _cpu_multiplies_bfloat16() -> bool:
    """AMX or AVX-512 BF16. Measured on SmolLM2-135M: 1.8 times as fast with AVX-512 BF16, more with AMX."""
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def check_window(student: Student, problems: ProblemSet, config: Config) -> None:
    """Refuse problems and budgets that do not fit the student's window. Raises ConfigError or ProblemError."""
    completion, window = config.sampling.completion_tokens, student.window
    needs_context = config.objective.kind == "distill" or config.warmup is not None
    if needs_context and config.context.tokens + completion > window:
        raise ConfigError(
            f"context.tokens + sampling.completion_tokens fit the student's window of {window} tokens",
            f"{config.context.tokens} + {completion}",
            f"set context.tokens to at most {max(window - completion, 0)}, or lower completion_tokens",
        )
    if config.context.feedback != "never":
        _check_feedback(student)
    _check_template(student, problems, config)
    for problem in (*problems.train, *problems.held_out):
        tokens = len(student.tokenizer.encode_prompt(problem.messages))
        if tokens + completion > window:
            raise ProblemError(
                f"a prompt and its completion fit the student's window of {window} tokens",
                f"problem {problem.id}: {tokens} + {completion}",
                "leave the problem out or lower sampling.completion_tokens",
            )
        if needs_context:  # raises where problem, closing instruction and header alone are over the budget
            render_context(
                problem.messages,
                (),
                (),
                template=config.context.template or student.template,
                budget=config.context.tokens,
                encode=student.tokenizer.encode_prompt,
            )


def _check_template(student: Student, problems: ProblemSet, config: Config) -> None:
    """Refuse a template that drops a system turn, or that opens a context's answer otherwise than a prompt's."""
    problem = next(iter(problems.train + problems.held_out), None)
    with_system = next((p for p in problems.train + problems.held_out if p.messages[0]["role"] == "system"), None)
    encode = student.tokenizer.encode_prompt
    if with_system is not None and encode(with_system.messages) == encode(with_system.messages[1:]):
        raise StudentError(
            "the student's chat template shows a system turn",
            f"it drops that of problem {with_system.id}",
            "put its text into the user turn, or set another chat_template in the tokenizer",
        )
    if problem is None:
        return
    template = config.context.template or student.template
    context = render_context(problem.messages, ("1",), ("2",), template=template)
    headers = [student.tokenizer.generation_header(messages) for messages in (problem.messages, context.messages)]
    if headers[0] is None or headers[0] != headers[1]:
        raise StudentError(
            "the student's chat template shows the last user turn and opens the answer to prompt and context alike",
            f"behind the last turn of problem {problem.id}: {headers[0]!r} and {headers[1]!r}",
            "set chat.options (for example enable_thinking = false), or another chat_template in the tokenizer",
        )


def copy_model(model: Any) -> Any:
    """An independent copy that never takes a gradient."""
    return copy.deepcopy(model).requires_grad_(False).eval()
