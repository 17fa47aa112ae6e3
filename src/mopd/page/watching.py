"""`mopd report --watch`: the page of a run that another process trains, written again whenever it has something new."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from mopd.page.report import write_report
from mopd.runs.directory import is_in_use
from mopd.runs.logs import LOGS
from mopd.runs.paths import absolute
from mopd.runs.progress import say

LOOKS_EVERY_S = 1.0
"""Seconds between looks at the run."""

REFRESH_S = 5
"""Seconds after which the browser reads the page again, while it is watched."""


def watch_report(
    runs: Sequence[str | Path], out: Path | None, score: int, quiet: bool = False
) -> tuple[Path, list[str]]:
    """Write the page of the first run until the run has ended, then once more with `score` groups scored.

    While it trains nothing is scored: that would take memory and time from it. Each page is whole, or the one before
    is still there. Gives and raises what `write_report` does.
    """
    run = absolute(runs[0])
    shown: tuple[int, ...] | None = None
    while is_in_use(run):
        if (now := _sizes(run)) != shown:
            target, _ = write_report(runs, out, 0, quiet=True, refresh_s=REFRESH_S)
            if not quiet:
                say(f"{target}: {_steps(run)} steps; the browser reads it again every {REFRESH_S} s")
            shown = now
        time.sleep(LOOKS_EVERY_S)
    return write_report(runs, out, score, quiet)


def _sizes(run: Path) -> tuple[int, ...]:
    """What changes with every step, alarm and evaluation."""
    return tuple((run / name).stat().st_size if (run / name).exists() else -1 for name in LOGS)


def _steps(run: Path) -> int:
    log = run / "metrics.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0
