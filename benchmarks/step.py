"""Steps by phase, with peak memory, as JSON lines.

    python benchmarks/step.py [--steps 5] [--config FILE] [--half-succeed] [--profile N] [--set KEY=VALUE ...]

The first line of output is the environment; then one line a phase: CPU seconds of this process (median over steps after
one unmeasured step; on CUDA wall seconds), share of the step; then the step as a whole with tokens a second; then the
step in which no rollout has a lesson; last, peak resident memory of the process, its warm-up included. Graders work in
processes of their own: a step does not count their seconds.

`--half-succeed` says of every other rollout that it is right, whatever it says, so that models that solve nothing have
as many lessons as others. `--profile N` makes one more step under torch's profiler and lists, for each phase, the N
operations in which most of its time is spent, each without those that it calls.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from made_lessons import verdicts
from measuring import now
from mopd import load_config
from mopd.core.types import Group
from mopd.judging.verdicts import by_verifiers
from mopd.preflight.setup import prepare
from mopd.problems import load_problems
from mopd.runs.environment import describe_environment
from mopd.runs.progress import ProgressDisplay
from mopd.training.step import PHASES, StepClock, Stepper
from mopd.warmup.warmup import warm_up

MEASURED = (*PHASES, "teacher_accuracy")
Line = dict[str, Any]


def half_succeed(groups: Sequence[Group], step: int) -> tuple[list[Group], dict[str, float]]:
    """A judge that does not look."""
    return [replace(group, verdicts=verdicts(len(group.rollouts))) for group in groups], {}


def measure(options: argparse.Namespace) -> Iterator[Line]:
    """The benchmark's lines."""
    config = load_config(options.config, ["evaluation.contexts_every=0", *options.set])
    setup = prepare(config, load_problems(config.problems), half_succeed if options.half_succeed else by_verifiers)
    if config.warmup is not None:
        warm_up(setup, ProgressDisplay())
    stepper, seconds_now = Stepper(setup), partial(now, next(setup.student.model.parameters()).device.type)
    yield {"environment": describe_environment(), "config": options.config, "overrides": options.set}
    seconds: dict[str, list[float]] = {phase: [] for phase in (*MEASURED, "step")}
    tokens, lessons = 0.0, 0.0
    for step in range(options.steps + 1):
        clock, began = StepClock(now=seconds_now), seconds_now()
        metrics = stepper.step(step, clock).metrics
        if step == 0:
            continue
        for phase, found in seconds.items():
            found.append(seconds_now() - began if phase == "step" else clock.seconds[phase])
        tokens += metrics["completion/tokens_mean"] * config.group_size * config.problems_per_step
        lessons += metrics["lessons/count"]
    whole = statistics.median(seconds["step"])
    for phase in MEASURED:
        median = statistics.median(seconds[phase])
        yield {"phase": phase, "seconds": round(median, 5), "share": round(median / whole, 3)}
    yield {
        "phase": "step",
        "seconds": round(whole, 5),
        "completion_tokens": tokens / options.steps,
        "completion_tokens_per_s": round(tokens / sum(seconds["step"]), 1),
        "lessons_per_step": lessons / options.steps,
    }
    began = seconds_now()
    stepper.learner.learn([], stepper.teacher, 0, StepClock())
    nothing = seconds_now() - began
    yield {"phase": "learning without lessons", "seconds": round(nothing, 6), "share": round(nothing / whole, 5)}
    if options.profile:
        yield from profiled(stepper, options.steps + 1, options.profile)
    yield {"peak_memory_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 3)}


class _LabellingClock(StepClock):
    """Marks phases for torch's profiler."""

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        with torch.profiler.record_function(f"phase {name}"), super().__call__(name):
            yield


def profiled(stepper: Stepper, step: int, most: int) -> Iterator[Line]:
    """For each phase of one step the operations that take most of its seconds, a phase within it left out."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        stepper.step(step, _LabellingClock())
    found: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for event in profiler.events():
        found[_phase_of(event)][event.name.removeprefix("aten::")] += event.self_cpu_time_total / 1e6
    for phase, by_name in found.items():
        whole = sum(by_name.values())
        largest = sorted(by_name, key=lambda name: -by_name[name])[:most]
        yield {
            "profiled": phase,
            "seconds": round(whole, 3),
            "operations": {
                name.replace("phase ", "between operations of "): round(by_name[name], 3) for name in largest
            },
        }


def _phase_of(event: Any) -> str:
    while event is not None and not event.name.startswith("phase "):
        event = event.cpu_parent
    return "none" if event is None else event.name.removeprefix("phase ")


def main() -> None:
    """Print the lines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default=str(Path(__file__).parents[1] / "configs" / "demo.toml"))
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--half-succeed", action="store_true")
    parser.add_argument("--profile", type=int, default=0, metavar="N")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    for line in measure(parser.parse_args()):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
