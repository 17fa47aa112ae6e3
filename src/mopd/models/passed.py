"""A student that was passed in Python: a transformers model with its tokenizer, trained in place, without a copy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mopd.config import PYTHON_PREFIX, Config
from mopd.core.errors import StudentError

StudentGiven = str | Path | tuple[Any, Any] | None
"""A student's name, as the key `student` has it, or a transformers model with its tokenizer; None: the key's."""


def with_student(config: Config, given: StudentGiven) -> Config:
    """`config` with the student that was passed; a model is known by its class. Raises StudentError."""
    if given is None:
        return config
    if isinstance(given, str | Path):
        name = str(given)
    elif isinstance(given, tuple) and len(given) == 2:
        name = f"{PYTHON_PREFIX}{type(given[0]).__name__}"
    else:
        raise StudentError(
            "a student is a folder, a hub id, or a pair (model, tokenizer)",
            f"a {type(given).__name__}",
            "pass one of them",
        )
    return config.model_copy(update={"student": name})


def model_of(given: StudentGiven) -> tuple[Any, Any] | None:
    """(model, tokenizer) where a model was passed; None where a name was, or nothing."""
    return given if isinstance(given, tuple) else None


def take_over(model: Any, tokenizer: Any) -> None:
    """Make a passed model one that can be trained here: float32 weights in memory of their own.

    Raises StudentError, before anything is changed, where it cannot be.
    """
    _check(model, tokenizer)
    model.float()
    for parameter in model.parameters():  # as those of a file: a resumed run must compute the same
        parameter.data = parameter.data.clone()


def _check(model: Any, tokenizer: Any) -> None:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    must = "a student passed in Python is a pair (model, tokenizer) of transformers"
    for part, kind in ((model, PreTrainedModel), (tokenizer, PreTrainedTokenizerBase)):
        if not isinstance(part, kind):
            do = "pass the model itself, not what wraps it (PEFT: merge_and_unload())"
            raise StudentError(must, f"{type(part).__name__} in the place of a {kind.__name__}", do)
    do = "pass a whole model, all of whose weights are to be trained"
    if getattr(model, "_hf_peft_config_loaded", False):
        raise StudentError(must, f"{type(model).__name__} with adapters", do)
    if getattr(model, "is_quantized", False) or getattr(model.config, "quantization_config", None):
        raise StudentError(must, f"a quantised {type(model).__name__}", do)
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad or parameter.device == torch.device("meta"):
            why = "is not in memory" if parameter.requires_grad else "has requires_grad = False"
            raise StudentError("all weights of a student are trained", f"{name} {why}", do)
