"""The student: a causal language model with its tokenizer, from a folder or embedded."""

from __future__ import annotations

import copy
import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mopd.config import Config, TemplateConfig
from mopd.contexts import ENGLISH, render_context
from mopd.embedded import EMBEDDED, PREFIX
from mopd.errors import ConfigError, ProblemError, StudentError
from mopd.problems import ProblemSet
from mopd.scoring import check_head
from mopd.tokens import ChatTokenizer


@dataclass
class Student:
    """A model that learns, its tokenizer, the wording it reads contexts in, and its window in tokens."""

    model: Any
    tokenizer: ChatTokenizer
    template: TemplateConfig
    window: int

    def save(self, folder: Path) -> None:
        """Write model, tokenizer and configuration so that `AutoModelForCausalLM.from_pretrained` opens `folder`."""
        _hide_transformers_bars()
        self.model.save_pretrained(folder)
        self.tokenizer.inner.save_pretrained(folder)


def load_student(name: str, seed: int, device: str = "auto") -> Student:
    """The student called `name`: `builtin:...`, untrained, by `seed`, or a folder. Raises StudentError."""
    if name.startswith(PREFIX):
        model, tokenizer = _build_embedded(name.removeprefix(PREFIX), seed)
    else:
        model, tokenizer = _open_folder(name)
    model.to(resolve_device(device)).eval()
    check_head(model)
    return as_student(model, tokenizer)


def as_student(model: Any, tokenizer: Any) -> Student:
    """A transformers model and tokenizer as a student. Raises StudentError where they cannot serve."""
    ends = model.generation_config.eos_token_id
    chat = ChatTokenizer(tokenizer, ends if isinstance(ends, list) else [] if ends is None else [ends])
    own_wording = getattr(model.config, "mopd_context", None)
    window = int(model.config.get_text_config().max_position_embeddings)
    return Student(model, chat, TemplateConfig(**own_wording) if own_wording else ENGLISH, window)


def _build_embedded(name: str, seed: int) -> tuple[Any, Any]:
    if name not in EMBEDDED:
        near = difflib.get_close_matches(name, EMBEDDED, n=1)
        raise StudentError(
            f"an embedded student is one of {', '.join(EMBEDDED)}",
            repr(name),
            f"did you mean {near[0] if near else 'digits'}?",
        )
    return EMBEDDED[name].build(seed)


def _open_folder(name: str) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    _hide_transformers_bars()
    if not (Path(name) / "config.json").is_file():
        raise StudentError(
            "a student is `builtin:NAME` or a folder with a transformers model",
            f"{name}, which has no config.json",
            "check the key student",
        )
    try:
        model = AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32, local_files_only=True)
        return model, AutoTokenizer.from_pretrained(name, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise StudentError(
            "transformers can open the student", f"{name}: {error}", "check the folder's files"
        ) from error


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


def _hide_transformers_bars() -> None:
    """transformers would draw a bar for every checkpoint written or read."""
    from transformers.utils import logging

    logging.disable_progress_bar()


def resolve_device(device: str) -> torch.device:
    """`auto` as cuda where there is one, else cpu. Raises ConfigError where a device is not there."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError("compute.device exists on this machine", f"{device}: {error}", "use auto or cpu") from error
    return torch.device(device)


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


def copy_model(model: Any) -> Any:
    """An independent copy that never takes a gradient."""
    return copy.deepcopy(model).requires_grad_(False).eval()
