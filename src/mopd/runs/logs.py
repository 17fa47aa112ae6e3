"""Logs of a run: JSON lines that are appended whole or not at all, and cut back to a checkpoint on resume."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

LOGS = ("metrics.jsonl", "groups.jsonl", "evaluations.jsonl", "alarms.jsonl")


class Log:
    """One file of JSON lines, open for appending. Its methods raise OSError.

    Nothing is buffered: what a full disk refused is not tried again when the file is closed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)

    @property
    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def append(self, value: dict[str, Any]) -> None:
        """One line; a failure takes back what of it was written."""
        data, before = memoryview(json.dumps(value, allow_nan=False).encode() + b"\n"), self.size
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:
            os.ftruncate(self._descriptor, before)
            raise

    def cut(self, size: int) -> None:
        """Drop what is behind `size` bytes. A log that is shorter was damaged, and is never made longer."""
        if self.size < size:
            raise OSError(f"{self.path} has {self.size} bytes, fewer than {size}")
        os.ftruncate(self._descriptor, size)

    def sync(self) -> None:
        os.fsync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


def append_line(path: Path, value: dict[str, Any]) -> None:
    """Append to a log that nothing is ever cut from; behind half a line, on a line of its own. Raises OSError."""
    log = Log(path)
    try:
        data = path.read_bytes()[-1:]
        if data not in (b"", b"\n"):
            os.write(log._descriptor, b"\n")
        log.append(value)
        log.sync()
    finally:
        log.close()
