"""Several runs beside one another: settings that differ, held-out figures with paired intervals, curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mopd.config import Config
from mopd.evaluation.held_out import paired_gain
from mopd.page.overview import curves, figures_table
from mopd.page.sampling import shown

COMPARED = ("held-out problems", "success", "divergence", "length")
"""The charts of which every run has its first line."""


@dataclass(frozen=True)
class Figures:
    """What a comparison needs of one run: name, configuration, steps and evaluations, and figures before and after."""

    name: str
    config: Config
    rows: Sequence[Mapping[str, Any]]
    evaluations: Sequence[Mapping[str, Any]]
    figures: Mapping[str, Any]


def compare(runs: Sequence[Figures]) -> dict[str, Any] | None:
    """The first run beside each of the others; None where it is alone."""
    if len(runs) < 2:
        return None
    charts: dict[str, dict[str, Any]] = {}
    for run in runs:
        for chart in curves(run.rows, run.evaluations):
            if chart["title"] in COMPARED:
                kept = charts.setdefault(chart["title"], chart | {"lines": []})
                kept["lines"].append(chart["lines"][0] | {"name": run.name})
    return {
        "runs": [
            {
                "name": run.name,
                "steps": len(run.rows),
                "figures": figures_table(run.figures),
                "gain": run.figures.get("gain"),
                "beside_first": None if run is runs[0] else _beside(runs[0], run),
            }
            for run in runs
        ],
        "settings": _differing([run.config for run in runs]),
        "charts": list(charts.values()),
    }


def _beside(first: Figures, other: Figures) -> dict[str, Any]:
    """The other run's figures after training minus the first one's, problem by problem; or why there is no such."""
    ends = [run.figures.get("after") for run in (first, other)]
    if ends[0] is None or ends[1] is None:
        return {"why": "no evaluation"}
    if ends[0].get("measured") != ends[1].get("measured"):
        return {"why": "measured otherwise"}
    common = ends[0]["successes_by_problem"].keys() & ends[1]["successes_by_problem"].keys()
    if not common:
        return {"why": "other held-out problems"}
    mean, interval = paired_gain(ends[0], ends[1])
    return {"mean": mean, "interval": list(interval), "problems": len(common)}


def _differing(configs: Sequence[Config]) -> list[dict[str, Any]]:
    """Keys whose values are not the same in all runs, but for the run's own name."""
    flat = [_flat(config.model_dump(mode="json")) for config in configs]
    keys = sorted({key for values in flat for key in values} - {"run"})
    found = [(key, [shown(values.get(key, "-"), 200) for values in flat]) for key in keys]
    return [{"key": key, "values": values} for key, values in found if len(set(values)) > 1]


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{before}{key}.") if isinstance(value, Mapping) else {f"{before}{key}": value}
    return found
