"""A run's student as a folder that other programs open, in a dtype of one's choice."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch

from mopd.core.errors import RunError
from mopd.core.files import advice, write_folder_atomically
from mopd.models.pretrained import hide_transformers_bars, open_pretrained
from mopd.runs.checkpoint import newest_of_run, read_cursor
from mopd.runs.paths import absolute
from mopd.runs.run import is_run

Dtype = Literal["float32", "bfloat16", "float16"]


def export(source: str, folder: Path, dtype: Dtype) -> Path:
    """Write the student of a run (its newest checkpoint) or of one checkpoint to `folder`; the checkpoint it was.

    Only what `AutoModelForCausalLM.from_pretrained` needs: model, tokenizer, chat template. A run goes on from its own
    checkpoints, which hold all that it keeps of the weights. Raises RunError where there is no checkpoint, or `folder`
    is there already.
    """
    checkpoint = _checkpoint_of(absolute(source))
    if folder.exists():
        raise RunError("a student is exported to a new folder", f"{folder} exists", "name another, or remove it")
    model, tokenizer = open_pretrained(str(checkpoint))
    model.to(getattr(torch, dtype))

    def fill(aside: Path) -> None:
        hide_transformers_bars()
        model.save_pretrained(aside)
        tokenizer.save_pretrained(aside)

    try:
        write_folder_atomically(folder, fill)
    except OSError as error:
        raise RunError("the exported student can be written", f"{folder}: {error.strerror}", advice(error)) from error
    return checkpoint


def _checkpoint_of(path: Path) -> Path:
    if is_run(path):
        return newest_of_run(path)[0]
    read_cursor(path)  # of one checkpoint: raises where it is none, or damaged
    return path
