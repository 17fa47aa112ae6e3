"""What the steps of a run took: seconds, tokens, memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mopd.core.types import VERDICT_KINDS
from mopd.training.step import PHASES

Row = Mapping[str, Any]


def cost(rows: Sequence[Row], summary: Row) -> dict[str, Any]:
    """Seconds of steps by phase, tokens written and learnt from, and the most memory held."""
    phases = {name: _total(rows, f"time/{name}_s") for name in (*PHASES, "teacher_accuracy")}
    whole = _total(rows, "time/step_s")
    phases["other"] = max(0.0, whole - sum(phases.values()))
    written = sum(
        (row.get("completion/tokens_mean") or 0.0)
        * sum(row.get(f"verdicts/{kind}_count") or 0 for kind in VERDICT_KINDS)
        for row in rows
    )
    return {
        "phases": [{"name": name.replace("_", " "), "seconds": s} for name, s in phases.items() if s > 0],
        "step_seconds": whole,
        "tokens_written": round(written),
        "tokens_learnt": round(_total(rows, "objective/tokens_count")),
        "peak_gib": max((row.get("memory/peak_gib") or 0.0 for row in rows), default=0.0),
        "run_seconds": summary.get("seconds", {}),
    }


def _total(rows: Sequence[Row], key: str) -> float:
    return sum(float(row.get(key) or 0.0) for row in rows)
