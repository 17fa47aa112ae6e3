"""Standard output and error for as long as somebody reads them: what cannot be shown ends no work."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

NOBODY_READS = (errno.EPIPE, errno.EIO)
"""What the system says of a pipe whose reader has ended, and of a terminal that is gone."""


class Lasting:
    """A standard stream that never raises. Behind the first failure nothing is written any more.

    A reader that went away (`| head`, a terminal that is gone) has what it wanted; `lost` tells any other failure, as
    of a full disk.
    """

    def __init__(self, find: Callable[[], Any]) -> None:
        self._find = find
        self._is_open = find() is not None
        self.lost: OSError | None = None

    def write(self, text: str) -> int:
        self._try(lambda: self._find().write(text))
        return len(text)

    def flush(self) -> None:
        self._try(lambda: self._find().flush())

    def isatty(self) -> bool:
        return self._is_open and bool(self._find().isatty())

    @property
    def encoding(self) -> str:
        return getattr(self._find(), "encoding", None) or "utf-8"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._find(), name)

    def as_text(self) -> TextIO:
        """Itself, for those that ask for a file."""
        return cast(TextIO, self)

    def end(self) -> None:
        """What is still to be written is written, or goes nowhere: else Python would fail with it when it ends."""
        self.flush()
        if not self._is_open:
            with suppress(OSError, ValueError, AttributeError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._find().fileno())
                os.close(nowhere)

    def _try(self, show: Callable[[], object]) -> None:
        if not self._is_open:
            return
        try:
            show()
        except (OSError, ValueError) as error:  # ValueError: of a file that was closed
            self._is_open = False
            if isinstance(error, OSError) and error.errno not in NOBODY_READS:
                self.lost = error


@contextmanager
def lasting_streams() -> Iterator[Lasting]:
    """In the block whatever writes to standard output or error, libraries too, cannot fail by it. Gives the output."""
    before = sys.stdout, sys.stderr
    streams = [Lasting(lambda stream=stream: stream) for stream in before]  # type: ignore[misc]
    sys.stdout, sys.stderr = (stream.as_text() for stream in streams)
    try:
        yield streams[0]
    finally:
        for stream in streams:
            stream.end()
        sys.stdout, sys.stderr = before
