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

from mopd.models.weights import held_tensors
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
    began, ranks = time.perf_counter(), setup.ranks
    cached, figures, error = ranks.first(lambda: _from_cache(setup, measure is not None))
    ranks.copy_from_first(held_tensors(setup.student.model))
    if figures is not None:
        return WarmupReport(time.perf_counter() - began, True, figures)
    before = {"before": measure()} if measure is not None else {}
    figures = before | learn(setup, progress)
    seconds = time.perf_counter() - began
    if cached is not None:
        folder, is_damaged = cached
        error = ranks.first(lambda: keep_cached(setup.student, figures, folder, is_damaged))
    return WarmupReport(seconds, False, figures, error)


def _from_cache(setup: Setup, is_measured: bool) -> tuple[tuple[Path, bool] | None, dict[str, Any] | None, str | None]:
    """The folder of a warm-up in the cache and whether what is there is damaged; its figures, its weights loaded, where
    it can be read; why there is no cache, where there is none."""
    try:
        folder = cache_folder(setup, is_measured)
    except (OSError, RuntimeError) as no_place:
        say(f"warning: warm-ups are not cached ({no_place}); set MOPD_CACHE to a directory")
        return None, None, str(no_place)
    is_there = (folder / MARK).exists()
    return (folder, is_there), load_cached(setup.student, folder), None
