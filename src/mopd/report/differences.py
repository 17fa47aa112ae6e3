"""How two runs differ, as `mopd diff` prints it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from mopd.report.showing import print_plain
from mopd.report.steps import duration

Row = Mapping[str, Any]

LONGEST = 60
"""Characters of a value that are shown; --json has it whole."""


def print_differences(found: Row, console: Console) -> None:
    """Settings, environment, data and results that differ, in this order; what is the same is said in a line."""
    first, second = found["runs"]
    for name, run in (("A", first), ("B", second)):
        print_plain(console, f"{name}  {run}")
    if found["is_equal"]:
        print_plain(console, "the runs are equal: settings, environment, data and the metrics of every step")
    _print_rows(console, "settings", found["settings"])
    _print_rows(console, "environment", found["environment"])
    _print_data(console, found["data"])
    _print_results(console, found["results"])
    for told in found["missing"]:
        print_plain(console, f"missing: {told}")


def _print_rows(console: Console, title: str, rows: Sequence[Row]) -> None:
    print_plain(console, f"\n{title}: {len(rows) or 'nothing'} differ{'s' if len(rows) < 2 else ''}")
    unset = "unset" if title == "settings" else "not recorded"
    for row in rows:
        before, after = (unset if value is None else _written(value) for value in row["values"])
        print_plain(console, f"  {row['key']}: {before} -> {after}")
        if (meaning := row.get("meaning")) and not row["key"].endswith(".kind"):
            print_plain(console, f"      {_first_sentence(meaning)}")


def _written(value: Any) -> str:
    text = "not recorded" if value is None else str(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def _first_sentence(meaning: str) -> str:
    return " ".join(meaning.split()).partition(". ")[0].rstrip(".")


def _print_data(console: Console, rows: Sequence[Row]) -> None:
    print_plain(console, "\ndata")
    for row in rows:
        before, after = map(_written, row["values"])
        counts = isinstance(row["values"][0], int) and isinstance(row["values"][1], int)
        if row["is_same"]:
            told = f"the same {before}" if counts else "the same"
        elif counts and before == after:
            told = f"{before} in both, but not the same ones in the same order"
        else:
            told = f"{before} -> {after}" if counts or row["key"].startswith("dtype") else "not the same"
        print_plain(console, f"  {row['key']}: {told}")


def _print_results(console: Console, results: Row) -> None:
    print_plain(console, "\nresults")
    for name, run in zip("AB", results["runs"], strict=True):
        print_plain(console, f"  {name}  {_run_line(run)}")
        for line in _figure_lines(run):
            print_plain(console, f"     {line}")
    compared = results["beside"]
    if "why" in compared:
        print_plain(console, f"  B cannot be set beside A on held-out problems: {WHY[compared['why']]}")
    else:
        low, high = compared["interval"]
        told = f"B - A after training: {compared['mean']:+.3f}, paired 95 % interval [{low:+.3f}, {high:+.3f}]"
        print_plain(console, f"  {told} over {compared['problems']} held-out problems")
    print_plain(console, f"  {_parting_line(results)}")


WHY = {
    "no evaluation": "one of them has no evaluation; `mopd evaluate RUN` makes one",
    "measured otherwise": "other attempts a problem or another sampling; `mopd evaluate RUN` with the same settings",
    "other held-out problems": "their held-out problems are not the same ones",
}
"""Why two runs cannot be compared, and what to do."""


def _run_line(run: Row) -> str:
    steps = f"{run['steps']} of {run['steps_asked']} steps" + ("" if run["is_finished"] else ", not finished")
    cost = run["cost"]
    if cost["step_seconds"] is None:
        return steps
    tokens = f"{cost['tokens_written']:,} tokens written, {cost['tokens_learnt']:,} learnt from"
    return f"{steps}, {duration(cost['step_seconds'])} in steps, {tokens}, {cost['peak_gib']:.1f} GiB at most"


def _figure_lines(run: Row) -> list[str]:
    lines = []
    sides = {when: figures for when, figures in run["figures"].items() if figures}
    for key in [name for name in next(iter(sides.values()), {}) if "_at_" in name and not name.endswith("_interval")]:
        told = []
        for when, figures in sides.items():
            low, high = figures[f"{key}_interval"]
            told.append(f"{when} {figures[key]:.3f} [{low:.3f}, {high:.3f}]")
        lines.append(f"{key.replace('_at_', '@')} {', '.join(told)}")
    if gain := run["gain"]:
        low, high = gain["interval"]
        lines.append(f"gain {gain['mean']:+.3f}, paired 95 % interval [{low:+.3f}, {high:+.3f}]")
    return lines


def _parting_line(results: Row) -> str:
    parts, steps = results["parts"], min(run["steps"] for run in results["runs"])
    if parts is None:
        return f"the metrics of all {steps} steps are the same, but for time and memory"
    if not parts["metrics"]:
        return f"the metrics of the {steps} steps that both have are the same, but for time and memory"
    some = ", ".join(parts["metrics"][:4])
    more = f" and {len(parts['metrics']) - 4} more" if len(parts["metrics"]) > 4 else ""
    return f"the metrics first differ in step {parts['step'] + 1}: {some}{more}"
