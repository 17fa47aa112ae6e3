"""Files that are whole or absent: written aside, flushed to disk, then renamed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any


def write_atomically(path: Path, text: str) -> None:
    """Replace `path` by `text` in one rename; a crash leaves the old file or the new one."""
    aside = path.with_name(f".{path.name}.new")
    with open(aside, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)
    sync_folder(path.parent)


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
    """JSON for people and machines: indented, keys in the order given, NaN refused."""
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def is_unicode(text: str) -> bool:
    """False for half of a surrogate pair, which JSON can spell, and no tokenizer, file or program can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
