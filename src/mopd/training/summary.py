"""What a finished run says of itself in summary.json."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from mopd.config import Config
from mopd.evaluation.held_out import paired_gain
from mopd.problems import ProblemSet
from mopd.report.warnings import warnings_of
from mopd.runs.records import best_step
from mopd.runs.run import Run
from mopd.training.nothing_learnt import nothing_learnt


def summary_of(
    run: Run, config: Config, problems: ProblemSet, seconds: dict[str, float], tracker_failed_count: int
) -> dict[str, Any]:
    """From the run's records: figures before and after, what was odd, and where the seconds of this process went."""
    summary: dict[str, Any] = {"run": str(run.path), "steps": config.steps, "seed": config.seed}
    summary |= before_and_after(run.evaluations())
    summary["split"] = dataclasses.asdict(problems.split)
    summary["seconds"] = seconds
    best = best_step(run.evaluations()) if config.checkpoint.keep_best else None
    if best is not None:
        summary["best_checkpoint"] = f"checkpoints/step-{best}"
    if warmup := run.warmup():
        summary["warmup"] = warmup
    if found := run.preflight():
        summary["preflight"] = found
    if tracker_failed_count:
        summary["tracker_failed_count"] = tracker_failed_count
    rows = run.metrics()
    if told := nothing_learnt(rows, config):
        summary["nothing_learnt"] = told
    if alarms := run.alarms():
        summary["alarms"] = alarms
    if warnings := warnings_of(rows, summary):
        summary["warnings"] = warnings
    return summary


def before_and_after(evaluations: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The first and the last evaluation and the gain between them, where they were measured alike."""
    if not evaluations:
        return {}
    after = evaluations[-1]
    alike = (None, after["measured"]) if "measured" in after else (None,)  # older runs did not write it down
    before = next(figures for figures in evaluations if figures.get("measured") in alike)
    if before is after and len(evaluations) > 1:  # since a change of [evaluation] there was one alone
        return {"after": after}
    gain, interval = paired_gain(before, after)
    return {"before": before, "after": after, "gain": {"mean": gain, "interval": list(interval)}}
