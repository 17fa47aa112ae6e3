"""One demo step by phase, with peak memory, as JSON lines.

    python benchmarks/step.py [--steps 5] [--config configs/demo.toml] [--set key=value ...]

The first line of output is the environment; then one line a phase: seconds (median over steps after one unmeasured
step), share of the step; then the step as a whole with tokens a second; then the step in which no rollout has a lesson;
last, peak resident memory of the process, its warm-up included.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from pathlib import Path
from typing import Any

from mopd import load_config
from mopd.preflight.setup import prepare
from mopd.problems import load_problems
from mopd.runs.environment import describe_environment
from mopd.runs.progress import ProgressDisplay
from mopd.training.step import PHASES, StepClock, Stepper
from mopd.warmup.warmup import warm_up


def measure(config_path: str, overrides: list[str], steps: int) -> list[dict[str, Any]]:
    """The benchmark's lines."""
    config = load_config(config_path, ["evaluation.contexts_every=0", *overrides])
    setup = prepare(config, load_problems(config.problems))
    if config.warmup is not None:
        warm_up(setup, ProgressDisplay())
    stepper = Stepper(setup)
    measured: dict[str, list[float]] = {phase: [] for phase in (*PHASES, "step")}
    tokens, lessons = 0.0, 0.0
    for step in range(steps + 1):
        clock = StepClock()
        metrics = stepper.step(step, clock).metrics
        if step == 0:
            continue
        for phase in measured:
            measured[phase].append(metrics.get(f"time/{phase}_s", 0.0))
        tokens += metrics["completion/tokens_mean"] * config.group_size * config.problems_per_step
        lessons += metrics["lessons/count"]
    whole = statistics.median(measured["step"])
    lines: list[dict[str, Any]] = [
        {"environment": describe_environment(), "config": config_path, "overrides": overrides}
    ]
    for phase in PHASES:
        seconds = statistics.median(measured[phase])
        lines.append({"phase": phase, "seconds": round(seconds, 5), "share": round(seconds / whole, 3)})
    lines.append(
        {
            "phase": "step",
            "seconds": round(whole, 5),
            "completion_tokens_per_s": round(tokens / sum(measured["step"]), 1),
            "lessons_per_step": lessons / steps,
        }
    )
    lines.append(_empty_step(stepper, whole))
    lines.append({"peak_memory_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 3)})
    return lines


def _empty_step(stepper: Stepper, whole: float) -> dict[str, Any]:
    """Learning in a step in which no rollout has a lesson."""
    began = time.perf_counter()
    stepper.learner.learn([], stepper.teacher, 0, StepClock())
    seconds = time.perf_counter() - began
    return {"phase": "learning without lessons", "seconds": round(seconds, 6), "share": round(seconds / whole, 5)}


def main() -> None:
    """Print the lines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default=str(Path(__file__).parents[1] / "configs" / "demo.toml"))
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    for line in measure(options.config, options.set, options.steps):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
