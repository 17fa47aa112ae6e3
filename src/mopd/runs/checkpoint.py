"""Checkpoints: everything a run needs to go on, in folders that are whole or absent.

`checkpoints/step-N` is the state after N steps: the student as a folder transformers opens, `teacher.safetensors`
(unless the teacher is the student), `optimizer.safetensors`, and `cursor.json`, written last.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from mopd.core.errors import CheckpointError
from mopd.core.files import dump_json, write_folder_atomically
from mopd.learning.optimizer import AdamW
from mopd.learning.teacher import LocalTeacher
from mopd.models.student import Student

_NAME = re.compile(r"step-(\d+)")


@dataclass(frozen=True)
class Cursor:
    """Where a run stands: steps done, and how many bytes of each of its logs belong to them."""

    step: int
    log_bytes: dict[str, int]


def save_checkpoint(
    folder: Path, cursor: Cursor, student: Student, teacher: LocalTeacher | None, optimizer: AdamW
) -> Path:
    """Write `folder/step-N` and return it. Raises CheckpointError; earlier checkpoints are then untouched."""

    def fill(target: Path) -> None:
        student.save(target)
        if teacher is not None and teacher.has_own_weights:
            save_file(_named_tensors(teacher.model), target / "teacher.safetensors")
        save_file(optimizer.state_tensors(), target / "optimizer.safetensors")
        (target / "cursor.json").write_text(dump_json(asdict(cursor)), encoding="utf-8")

    path = folder / f"step-{cursor.step}"
    try:
        write_folder_atomically(path, fill)
    except (OSError, SafetensorError) as error:
        newest = latest_checkpoint(folder)
        raise CheckpointError(
            f"checkpoint {path} can be written",
            str(error),
            f"free space on the disk, then `mopd train --resume {folder.parent}`; "
            + (f"the last good checkpoint is {newest}" if newest else "there was no earlier checkpoint"),
        ) from error
    return path


def load_checkpoint(path: Path, student: Student, teacher: LocalTeacher | None, optimizer: AdamW) -> Cursor:
    """Restore student, teacher and optimiser in place and return the cursor. Raises CheckpointError."""
    try:
        load_model_weights(student.model, path)
        if teacher is not None and teacher.has_own_weights:
            _restore(teacher.model, load_file(path / "teacher.safetensors"))
        optimizer.load_state_tensors(load_file(path / "optimizer.safetensors"))
        return Cursor(**json.loads((path / "cursor.json").read_text(encoding="utf-8")))
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            "a checkpoint holds student, teacher, optimiser and cursor",
            f"{path}: {error}",
            "remove that folder to continue from an earlier checkpoint",
        ) from error


def latest_checkpoint(folder: Path) -> Path | None:
    """The complete checkpoint with the most steps, or None."""
    found = list_checkpoints(folder)
    return found[-1] if found else None


def list_checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, fewest steps first."""
    complete = [
        path for path in folder.glob("step-*") if _NAME.fullmatch(path.name) and (path / "cursor.json").is_file()
    ]
    return sorted(complete, key=lambda path: int(path.name.removeprefix("step-")))


def remove_old_checkpoints(folder: Path, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints."""
    for path in list_checkpoints(folder)[:-keep]:
        shutil.rmtree(path)


def load_model_weights(model: Any, folder: Path) -> None:
    """Copy the weights that `save_pretrained` wrote to `folder` into `model`.

    transformers opens them: it writes some architectures' tensors under other names, and large models in shards.
    """
    dtype = next(model.parameters()).dtype
    opened, found = type(model).from_pretrained(folder, dtype=dtype, local_files_only=True, output_loading_info=True)
    if found["missing_keys"]:
        raise KeyError(f"no tensor {sorted(found['missing_keys'])[0]}")
    _restore(model, _named_tensors(opened))


def _named_tensors(model: Any) -> dict[str, Any]:
    """Parameters by name; tied ones once."""
    return {name: parameter.detach().contiguous() for name, parameter in model.named_parameters()}


def _restore(model: Any, tensors: dict[str, Any]) -> None:
    parameters = dict(model.named_parameters())
    if missing := set(parameters) - set(tensors):
        raise KeyError(f"no tensor {sorted(missing)[0]}")
    for name, parameter in parameters.items():
        parameter.data.copy_(tensors[name])
