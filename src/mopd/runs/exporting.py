"""A run's student as a folder that other programs open, in a dtype of one's choice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch

from mopd.core.errors import RunError
from mopd.core.files import advice, write_folder_atomically
from mopd.models.adapter_files import find_adapter, rewrite_adapter
from mopd.models.pretrained import hide_transformers_bars, open_pretrained, open_tokenizer
from mopd.runs.checkpoint import newest_of_run, read_cursor
from mopd.runs.paths import absolute
from mopd.runs.reading import is_run

Dtype = Literal["float32", "bfloat16", "float16"]


def export(source: str, folder: Path, dtype: Dtype, adapter_alone: bool = False) -> Path:
    """Write the student of a run (its newest checkpoint) or of one checkpoint to `folder`; the checkpoint it was.

    Only what `AutoModelForCausalLM.from_pretrained` needs: model, tokenizer, chat template. An adapter is merged into
    its base, or with `adapter_alone` written as PEFT opens it. A run goes on from its own checkpoints, which hold all
    that it keeps of the weights. Raises RunError where there is no checkpoint or no adapter, or `folder` is there
    already.
    """
    checkpoint = _checkpoint_of(absolute(source))
    if folder.exists():
        raise RunError("a student is exported to a new folder", f"{folder} exists", "name another, or remove it")
    fill = (_adapter_of if adapter_alone else _model_of)(checkpoint, getattr(torch, dtype))
    try:
        write_folder_atomically(folder, fill)
    except OSError as error:
        raise RunError("the exported student can be written", f"{folder}: {error.strerror}", advice(error)) from error
    return checkpoint


def _model_of(checkpoint: Path, dtype: torch.dtype) -> Callable[[Path], None]:
    model, tokenizer = open_pretrained(str(checkpoint))
    model.to(dtype)

    def fill(aside: Path) -> None:
        hide_transformers_bars()
        model.save_pretrained(aside)
        tokenizer.save_pretrained(aside)

    return fill


def _adapter_of(checkpoint: Path, dtype: torch.dtype) -> Callable[[Path], None]:
    files = find_adapter(str(checkpoint))
    if files is None:
        must = "an adapter is exported from a run that trained one ([lora])"
        raise RunError(must, f"{checkpoint} is a whole model", "leave --adapter out")
    _, tokenizer = open_tokenizer(str(checkpoint))

    def fill(aside: Path) -> None:
        rewrite_adapter(files, aside, dtype)
        tokenizer.save_pretrained(aside)

    return fill


def _checkpoint_of(path: Path) -> Path:
    if is_run(path):
        return newest_of_run(path)[0]
    read_cursor(path)  # of one checkpoint: raises where it is none, or damaged
    return path
