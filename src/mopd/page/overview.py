"""The figures of a run as a page draws them: curves over steps, before and after, alarms, where the time went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mopd.core.statistics import mean_or_zero
from mopd.core.types import VERDICT_KINDS
from mopd.runs.records import mean_key

Row = Mapping[str, Any]

MOST_POINTS = 400
"""Points of one curve; of a longer run each is the mean of several steps."""

CURVES = (
    ("success", "share of rollouts", {"successes": "reward/success_share", "mean reward": "reward/mean"}),
    ("divergence", "nats a token (the objective's loss)", {"loss": "objective/loss"}),
    (
        "length",
        "tokens",
        {
            "mean": "completion/tokens_mean",
            "95th percentile": "completion/tokens_p95",
            "longest": "completion/tokens_max",
        },
    ),
    (
        "cut and repeated",
        "share",
        {"cut at the limit": "completion/truncated_share", "repeated runs": "completion/repeated_share"},
    ),
    ("verdicts", "rollouts a step", {kind: f"verdicts/{kind}_count" for kind in VERDICT_KINDS}),
    ("entropy", "nats a token", {"student": "student/entropy_nats"}),
    ("teacher", "share of completions that are right", {"when it writes": "teacher/accuracy_from_contexts_share"}),
    ("drift", "nats", {"student, by one update": "update/drift_nats"}),
    ("lessons", "rollouts a step", {"lessons": "lessons/count"}),
    ("memory", "GiB at most", {"peak": "memory/peak_gib"}),
    ("seconds", "seconds a step", {"step": "time/step_s"}),
)
"""Of each chart: title, unit, and names of its curves with their metrics."""


def curves(rows: Sequence[Row], evaluations: Sequence[Row]) -> list[dict[str, Any]]:
    """Charts with at least one point: held-out figures first, then what metrics.jsonl has."""
    found = [_held_out_chart(evaluations)] if evaluations else []
    for title, unit, names in CURVES:
        lines = [{"name": name, "points": _points(rows, key)} for name, key in names.items()]
        drawn = [line for line in lines if any(value for _, value in line["points"])]
        if drawn:
            found.append({"title": title, "unit": unit, "lines": drawn})
    return found


def _points(rows: Sequence[Row], key: str) -> list[tuple[float, float]]:
    points = [(float(row["step"]), float(row[key])) for row in rows if row.get(key) is not None]
    size = -(-len(points) // MOST_POINTS) or 1
    parts = [points[begin : begin + size] for begin in range(0, len(points), size)]
    return [(part[len(part) // 2][0], mean_or_zero([value for _, value in part])) for part in parts]


def _held_out_chart(evaluations: Sequence[Row]) -> dict[str, Any]:
    """mean@k and pass@k over steps, with their 95 % intervals, of evaluations measured like the newest."""
    alike = [row for row in evaluations if row.get("measured") == evaluations[-1].get("measured")]
    mean = mean_key(alike[-1])
    lines = [
        {
            "name": key.replace("_at_", "@"),
            "points": [(row["step"], row[key]) for row in alike],
            "band": [row[f"{key}_interval"] for row in alike],
        }
        for key in (mean, mean.replace("mean", "pass"))
    ]
    return {"title": "held-out problems", "unit": "share solved, 95 % intervals", "lines": lines}


def figures_table(found: Row) -> list[dict[str, Any]]:
    """Rows of the table of figures before and after, from what `before_and_after` found."""
    if "after" not in found:
        return []
    mean = mean_key(found["after"])
    rows = []
    for key in (mean, mean.replace("mean", "pass")):
        sides = {side: found[side] for side in ("before", "after") if side in found}
        cells = {side: {"value": row[key], "interval": row[f"{key}_interval"]} for side, row in sides.items()}
        rows.append({"name": key.replace("_at_", "@"), **cells})
    return rows


def alarms(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The lines of alarms.jsonl as the page tells them: when, what, and what was done."""
    return [{"step": int(row["step"]), "told": f"{row['told']} ({_done(row)})"} for row in rows]


def _done(row: Row) -> str:
    """What was done about an alarm."""
    if row["action"] == "fell back":
        return f"fell back to step {row['to_step']}, with {row['rate_share']:g} of the learning rate"
    if row["action"] == "annealed":
        return f"went on with {row['rate_share']:g} of the learning rate"
    return {"none": "nothing was done"}.get(row["action"], str(row["action"]))
