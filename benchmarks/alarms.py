"""Alarms on runs that collapse, and on runs that do not.

    python benchmarks/alarms.py --folder runs/alarms [--part collapse] [--part decline] [--part healthy]

`collapse`: a live teacher without bounds on its updates, at a learning rate that rises until it destroys the student.
`decline`: two runs of a student that reads peers badly, taught by itself all the same, with the default bounds.
`healthy`: twenty runs of two tasks and of several objectives, with the default bounds. Each
run goes on whatever its alarms say (`alarms.action = "warn"`), from a student that is warmed up once for its task. A
run that is there already is read, not run again. Prints of each run where alarms went off, and how much of the best
success was lost by then, both of four steps' rollouts; an exclamation mark stands behind alarms that would have stopped
the run.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mopd import load_config, train
from mopd.config import AlarmsConfig
from mopd.core.statistics import mean_or_zero
from mopd.runs.records import read_jsonl
from mopd.training.alarms import Alarms

CONFIGS = Path(__file__).parents[1] / "configs"
SETTINGS = (
    *("preflight.action='off'", "peers.successes=2", "peers.failures=1", "context.order='failures_first'"),
    *("problems.held_out=32", "evaluation.rollouts=4", "checkpoint.every=100", "compute.threads=1"),
)
SHORT = ("problems.options={ length = 3 }", "problems.size=400", "sampling.completion_tokens=6", "warmup.steps=80")
TASKS: dict[str, tuple[str, Sequence[str]]] = {
    "eight digits": ("demo.toml", ()),
    "three digits": ("demo.toml", (*SHORT, "warmup.demonstrator_error=0.3")),
}
"""Of each task its configuration and overrides."""

OBJECTIVES: dict[str, Sequence[str]] = {
    "mopd": (),
    "sdpo": ("peers.failures=0", "peers.successes=1"),
    "reverse kl": ("divergence.kind='reverse_kl'", "divergence.k=5"),
    "grpo": ("objective.kind='grpo'",),
    "sft": ("objective.kind='sft'",),
}
HEALTHY = (
    *(("eight digits", objective, seed) for objective in OBJECTIVES for seed in (0, 1)),
    *(("three digits", objective, seed) for objective in ("grpo", "sft") for seed in (0, 1, 2)),
    *(("eight digits", objective, 2) for objective in ("mopd", "sdpo", "grpo", "sft")),
)
"""Task, objective and seed of each run that does not collapse."""

DECLINE = tuple(("three digits", "mopd", seed) for seed in (0, 1))
"""Runs of a student that reads peers badly: it is taught worse than it is, and loses slowly."""

COLLAPSE = (
    *("teacher={ kind = 'live' }", "optimizer.fall_share=0", "optimizer.drift_nats=0", "lessons.pause=false"),
    *("optimizer.learning_rate=3e-3", "optimizer.warmup_steps=60", "problems_per_step=16", "steps=60"),
    "evaluation.every=4",
)
PARTS = ("collapse", "decline", "healthy")

WINDOW = 4
"""Steps whose mean success is told."""


def warmed_up(task: str, folder: Path) -> Path:
    """The checkpoint of a task's student behind its warm-up."""
    name, settings = TASKS[task]
    path = folder / f"student-{task.replace(' ', '-')}"
    if not (path / "summary.json").exists():
        train(load_config(CONFIGS / name, [*SETTINGS, *settings, "steps=1", f"run='{path}'"]), quiet=True)
    return path / "checkpoints" / "step-0"


def run(name: str, task: str, folder: Path, settings: Sequence[str]) -> Path:
    """The directory of a run, made where it is not there."""
    path = folder / name.replace(" ", "-")
    if not (path / "summary.json").exists():
        config, of_task = TASKS[task]
        given = [*SETTINGS, *of_task, f"student='{warmed_up(task, folder)}'", "alarms.action='warn'", f"run='{path}'"]
        asked = load_config(CONFIGS / config, [*given, *settings])
        train(asked.model_copy(update={"warmup": None}), quiet=True)
    return path


def success(rows: Sequence[dict[str, Any]], step: int) -> float:
    """Mean success of the newest steps up to one."""
    return mean_or_zero([row["reward/success_share"] for row in rows[max(0, step + 1 - WINDOW) : step + 1]])


def alarms_of(path: Path) -> list[dict[str, Any]]:
    """The alarms of a run, by its records: those of alarms.jsonl, or what this version would have written there."""
    rows, evaluations = (read_jsonl(path / f"{log}.jsonl") for log in ("metrics", "evaluations"))
    watched, found = Alarms(AlarmsConfig()), []
    for step, row in enumerate(rows):
        alarms = watched.after_step(row)
        if any(evaluation["step"] == step + 1 for evaluation in evaluations):
            alarms += watched.after_evaluation([one for one in evaluations if one["step"] <= step + 1])
        found += [{"step": step, "name": a.name, "told": a.told, "destroys": a.destroys} for a in alarms]
    return found


def told(path: Path) -> Iterator[str]:
    """How success went, and each alarm with what was lost of the best success by then."""
    rows, alarms = read_jsonl(path / "metrics.jsonl"), alarms_of(path)
    course = [success(rows, step) for step in range(WINDOW - 1, len(rows))]
    yield f"{path.name}: success {course[0]:.2f}, at best {max(course):.2f}, at the end {course[-1]:.2f}"
    for alarm in alarms:
        step = alarm["step"]
        lost = 1 - success(rows, step) / max(course[: max(1, step + 2 - WINDOW)])
        name = alarm["name"] + "!" * alarm["destroys"]
        yield f"    step {step + 1} of {len(rows)}, {name}: {alarm['told']}; lost by then {lost:.0%}"


def run_all(arms: Sequence[tuple[str, str, int]], folder: Path) -> list[int]:
    """Run the arms, print what each told, and give the number of alarms of each."""
    counts = []
    for task, objective, seed in arms:
        settings = [*OBJECTIVES[objective], f"seed={seed}", "steps=32", "evaluation.every=8"]
        path = run(f"{task}-{objective}-{seed}", task, folder, settings)
        print("\n".join(told(path)), flush=True)
        counts.append(len(alarms_of(path)))
    return counts


def main() -> None:
    """Run the parts asked for, one run after another."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("runs/alarms"))
    parser.add_argument("--part", action="append", choices=PARTS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the runs that collapse")
    options = parser.parse_args()
    parts = options.part or PARTS
    for seed in options.seeds if "collapse" in parts else ():
        path = run(f"collapse-{seed}", "eight digits", options.folder, [*COLLAPSE, f"seed={seed}"])
        print("\n".join(told(path)), flush=True)
    if "decline" in parts:
        run_all(DECLINE, options.folder)
    if "healthy" in parts:
        counts = run_all(HEALTHY, options.folder)
        print(f"{sum(map(bool, counts))} of {len(counts)} healthy runs set an alarm off, {sum(counts)} alarms in all")


if __name__ == "__main__":
    main()
