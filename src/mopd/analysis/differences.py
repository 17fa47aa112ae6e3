"""Two runs, or several, beside one another: settings, environment and data that differ, and results.

Held-out figures are paired by problem. `diff_runs` is `mopd diff`; the page of several runs uses the parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from mopd.analysis.cost import cost
from mopd.config import Config, config_keys
from mopd.evaluation.held_out import paired_gain
from mopd.report.loaded import LoadedRun, load_run
from mopd.report.missing import tried
from mopd.runs.reading import read_object
from mopd.runs.records import mean_key
from mopd.training.summary import before_and_after


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


@dataclass
class _Side:
    """One run: its records as far as they can be read, and what could not be."""

    run: LoadedRun
    config: Config
    missing: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, path: str) -> _Side:
        """Raises RunError where there is no run."""
        run = load_run(path)
        return cls(run, run.config)

    def tried(self, what: str, read: Callable[[], Any], otherwise: Any) -> Any:
        """What `read` gives, else `otherwise`, which is then told as missing."""
        return tried(self.missing, f"{what} of {self.run.path.name}", read, otherwise)

    def object(self, name: str) -> dict[str, Any]:
        """A file of the run that holds one JSON object; empty where there is none."""
        found: dict[str, Any] = self.tried(name, lambda: read_object(self.run.path / name, ""), {})
        if not found:
            self.missing.append(f"{name} of {self.run.path.name}: nothing is recorded")
        return found


def diff_runs(first: str, second: str) -> dict[str, Any]:
    """How two runs differ, as JSON: `settings`, `environment`, `data`, `results`, and what is `missing` of either.

    `is_equal` says whether nothing differs but where the runs are and how long they took; of a run that is training,
    up to now. Raises RunError where a path holds no run.
    """
    sides = _Side.of(first), _Side.of(second)
    environments = [side.object("environment.json") for side in sides]
    inputs = [side.object("inputs.json") for side in sides]
    data = _data(inputs)
    is_held_out_other = any(row["key"] == "held-out problems" and not row["is_same"] for row in data)
    results = _results(sides, is_held_out_other)
    settings, environment = _settings(sides), _differing_rows(environments)
    is_equal = not settings and not environment and all(row["is_same"] for row in data) and results["parts"] is None
    return {
        "runs": [str(side.run.path) for side in sides],
        "is_equal": is_equal and not any(side.missing for side in sides),
        "settings": settings,
        "environment": environment,
        "data": data,
        "results": results,
        "missing": [told for side in sides for told in dict.fromkeys(side.missing)],
    }


def _settings(sides: Sequence[_Side]) -> list[dict[str, Any]]:
    """Settings that differ, each with what its key means."""
    meanings = config_keys()
    return [
        {"key": key, "values": values, "meaning": meanings.get(key, ("", "", ""))[2]}
        for key, values in differing([side.config for side in sides]).items()
    ]


def _differing_rows(values: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What differs between two recorded objects; what one of them did not record is None."""
    if not all(values):
        return []
    flat = [_flat(one) for one in values]
    keys = [key for key in dict.fromkeys([*flat[0], *flat[1]]) if flat[0].get(key) != flat[1].get(key)]
    return [{"key": key, "values": [one.get(key) for one in flat]} for key in keys]


INPUTS = {
    "reward_functions": "source of reward functions and of a user's own verifiers",
    "template": "what the chat template writes",
    "dtype": "dtype of products",
    "teacher": "weights of the external teacher",
}
"""What inputs.json holds besides problems, in words."""


def _data(inputs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Problems and other inputs: whether both runs had the same, with counts of problems."""
    if not all(inputs):
        return []
    rows = []
    for name, told in (("train", "problems to train on"), ("held_out", "held-out problems")):
        parts = [one.get("problems", {}).get(name) for one in inputs]
        counts = [None if part is None else part["count"] for part in parts]
        rows.append({"key": told, "is_same": parts[0] == parts[1], "values": counts})
    for name, told in INPUTS.items():
        values = [one.get(name) for one in inputs]
        shown = [value.get("model") if isinstance(value, Mapping) else value for value in values]
        if values != [None, None]:
            rows.append({"key": told, "is_same": values[0] == values[1], "values": shown})
    return rows


def _results(sides: Sequence[_Side], is_held_out_other: bool) -> dict[str, Any]:
    """Figures of each run, the second's after training beside the first's, and where their steps part."""
    rows = [side.tried("metrics of steps", partial(_all, side.run.metrics_rows), []) for side in sides]
    told = [_figures(side, of_side) for side, of_side in zip(sides, rows, strict=True)]
    after = [one["evaluations"].get("after") for one in told]
    compared = {"why": "other held-out problems"} if is_held_out_other else beside(*after)
    return {
        "runs": [{key: value for key, value in one.items() if key != "evaluations"} for one in told],
        "beside": compared,
        "parts": parting(*rows),
    }


def _all(read: Callable[[], Iterable[Any]]) -> list[Any]:
    return list(read())


def _figures(side: _Side, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    evaluations = side.tried("evaluations", partial(_all, side.run.evaluation_rows), [])
    found = side.tried("figures before and after", lambda: before_and_after(evaluations), {})
    summary = side.tried("the summary", lambda: side.run.summary, None) or {}
    took = side.tried("what steps took", lambda: cost(rows, summary), {})
    return {
        "steps": len(rows),
        "steps_asked": side.config.steps,
        "is_finished": bool(summary),
        "figures": side.tried("held-out figures", lambda: {when: _evaluated(found.get(when)) for when in WHEN}, {}),
        "gain": found.get("gain"),
        "cost": {key: took.get(key) for key in ("step_seconds", "tokens_written", "tokens_learnt", "peak_gib")},
        "evaluations": found,
    }


WHEN = ("before", "after")


def _evaluated(figures: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """mean@k and pass@k of one evaluation, with their intervals; None where there was none."""
    if figures is None:
        return None
    mean = mean_key(figures)
    names = [mean, mean.replace("mean", "pass")]
    return {"step": figures["step"], **{key: figures[key] for name in names for key in (name, f"{name}_interval")}}


def parting(first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The first step of which two runs' metrics differ in more than time and memory, and in which; None: in none."""
    for mine, theirs in zip(first, second, strict=False):
        keys = [key for key in {**mine, **theirs} if not key.startswith(("time/", "memory/"))]
        if differing := [key for key in keys if mine.get(key) != theirs.get(key)]:
            return {"step": mine["step"], "metrics": differing}
    if len(first) != len(second):
        return {"step": min(len(first), len(second)), "metrics": []}
    return None
