"""Several runs beside one another: settings that differ, held-out figures with paired intervals, curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mopd.analysis.differences import beside, differing
from mopd.config import Config
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
                "beside_first": None
                if run is runs[0]
                else beside(runs[0].figures.get("after"), run.figures.get("after")),
            }
            for run in runs
        ],
        "settings": [
            {"key": key, "values": [shown(value, 200) for value in values]}
            for key, values in differing([run.config for run in runs]).items()
        ],
        "charts": list(charts.values()),
    }
