"""Whether the gap that a preflight measures foretells what a run gains: many students and recipes, one run each.

    python benchmarks/preflight_gap.py --folder runs/gap [--students reader ...] [--recipes 1S0F ...] [--table]

Each arm is an embedded student with a recipe fixed by hand. `mopd preflight` measures its gap, then a short run with
the same settings trains; a teacher that is worse than its student teaches on, and no alarm stops the run. An arm that
is done has a file FOLDER/STUDENT-RECIPE.json and is not done again. Prints a line for each, and correlations of gap and
of AUC with the gain. Recipes of one student are no independent draws, so intervals resample students.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mopd import load_config, run_preflight, train
from mopd.core.files import dump_json, write_file
from mopd.core.signals import spearman
from mopd.runs.environment import describe_environment

STUDENTS: dict[str, dict[str, Any]] = {
    "reader": {"seed": 0, "length": 3, "steps": 300, "context_share": 0.8, "group_size": 6},
    "half-reader": {"seed": 1, "length": 4, "steps": 400, "context_share": 0.6, "group_size": 8},
    "never-read": {"seed": 2, "length": 3, "steps": 300, "context_share": 0.0, "group_size": 8},
    "short": {"seed": 3, "length": 3, "steps": 150, "context_share": 0.5, "group_size": 8},
    "small-groups": {"seed": 4, "length": 3, "steps": 250, "context_share": 0.3, "group_size": 4},
    "longer": {"seed": 5, "length": 4, "steps": 500, "context_share": 0.8, "group_size": 8},
}
"""How each student was warmed up, the digits that it sorts, and its attempts at a problem."""

RECIPES: dict[str, list[str]] = {
    "1S0F": ["peers.successes=1", "peers.failures=0"],
    "2S1F": ["peers.successes=2", "peers.failures=1", "context.order='failures_first'"],
    "1S1F-successes-first": ["peers.successes=1", "peers.failures=1", "context.order='successes_first'"],
    "0S1F": ["peers.successes=0", "peers.failures=1", "peers.require_success=false"],
}

BASE: dict[str, Any] = {
    "student": "builtin:digits",
    "steps": 16,
    "problems_per_step": 8,
    "problems": {"source": "sort-digits", "size": 480, "held_out": 96},
    "context": {"tokens": 64},
    "optimizer": {"learning_rate": 3e-4, "warmup_steps": 2},
    "preflight": {"action": "warn", "problems": 96, "contexts": 64},
    "evaluation": {"contexts_every": 0},
    "lessons": {"pause": False},
    "alarms": {"action": "off"},
    "compute": {"threads": 1},
}


def settings_of(student: str, recipe: str) -> list[str]:
    """The overrides of an arm."""
    asked = STUDENTS[student]
    return [
        *(f"seed={asked['seed']}", f"group_size={asked['group_size']}"),
        *(f"problems.options={{ length = {asked['length']} }}", f"sampling.completion_tokens={asked['length'] + 3}"),
        *("warmup.kind='demonstrator'", "warmup.batch_size=32", "warmup.demonstrator_error=0.65"),
        *(f"warmup.steps={asked['steps']}", f"warmup.context_share={asked['context_share']}"),
        *RECIPES[recipe],
    ]


def run_arm(student: str, recipe: str, folder: Path) -> None:
    """Measure the gap, train, and write both down."""
    config = load_config(BASE, [*settings_of(student, recipe), f"run='{folder / f'{student}-{recipe}'}'"])
    before = run_preflight(config, quiet=True).as_json()
    summary = train(config, quiet=True, fresh=True)
    taken = next((row for row in before["readings"] if row["recipe"] == before["recipe"]), None)
    found = {
        "student": student,
        "recipe": recipe,
        "commit": describe_environment()["commit"],
        "gap": before["gain"],
        "gap_interval": before["gain_interval"],
        "auc": taken and taken["scores"]["signals"]["auc"]["mean"],
        "said": before["verdict"]["said"],
        "before": summary["before"]["mean_at_8"],
        "after": summary["after"]["mean_at_8"],
        "gain": summary["gain"]["mean"],
        "gain_interval": summary["gain"]["interval"],
    }
    write_file(folder / f"{student}-{recipe}.json", dump_json(found))


def correlation(
    rows: Sequence[dict[str, Any]], figure: str, of: Callable[[Any, Any], float | None]
) -> tuple[float | None, list[float], int]:
    """Of a figure with the gain: (correlation, 95 % interval over students, arms that have the figure)."""
    known = [row for row in rows if row[figure] is not None]
    by_student = {name: [row for row in known if row["student"] == name] for name in {row["student"] for row in known}}
    rng, names, drawn = np.random.default_rng(0), sorted(by_student), []
    for _ in range(4000):
        picked = [row for index in rng.integers(0, len(names), len(names)) for row in by_student[names[index]]]
        value = of([row[figure] for row in picked], [row["gain"] for row in picked])
        drawn += [] if value is None else [value]
    interval = [float(end) for end in np.quantile(drawn, [0.025, 0.975])] if drawn else []
    return of([row[figure] for row in known], [row["gain"] for row in known]), interval, len(known)


def pearson(first: Sequence[float], second: Sequence[float]) -> float | None:
    """None where either list is constant."""
    if len(set(first)) < 2 or len(set(second)) < 2:
        return None
    return float(np.corrcoef(first, second)[0, 1])


def print_table(folder: Path) -> None:
    """A line an arm, as markdown, and the correlations."""
    rows = sorted((json.loads(path.read_text()) for path in folder.glob("*.json")), key=lambda row: -(row["gap"] or -9))
    print(
        "| student | recipe | gap before [95 %] | AUC | verdict | mean@8 | gain [95 %] |\n|---|---|---|---|---|---|---|"
    )
    for row in rows:
        gap, gain = (_with_interval(row[name], row[f"{name}_interval"]) for name in ("gap", "gain"))
        auc = "-" if row["auc"] is None else f"{row['auc']:.2f}"
        held_out = f"{row['before']:.3f} -> {row['after']:.3f}"
        print(f"| {row['student']} | {row['recipe']} | {gap} | {auc} | {row['said']} | {held_out} | {gain} |")
    print(f"\n{len(rows)} runs of {len({row['student'] for row in rows})} students; correlation with the gain:\n")
    print("| | Pearson [95 %] | Spearman [95 %] | runs |\n|---|---|---|---|")
    for figure in ("gap", "auc"):
        told = [correlation(rows, figure, of) for of in (pearson, spearman)]
        print(f"| {figure} | {' | '.join(_with_interval(value, ends) for value, ends, _ in told)} | {told[0][2]} |")


def _with_interval(value: float | None, ends: Sequence[float]) -> str:
    return "-" if value is None else f"{value:+.2f} [{ends[0]:+.2f}, {ends[1]:+.2f}]"


def main() -> None:
    """Run the arms that are not done yet, one after another."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("runs/gap"))
    parser.add_argument("--students", nargs="+", choices=list(STUDENTS), default=list(STUDENTS))
    parser.add_argument("--recipes", nargs="+", choices=list(RECIPES), default=list(RECIPES))
    parser.add_argument("--table", action="store_true", help="print what there is, run nothing")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for student in options.students if not options.table else ():
        for recipe in options.recipes:
            if not (options.folder / f"{student}-{recipe}.json").exists():
                run_arm(student, recipe, options.folder)
                print((options.folder / f"{student}-{recipe}.json").read_text(), flush=True)
    print_table(options.folder)


if __name__ == "__main__":
    main()
