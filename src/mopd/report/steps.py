"""A step in one line, with its figures in one order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
"""A line of metrics.jsonl."""

FIGURES: Sequence[tuple[str, str, str]] = (
    ("success", "reward/success_share", "{:.2f}"),
    ("reward", "reward/mean", "{:.2f}"),
    ("loss", "objective/loss", "{:.4f}"),
    ("tokens", "completion/tokens_mean", "{:.0f}"),
    ("longest", "completion/tokens_max", "{:.0f}"),
    ("cut", "completion/truncated_share", "{:.2f}"),
    ("lessons", "lessons/count", "{:.0f}"),
    ("tokens/s", "time/tokens_per_s", "{:.0f}"),
    ("seconds", "time/step_s", "{:.1f}"),
)
"""In the order shown: heading, metric, how it is written. `loss` is the divergence from the teacher, in nats, or the
loss of another objective; `cut` the share of completions that reached the limit of tokens."""


def written(row: Row, metric: str, form: str) -> str:
    """A figure for people; "-" where there is none, of verdicts also where nothing was judged."""
    if row.get(metric) is None or (metric.startswith("reward/") and not _judged(row)):
        return "-"
    return form.format(row[metric])


def _judged(row: Row) -> float:
    counts = {key: float(value) for key, value in row.items() if key.startswith("verdicts/")}
    return sum(counts.values()) - counts.get("verdicts/error_count", 0.0)


def plain_line(row: Row, steps: int) -> str:
    """All figures with their headings, for a log."""
    said = [f"{heading} {written(row, metric, form)}" for heading, metric, form in FIGURES]
    return "  ".join((f"step {row['step'] + 1}/{steps}", *said))


def duration(seconds: float) -> str:
    """For people: "40 s", "12 min", "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
