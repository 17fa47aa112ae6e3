"""Files that stand for this process's own descriptors, as programs open them: /dev/stdin and its like.

On Linux they are links into /proc, which a sandbox does not have: with it, a program could reach the memory of the
harness. So `open` reads such a name itself. What it gives is a copy of the descriptor: nothing that a program could not
reach by its number.
"""

from __future__ import annotations

import builtins
import io
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

STANDARD = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}
FOLDERS = ("/dev/fd/", "/proc/self/fd/")


def descriptor_of(file: Any) -> int | None:
    """The descriptor that a path names; None for anything else."""
    if not isinstance(file, (str, bytes, os.PathLike)):
        return None
    path = os.fsdecode(file)
    if not path.startswith(("/dev/", "/proc/")):
        return None
    for folder in FOLDERS:
        number = path[len(folder) :]
        if path.startswith(folder) and number.isdecimal() and number.isascii() and len(number) < 5:
            return int(number)
    return STANDARD.get(path)


def serve_descriptors() -> None:
    """Have this process's `open` and `os.open` know these files, for all that runs in it."""
    open_file, open_descriptor = io.open, os.open

    def opened(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        number = descriptor_of(file)
        return open_file(file if number is None else os.dup(number), mode, *args, **kwargs)

    def opened_descriptor(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        number = descriptor_of(path)
        return open_descriptor(path, flags, *args, **kwargs) if number is None else os.dup(number)

    opened.__name__ = opened.__qualname__ = "open"
    builtins.open = io.open = opened
    os.open = opened_descriptor
