"""What was odd about a run, gathered at its end: each in words, with what to do. From its records alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]

TOO_MANY = 0.25
"""Share of rollouts, contexts or steps from which on it is worth a warning."""


def warnings_of(rows: Sequence[Row], summary: Mapping[str, Any]) -> list[str]:
    """What a person should know of a run whose steps are `rows` (lines of metrics.jsonl)."""
    return [
        text for find in (_cut, _errors, _no_lessons, _contexts, _gradients, _tracker) if (text := find(rows, summary))
    ]


def _mean(rows: Sequence[Row], key: str) -> float:
    values = [row[key] for row in rows if row.get(key) is not None]
    return sum(values) / len(values) if values else 0.0


def _total(rows: Sequence[Row], of: Callable[[Row], float]) -> float:
    return sum(of(row) for row in rows)


def _rollouts(row: Row) -> float:
    return sum(float(value) for key, value in row.items() if key.startswith("verdicts/"))


def _cut(rows: Sequence[Row], summary: Mapping[str, Any]) -> str:
    share = _mean(rows, "completion/truncated_share")
    if share < TOO_MANY:
        return ""
    return f"{share:.0%} of completions were cut at the limit: raise sampling.completion_tokens".replace("%", " %")


def _errors(rows: Sequence[Row], summary: Mapping[str, Any]) -> str:
    failed, total = _total(rows, lambda row: row.get("verdicts/error_count") or 0.0), _total(rows, _rollouts)
    if not failed:
        return ""
    told = f"{failed:.0f} of {total:.0f} rollouts have no verdict, since their graders failed"
    return f"{told}: see `feedback` in groups.jsonl"


def _no_lessons(rows: Sequence[Row], summary: Mapping[str, Any]) -> str:
    count = sum(not row.get("update/count") for row in rows)
    if summary.get("nothing_learnt") or not rows or count < TOO_MANY * len(rows):
        return ""
    return f"{count} of {len(rows)} steps updated nothing: see the counts lessons/none_... in metrics.jsonl"


def _contexts(rows: Sequence[Row], summary: Mapping[str, Any]) -> str:
    shown = _total(rows, lambda row: row["lessons/count"] * (row["peers/successes_mean"] + row["peers/failures_mean"]))
    lost = _total(rows, lambda row: row["context/shortened_peers_count"] + row["context/dropped_peers_count"])
    if not shown or lost < TOO_MANY * shown:
        return ""
    return f"{lost:.0f} of {shown:.0f} peers were shortened or left out of contexts: raise context.tokens"


def _gradients(rows: Sequence[Row], summary: Mapping[str, Any]) -> str:
    count = _total(rows, lambda row: row.get("update/skipped_nonfinite_count") or 0.0)
    return f"{count:.0f} gradients were not finite, and skipped: lower optimizer.learning_rate" if count else ""


def _tracker(rows: Sequence[Row], summary: Mapping[str, Any]) -> str:
    count = summary.get("tracker_failed_count", 0)
    return f"{count} calls of the tracker failed; metrics.jsonl has every figure" if count else ""
