"""SIGTERM, by which machines end processes: a run then saves a checkpoint and exits with 143."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType


class Terminated(SystemExit):
    """SIGTERM came. Python exits with 143, as for a process that the signal ended."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


class Stopping:
    """While entered, SIGTERM raises Terminated: at once, or where `hold` was called, at `release`.

    It leaves a handler that somebody else has set as it is, and does nothing outside the main thread.
    """

    def __init__(self) -> None:
        self._is_held = self._is_asked = self._is_installed = False

    def __enter__(self) -> Stopping:
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, self._handle)
            self._is_installed = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._is_installed:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._is_asked:
            return  # asked again: it is on its way
        self._is_asked = True
        if not self._is_held:
            raise Terminated

    def hold(self) -> None:
        """From here on a state is in the making that cannot be saved half-way."""
        self._is_held = True

    def release(self) -> None:
        """The state is whole. Raises Terminated where SIGTERM came in the meantime."""
        self._is_held = False
        if self._is_asked:
            raise Terminated
