"""Progress of long work: bars on a terminal, one line now and then elsewhere, nothing when quiet."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
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
from rich.table import Column
from rich.text import Text

from mopd.core.streams import Lasting
from mopd.parallel.launch import is_first

LINE_EVERY_S = 15.0


def say(text: str) -> None:
    """One line on standard error, also where progress is not shown; of several processes the first one's alone."""
    if not is_first():
        return
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


class Bars(Progress):
    """Bars of phases, and above them what is to be looked at."""

    panel: Callable[[int], str] | None = None
    """Makes lines for a width in characters."""

    def get_renderables(self) -> Iterator[RenderableType]:
        """Panel and bars."""
        if self.panel is not None:
            yield Text(self.panel(self.console.width), no_wrap=True, overflow="crop")
        yield self.make_tasks_table(self.tasks)


class Phase:
    """One phase with a known amount of work."""

    def __init__(self, name: str, total: int, bars: Bars | None, quiet: bool) -> None:
        self.name, self.total, self.done = name, total, 0
        self._bars, self._quiet = bars, quiet
        self._task: TaskID | None = bars.add_task(name, total=total, note="") if bars else None
        self._printed = self._began = time.monotonic()
        self._has_lines = False

    def advance(self, amount: int = 1, note: str = "") -> None:
        """`amount` more of the work is done; `note` says what is going on."""
        self.done += amount
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, advance=amount, note=note)
        elif (
            not self._quiet
            and not self._has_lines
            and (self.done >= self.total or time.monotonic() - self._printed > LINE_EVERY_S)
        ):
            self._printed = time.monotonic()
            elapsed = self._printed - self._began
            say(f"{self.name}: {self.done}/{self.total}  {elapsed:.0f} s  {note}")

    def show(self, panel: Callable[[int], str], line: str) -> None:
        """Something to look at: above the bars of a terminal what `panel` makes of its width, elsewhere `line`."""
        if self._bars is not None:
            self._bars.panel = panel
            self._bars.refresh()  # a step may be shorter than the time between two drawings
        elif not self._quiet:
            self._has_lines = True
            say(line)

    def note(self, note: str) -> None:
        """Say what is going on without progress."""
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, note=note)


class ProgressDisplay:
    """Shows phases, one after another or one inside another, on one display."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self._console = Console(file=Lasting(lambda: sys.stderr).as_text())
        self._bars: Bars | None = None
        self._depth = 0

    @contextmanager
    def phase(self, name: str, total: int) -> Iterator[Phase]:
        """A phase of `total` units of work, shown while the block runs."""
        if self.quiet or not self._console.is_terminal:
            yield Phase(name, total, None, self.quiet)
            return
        if self._bars is None:
            self._bars = Bars(*_columns(self._console.width), console=self._console)
            self._bars.start()
        self._depth += 1
        try:
            yield Phase(name, total, self._bars, quiet=False)
        finally:
            self._depth -= 1
            if self._depth == 0:
                self._bars.stop()
                self._bars = None


NARROW = 100
"""Characters of a terminal under which a bar is short, and says less."""


def _columns(width: int) -> tuple[ProgressColumn, ...]:
    is_narrow = width < NARROW
    return (
        TextColumn("{task.description}" if is_narrow else "{task.description:>24}", table_column=_one_line()),
        BarColumn(10 if is_narrow else 40),
        MofNCompleteColumn(),
        *(() if is_narrow else (TimeElapsedColumn(),)),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", table_column=_one_line()),
    )


def _one_line() -> Column:
    return Column(no_wrap=True, overflow="ellipsis")
