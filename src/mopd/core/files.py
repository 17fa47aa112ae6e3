"""Files that are whole or absent: written aside, flushed to disk, then renamed."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def write_atomically(path: Path, text: str) -> None:
    """Replace `path` by `text` in one rename; a crash leaves the old file or the new one."""
    aside = _aside(path)
    with open(aside, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)
    sync_folder(path.parent)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")


def write_file(path: Path, text: str) -> None:
    """Write a file that a user named: whole or not at all, but for what is no plain file (/dev/stdout, a pipe)."""
    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8")
    else:
        write_atomically(path.resolve(), text)  # a link stays a link


def check_can_write(path: Path) -> None:
    """Try a file that `write_file` writes later, and leave all as it is. Raises OSError as writing would."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.exists() and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    if path.exists() and not path.is_file():  # opening a pipe twice would end its reader
        return
    aside = _aside(path.resolve())
    with open(aside, "ab"):
        pass
    aside.unlink()


def write_folder_atomically(folder: Path, fill: Callable[[Path], None]) -> None:
    """Make `folder` by `fill(temporary folder)` and one rename; a failure leaves nothing behind and raises."""
    aside = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        fill(aside)
        for path in sorted(aside.rglob("*")):
            if path.is_file():
                sync_file(path)
        sync_folder(aside)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(aside, folder)
        sync_folder(folder.parent)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def sync_file(path: Path) -> None:
    """Flush one file to disk."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def dump_json(value: Any) -> str:
    """JSON for people and machines: indented, keys in the order given, null for numbers that JSON has not."""
    return json.dumps(finite(value), indent=2, allow_nan=False) + "\n"


def finite(value: Any) -> Any:
    """The same with null for each number that is not finite, which JSON has not: whoever measured it counts it."""
    if isinstance(value, Mapping):
        return {name: finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def is_unicode(text: str) -> bool:
    """False for half of a surrogate pair, which JSON can spell, and no tokenizer, file or program can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
