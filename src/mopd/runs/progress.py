"""Progress of long work: bars on a terminal, one line now and then elsewhere, nothing when quiet."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from mopd.core.streams import Lasting

LINE_EVERY_S = 15.0


def say(text: str) -> None:
    """One line on standard error, also where progress is not shown."""
    shown = Lasting(lambda: sys.stderr)
    shown.write(f"{text}\n")
    shown.flush()


def open_standard_streams() -> None:
    """Standard streams that were closed are /dev/null: else files that are opened later get their numbers, and what
    libraries print is written into them."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


class Phase:
    """One phase with a known amount of work."""

    def __init__(self, name: str, total: int, bars: Progress | None, quiet: bool) -> None:
        self.name, self.total, self.done = name, total, 0
        self._bars, self._quiet = bars, quiet
        self._task: TaskID | None = bars.add_task(name, total=total, note="") if bars else None
        self._printed = self._began = time.monotonic()

    def advance(self, amount: int = 1, note: str = "") -> None:
        """`amount` more of the work is done; `note` says what is going on."""
        self.done += amount
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, advance=amount, note=note)
        elif not self._quiet and (self.done >= self.total or time.monotonic() - self._printed > LINE_EVERY_S):
            self._printed = time.monotonic()
            elapsed = self._printed - self._began
            say(f"{self.name}: {self.done}/{self.total}  {elapsed:.0f} s  {note}")

    def note(self, note: str) -> None:
        """Say what is going on without progress."""
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, note=note)


class ProgressDisplay:
    """Shows phases, one after another or one inside another, on one display."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self._console = Console(file=Lasting(lambda: sys.stderr).as_text())
        self._bars: Progress | None = None
        self._depth = 0

    @contextmanager
    def phase(self, name: str, total: int) -> Iterator[Phase]:
        """A phase of `total` units of work, shown while the block runs."""
        if self.quiet or not self._console.is_terminal:
            yield Phase(name, total, None, self.quiet)
            return
        if self._bars is None:
            self._bars = Progress(*_columns(), console=self._console)
            self._bars.start()
        self._depth += 1
        try:
            yield Phase(name, total, self._bars, quiet=False)
        finally:
            self._depth -= 1
            if self._depth == 0:
                self._bars.stop()
                self._bars = None


def _columns() -> tuple[ProgressColumn, ...]:
    return (
        TextColumn("{task.description:>24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
