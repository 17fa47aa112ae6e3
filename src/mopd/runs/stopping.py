"""SIGTERM, by which machines end processes, and SIGHUP, by which a terminal that goes away does: a run then saves a
checkpoint and exits with 143, or 129. Of several processes all end at the same place."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType

from mopd.parallel.ranks import ONE, Ranks


class Terminated(SystemExit):
    """A signal came. Python exits with 128 and its number, as for a process that the signal ended."""

    def __init__(self, number: int = signal.SIGTERM) -> None:
        self.name = signal.Signals(number).name
        super().__init__(128 + number)


ENDING = (signal.SIGTERM, signal.SIGHUP)


class Stopping:
    """While entered, SIGTERM and SIGHUP raise Terminated: at once, or where `hold` was called, at `release`. From
    `share` on they raise it at the next `poll` or `release`, in all ranks, whichever got the signal.

    It leaves what somebody else has set as it is (`nohup` ignores SIGHUP), and does nothing outside the main thread.
    """

    def __init__(self) -> None:
        self._is_held = False
        self._asked: int | None = None
        self._installed: list[signal.Signals] = []
        self._ranks = ONE

    def share(self, ranks: Ranks) -> None:
        """Stop together with all ranks from here on."""
        self._ranks = ranks

    def __enter__(self) -> Stopping:
        if threading.current_thread() is threading.main_thread():
            self._installed = [number for number in ENDING if signal.getsignal(number) is signal.SIG_DFL]
            for number in self._installed:
                signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number in self._installed:
            signal.signal(number, signal.SIG_DFL)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._asked is not None:
            return  # asked again: it is on its way
        self._asked = number
        if not self._is_held and self._ranks.size == 1:
            raise Terminated(number)

    def hold(self) -> None:
        """From here on a state is in the making that cannot be saved half-way."""
        self._is_held = True

    def release(self) -> None:
        """The state is whole. Raises Terminated where a signal came in the meantime."""
        self._is_held = False
        self.poll()

    def poll(self) -> None:
        """All ranks are at the same place. Raises Terminated where a signal came to one of them."""
        if asked := self._ranks.largest(self._asked or 0):
            raise Terminated(asked)
