"""The warm-up: a supervised stage before step 0, by which a student learns its task a little, and to read peers.

A model that cannot read peers cannot teach from them, and neither an untrained nor a small pretrained model can. What
is shown is in `demonstrations`; warmed-up students are cached.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mopd.preflight.setup import Setup
from mopd.runs.progress import ProgressDisplay, say
from mopd.warmup.cache import MARK, cache_folder, keep_cached, load_cached
from mopd.warmup.stages import learn


@dataclass(frozen=True)
class WarmupReport:
    """What a warm-up did: its seconds, whether it came from the cache, and its figures.

    `figures` holds what `measure` gave before it (`before`), the mean loss of the last tenth of each stage in nats, and
    counts: problems left out, solutions that their verifier rejects, and updates skipped for a non-finite gradient.
    `cache_error` says why the cache could not keep it, which costs the next run its time and this one nothing.
    """

    seconds: float
    is_cached: bool
    figures: dict[str, Any] = field(default_factory=dict)
    cache_error: str | None = None


def warm_up(
    setup: Setup, progress: ProgressDisplay, measure: Callable[[], dict[str, Any]] | None = None
) -> WarmupReport:
    """Train the student in place under `[warmup]`, or take it from the cache. `measure` is called before training.

    Raises ProblemError where problems have nothing to demonstrate.
    """
    began = time.perf_counter()
    error: str | None = None
    try:
        cached = cache_folder(setup, measure is not None)
    except (OSError, RuntimeError) as no_place:
        cached, error = None, str(no_place)
        say(f"warning: warm-ups are not cached ({error}); set MOPD_CACHE to a directory")
    is_damaged = cached is not None and (cached / MARK).exists()  # if it is there, and yet gives nothing
    figures = load_cached(setup.student, cached) if cached is not None else None
    if figures is not None:
        return WarmupReport(time.perf_counter() - began, True, figures)
    before = {"before": measure()} if measure is not None else {}
    figures = before | learn(setup, progress)
    seconds = time.perf_counter() - began
    if cached is not None:
        error = keep_cached(setup.student, figures, cached, is_damaged)
    return WarmupReport(seconds, False, figures, error)
