"""Two runs, or several, beside one another: settings that differ, and held-out figures paired by problem."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mopd.config import Config
from mopd.evaluation.held_out import paired_gain


def differing(configs: Sequence[Config]) -> dict[str, list[Any]]:
    """Keys whose values are not the same in all configurations, but for the run's own name: their values in each.

    A key that a configuration does not have is "-" in it.
    """
    flat = [_flat(config.model_dump(mode="json")) for config in configs]
    keys = sorted({key for values in flat for key in values} - {"run"})
    found = {key: [values.get(key, "-") for values in flat] for key in keys}
    return {key: values for key, values in found.items() if any(value != values[0] for value in values)}


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{before}{key}.") if isinstance(value, Mapping) else {f"{before}{key}": value}
    return found


def beside(first: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> dict[str, Any]:
    """One evaluation's figures minus another's, problem by problem; or why there is no such."""
    if first is None or other is None:
        return {"why": "no evaluation"}
    if first.get("measured") != other.get("measured"):
        return {"why": "measured otherwise"}
    common = first["successes_by_problem"].keys() & other["successes_by_problem"].keys()
    if not common:
        return {"why": "other held-out problems"}
    mean, interval = paired_gain(dict(first), dict(other))
    return {"mean": mean, "interval": list(interval), "problems": len(common)}
