"""The warm-up: a supervised stage before step 0, by which a student learns its task a little, and to read peers.

A model that cannot read peers cannot teach from them, and neither an untrained nor a small pretrained model can. What
is shown is in `demonstrations`; warmed-up students are cached.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mopd.core.files import dump_json, write_folder_atomically
from mopd.preflight.setup import Setup
from mopd.runs.progress import ProgressDisplay
from mopd.warmup.cache import cache_folder, load_cached
from mopd.warmup.stages import learn


@dataclass(frozen=True)
class WarmupReport:
    """What a warm-up did: its seconds, whether it came from the cache, and its figures.

    `figures` holds what `measure` gave before it (`before`), the mean loss of the last tenth of each stage in nats, and
    counts: problems left out, solutions that their verifier rejects, and updates skipped for a non-finite gradient.
    """

    seconds: float
    is_cached: bool
    figures: dict[str, Any] = field(default_factory=dict)


def warm_up(
    setup: Setup, progress: ProgressDisplay, measure: Callable[[], dict[str, Any]] | None = None
) -> WarmupReport:
    """Train the student in place under `[warmup]`, or take it from the cache. `measure` is called before training.

    Raises ProblemError where problems have nothing to demonstrate.
    """
    began = time.perf_counter()
    cached = cache_folder(setup, measure is not None)
    figures = load_cached(setup.student, cached)
    if figures is not None:
        return WarmupReport(time.perf_counter() - began, True, figures)
    before = {"before": measure()} if measure is not None else {}
    figures = before | learn(setup, progress)
    seconds = time.perf_counter() - began

    def fill(folder: Path) -> None:
        setup.student.save(folder)
        (folder / "warmup.json").write_text(dump_json(figures), encoding="utf-8")

    write_folder_atomically(cached, fill)
    return WarmupReport(seconds, False, figures)
