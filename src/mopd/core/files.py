"""Files that are whole or absent: written aside, flushed to disk, then renamed."""

from __future__ import annotations

import errno
import fcntl
import json
import math
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def write_atomically(path: Path, text: str) -> None:
    """Replace `path` by `text` in one rename; a crash or a full disk leaves the old file or the new one."""
    aside = _path_aside(path)
    try:
        with open(aside, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _path_aside(path: Path) -> Path:
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
    aside = _path_aside(path.resolve())
    with open(aside, "ab"):
        pass
    aside.unlink()


def write_folder_atomically(folder: Path, fill: Callable[[Path], None], *, keep: str | None = None) -> None:
    """Make `folder` by `fill(temporary folder)` and one rename; a failure leaves nothing behind and raises.

    Several processes may make one folder: each writes aside under a name of its own. The last one's stays; the first
    one's, where it holds a file called `keep`. What killed processes left aside is removed.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_left_aside(folder.parent, folder.name)
    with _aside(folder) as aside:
        fill(aside)
        mode = aside.stat().st_mode & 0o666  # the umask's: safetensors makes files that their owner alone can read
        for path in sorted(aside.rglob("*")):
            if path.is_file():
                path.chmod(mode)
                sync_file(path)
        sync_folder(aside)
        if keep is None or not (folder / keep).is_file():
            _put_in_place(aside, folder)
            sync_folder(folder.parent)


def _put_in_place(new: Path, folder: Path) -> None:
    """Rename `new` to `folder`. What is there is renamed first and removed last, so that one of the two is there."""
    for _ in range(10):  # another process may put its own folder there between two renames
        old = _renamed_aside(folder)
        try:
            os.rename(new, folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                if old is not None:
                    os.rename(old, folder)
                raise
        else:
            return
        finally:
            if old is not None:
                shutil.rmtree(old, ignore_errors=True)
    raise FileExistsError(errno.EEXIST, "another process writes the same folder again and again", str(folder))


def remove_folder(folder: Path) -> None:
    """Remove a folder so that whoever looks finds it whole or not at all."""
    aside = _renamed_aside(folder)
    if aside is not None:
        shutil.rmtree(aside, ignore_errors=True)


def _renamed_aside(folder: Path) -> Path | None:
    """Where `folder` is now; None where there is none."""
    aside = _free_name(folder, "old")
    try:
        os.rename(folder, aside)
    except FileNotFoundError:
        return None
    return aside


def _free_name(folder: Path, suffix: str) -> Path:
    return folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.{suffix}")


@contextmanager
def _aside(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder`, locked while this process fills it, and gone afterwards unless renamed."""
    aside, descriptor = locked_folder(folder)
    try:
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        os.close(descriptor)


def locked_folder(folder: Path) -> tuple[Path, int]:
    """A new folder beside `folder`, and the descriptor that locks it for as long as this process keeps it open.

    Where the process is killed, `remove_left_aside` finds the folder unlocked.
    """
    while True:
        aside = _free_name(folder, "new")
        aside.mkdir()
        descriptor = os.open(aside, os.O_RDONLY)
        try_lock(descriptor)
        if aside.exists():  # another process may have tidied it up before it was locked
            return aside, descriptor
        os.close(descriptor)


def remove_left_aside(parent: Path, name: str = "*") -> None:
    """Remove what killed processes left aside of the folder `name`: whatever is aside and locked by nobody."""
    for path in [*parent.glob(f".{name}.*.new"), *parent.glob(f".{name}.*.old")]:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            continue
        try:
            if try_lock(descriptor) is None:
                shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(descriptor)


def try_lock(descriptor: int, shared: bool = False) -> OSError | None:
    """Take an exclusive lock, or a shared one, that ends with the process; the error where it is not to be had."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        return error
    return None


def advice(error: BaseException) -> str:
    """What a user can do about a file that cannot be written."""
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.EROFS:
        return "make the disk writable"
    if number in (errno.EACCES, errno.EPERM):
        return "give this user the right to write there"
    return "free space on the disk"


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
