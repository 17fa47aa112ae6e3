"""Checkpoints: everything a run needs to go on, in folders that are whole or absent.

`checkpoints/step-N` is the state after N steps: the student as a folder transformers opens (of a run that trains an
adapter: the adapter as PEFT has it), `teacher.safetensors` (unless the teacher is the student; what is trained, no
more), `optimizer.safetensors`, and `cursor.json`, written last. Of a run that is split over ranks the folder `shares`
holds teacher and optimiser. Either is read by any number of ranks.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from mopd.config import CheckpointConfig
from mopd.core.errors import CheckpointError, MopdError, RunError, StudentError
from mopd.core.files import advice, dump_json, remove_folder, write_atomically, write_folder_atomically
from mopd.learning.optimizer import AdamW
from mopd.learning.teacher import Teacher
from mopd.models.adapter_files import read_adapter
from mopd.models.adapters import KEPT_BASE, load_adapter, save_base
from mopd.models.student import Student
from mopd.models.weights import bits_of, in_full
from mopd.parallel.ranks import ONE, Ranks
from mopd.parallel.sharded import gathered, local, ranks_of, share_of
from mopd.runs.records import best_step
from mopd.runs.sharded_files import SHARES, read_shares, write_shares

_NAME = re.compile(r"step-(\d+)")


@dataclass(frozen=True)
class Cursor:
    """Where a run stands: steps done, how many bytes of each of its logs belong to them, and the checkpoint's files.

    `teacher` is what the teacher goes on with besides its weights. `file_bytes` is empty in checkpoints of versions
    that did not write it.
    """

    step: int
    log_bytes: dict[str, int]
    file_bytes: dict[str, int] = field(default_factory=dict)
    teacher: dict[str, Any] = field(default_factory=dict)


def save_checkpoint(
    folder: Path,
    cursor: Cursor,
    student: Student,
    teacher: Teacher | None,
    optimizer: AdamW,
    ranks: Ranks = ONE,
) -> Path:
    """Write `folder/step-N` and return it. Raises CheckpointError; earlier checkpoints are then untouched.

    The first of several ranks writes, since all hold the same; of a student that is split over them, each writes its
    shares of teacher and optimiser. Raises RankError where ranks have drifted apart.
    """
    if ranks.size > 1:
        ranks.check_same("the student's weights", bits_of(student.model))
    if ranks_of(student.model).size == 1:
        return ranks.first(lambda: _save_whole(folder, cursor, student, teacher, optimizer))
    state = gathered(student.model, ranks)
    shares = folder / f".step-{cursor.step}.{SHARES}"
    with _told_of_writing(folder, cursor.step):
        ranks.first(lambda: _make_anew(folder, shares))
        write_shares(shares, _shares(student, teacher, optimizer))
    return ranks.first(lambda: _save_around(folder, cursor, student, state, teacher, shares))


def _save_whole(folder: Path, cursor: Cursor, student: Student, teacher: Teacher | None, optimizer: AdamW) -> Path:

    def fill(target: Path) -> None:
        student.save(target)
        if teacher is not None and teacher.has_own_weights:
            save_file(_named_tensors(teacher.model, _trained(student)), target / "teacher.safetensors")
        save_file(optimizer.state_tensors(), target / "optimizer.safetensors")
        _write_cursor(target, cursor, teacher)

    path = folder / f"step-{cursor.step}"
    with _told_of_writing(folder, cursor.step):
        if student.base is not None and student.base.name == str(KEPT_BASE) and cursor.step == 0:
            write_folder_atomically(folder.parent / KEPT_BASE.name, lambda aside: _save_base(student, aside))
        write_folder_atomically(path, fill)
    return path


def _save_around(
    folder: Path,
    cursor: Cursor,
    student: Student,
    state: dict[str, Any] | None,
    teacher: Teacher | None,
    shares: Path,
) -> Path:
    """The checkpoint whose shares are written already: the student, whole, and the cursor."""

    def fill(target: Path) -> None:
        student.save(target, state)
        shares.rename(target / SHARES)
        _write_cursor(target, cursor, teacher)

    path = folder / f"step-{cursor.step}"
    with _told_of_writing(folder, cursor.step):
        write_folder_atomically(path, fill)
    return path


def _shares(student: Student, teacher: Teacher | None, optimizer: AdamW) -> dict[str, Any]:
    named = {f"optimizer/{name}": tensor for name, tensor in optimizer.state_tensors().items()}
    if teacher is not None and teacher.has_own_weights:
        taught = _named_tensors(teacher.model, _trained(student))
        named |= {f"teacher/{name}": tensor for name, tensor in taught.items()}
    return named


def _make_anew(folder: Path, shares: Path) -> None:
    """An empty folder for shares; what processes that were killed left of others is removed."""
    for left in folder.glob(f".step-*.{SHARES}"):
        shutil.rmtree(left)
    shares.mkdir(parents=True)


def _write_cursor(target: Path, cursor: Cursor, teacher: Teacher | None) -> None:
    files = [path for path in sorted(target.rglob("*")) if path.is_file()]
    sizes = {str(path.relative_to(target)): path.stat().st_size for path in files}
    whole = replace(cursor, file_bytes=sizes, teacher={} if teacher is None else teacher.state)
    (target / "cursor.json").write_text(dump_json(asdict(whole)), encoding="utf-8")


def keep_logs(path: Path, log_bytes: dict[str, int]) -> None:
    """Let lines that were written since belong to the steps of a checkpoint. Raises CheckpointError."""
    with _told_of_writing(path.parent, steps_of(path)):
        cursor = replace(read_cursor(path), log_bytes=log_bytes)
        write_atomically(path / "cursor.json", dump_json(asdict(cursor)))


@contextmanager
def _told_of_writing(folder: Path, step: int) -> Iterator[None]:
    """What fails in the block while the checkpoint of `step` is written is a CheckpointError."""
    try:
        yield
    except MopdError:
        raise
    except Exception as error:  # a full disk is an exception of their own to safetensors and tokenizers
        newest = latest_checkpoint(folder)
        raise CheckpointError(
            f"checkpoint {folder / f'step-{step}'} can be written",
            str(error),
            f"{advice(error)}, then `mopd train --resume {folder.parent}`; "
            + (f"the last good checkpoint is {newest}" if newest else "there was no earlier checkpoint"),
        ) from error


def load_checkpoint(path: Path, student: Student, teacher: Teacher | None, optimizer: AdamW) -> Cursor:
    """Restore student, teacher and optimiser in place and return the cursor. Raises CheckpointError."""
    with from_checkpoint(path):
        load_weights(student, path)
        optimizer.load_state_tensors(_stored(path, "optimizer", student.model))
        cursor = read_cursor(path)
        if teacher is not None:
            load_teacher(path, cursor, student, teacher)
        return cursor


def load_teacher(path: Path, cursor: Cursor, student: Student, teacher: Teacher) -> None:
    """Restore the teacher of a checkpoint in place; called within `from_checkpoint`."""
    if teacher.has_own_weights:
        _restore(teacher.model, _stored(path, "teacher", teacher.model), _trained(student))
    teacher.restore(cursor.teacher)


def _stored(path: Path, name: str, model: Any) -> dict[str, Any]:
    """The tensors of a checkpoint's teacher or optimiser, whichever way they were written."""
    if (path / SHARES).is_dir():
        return read_shares(path / SHARES, f"{name}/", model)
    return load_file(path / f"{name}.safetensors")


def read_cursor(path: Path) -> Cursor:
    """The cursor of a checkpoint, all of whose files are as long as they were. Raises CheckpointError."""
    try:
        cursor = Cursor(**json.loads((path / "cursor.json").read_text(encoding="utf-8")))
        sizes = {name: (path / name).stat().st_size for name in cursor.file_bytes if (path / name).is_file()}
        for name, size in cursor.file_bytes.items():
            if sizes.get(name) != size:
                got = f"{sizes[name]} bytes instead of {size}" if name in sizes else "which is missing"
                raise _damaged(path, f"{path / name}, {got}")
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise _damaged(path, f"{path / 'cursor.json'}: {error}") from error
    return cursor


def newest_whole(folder: Path) -> tuple[Path, Cursor] | None:
    """The checkpoint with the most steps and its cursor; None where there is none.

    Raises CheckpointError where it is damaged. A checkpoint appears by one rename, with its cursor in it: a newer
    folder without one was damaged, too.
    """
    found = [path for path in folder.glob("step-*") if _NAME.fullmatch(path.name) and path.is_dir()]
    if not found:
        return None
    newest = max(found, key=steps_of)
    return newest, read_cursor(newest)


@contextmanager
def from_checkpoint(path: Path) -> Iterator[None]:
    """What fails while a checkpoint is opened or read is a CheckpointError with the advice for checkpoints.

    Another process may have removed it, since it keeps a few only, or moved the run: that is said.
    """
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:  # transformers, tokenizers and safetensors each raise errors of their own
        if path.exists() and isinstance(error, MopdError) and not isinstance(error, StudentError):
            raise
        if not path.exists():
            raise CheckpointError(
                "a checkpoint stays while it is read",
                f"{path} is gone: its run went on and removed it, or was moved",
                "give the command again",
            ) from error
        raise _damaged(path, f"{path}: {error.got if isinstance(error, MopdError) else error}") from error


def _damaged(path: Path, got: str) -> CheckpointError:
    earlier = [other for other in list_checkpoints(path.parent) if steps_of(other) < steps_of(path)]
    return CheckpointError(
        "a checkpoint holds student, teacher, optimiser and cursor, each file whole",
        got,
        f"restore it from a backup, or remove {path} to continue "
        + (f"from {earlier[-1].name}" if earlier else "from the beginning: there is no earlier checkpoint"),
    )


def latest_checkpoint(folder: Path) -> Path | None:
    """The complete checkpoint with the most steps, or None."""
    found = list_checkpoints(folder)
    return found[-1] if found else None


def newest_of_run(run: Path) -> tuple[Path, Cursor]:
    """The newest checkpoint of the run at `run`, with its cursor. Raises RunError, CheckpointError."""
    found = newest_whole(run / "checkpoints")
    if found is None:
        must = "a run whose model is asked for has a checkpoint"
        raise RunError(must, f"no checkpoint in {run}", f"`mopd train --resume {run}`")
    return found


def list_checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, fewest steps first."""
    complete = [
        path for path in folder.glob("step-*") if _NAME.fullmatch(path.name) and (path / "cursor.json").is_file()
    ]
    return sorted(complete, key=steps_of)


def steps_of(path: Path) -> int:
    """How many steps are behind a checkpoint."""
    return int(path.name.removeprefix("step-"))


def remove_old_checkpoints(folder: Path, config: CheckpointConfig, evaluations: Sequence[Mapping[str, Any]]) -> None:
    """Remove all but the newest `keep`, and but that of the best evaluation, where it is to be kept."""
    best = best_step(evaluations) if config.keep_best else None
    for path in list_checkpoints(folder)[: -config.keep]:
        if steps_of(path) != best:
            remove_folder(path)


def load_weights(student: Student, folder: Path) -> None:
    """Copy what `Student.save` wrote to `folder` into the student's model.

    transformers opens a whole model: it writes some architectures' tensors under other names, and large ones in shards.
    """
    model = student.model
    if student.base is not None:
        load_adapter(model, read_adapter(str(folder), folder))
        return
    with in_full(model):
        dtype = next(model.parameters()).dtype
        options = {"dtype": dtype, "local_files_only": True, "output_loading_info": True}
        opened, found = type(model).from_pretrained(folder, **options)
        if found["missing_keys"]:
            raise KeyError(f"no tensor {sorted(found['missing_keys'])[0]}")
        names = _trained(student)
        _restore(model, _named_tensors(opened, names), names)


def _save_base(student: Student, folder: Path) -> None:
    save_base(student.model, folder)
    student.tokenizer.inner.save_pretrained(folder)


def _trained(student: Student) -> set[str]:
    """The names of the tensors that a student's training changes: its adapter's, or all parameters, tied ones once, and
    the buffers that belong to a model's file, as biases of experts' scores; others follow from its configuration."""
    parameters = {name for name, parameter in student.model.named_parameters() if parameter.requires_grad}
    if student.base is not None:
        return parameters
    kept = student.model.state_dict().keys()
    return parameters | {name for name, _ in student.model.named_buffers() if name in kept}


def _named_tensors(model: Any, names: set[str]) -> dict[str, Any]:
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {name: tensor.detach().contiguous() for name, tensor in tensors.items() if name in names}


def _restore(model: Any, tensors: dict[str, Any], names: set[str]) -> None:
    """Copy tensors of these names into a model. Earlier versions wrote no buffers: those then stay as they are."""
    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    if missing := sorted((names & parameters.keys()) - tensors.keys()):
        raise KeyError(f"no tensor {missing[0]}")
    ours = {name: own for name, own in {**parameters, **buffers}.items() if name in names & tensors.keys()}
    if other := [name for name, own in ours.items() if tensors[name].shape != own.shape]:
        raise ValueError(f"tensor {other[0]} has the shape {list(tensors[other[0]].shape)}")
    for name, own in ours.items():
        local(own.detach()).copy_(share_of(tensors[name], own))
