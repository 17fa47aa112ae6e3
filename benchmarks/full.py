"""All that is claimed of speed and memory, measured in sections; each can be run alone.

    python benchmarks/full.py [--sections step rollouts ...] [--pairs 3] [--small] [--compile]

Each section prints its parameters, a line for each measurement and its figures; the last line has the figures of all.
Measured processes are started apart, have one thread and count CPU time (workers.py, measuring.py). `--small` shrinks
every section until it is over in seconds: it shows that they run, its figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

import peer
from made_lessons import make_groups, make_lessons, random_lessons, write_lessons
from measuring import available_gib
from mopd.core.types import Lesson
from mopd.models.student import load_student
from mopd.runs.environment import describe_environment
from worker_mopd import NARROW, configure
from workers import Told, Worker

Figures = dict[str, Any]


def say(section: str, **what: Any) -> None:
    """A line of output."""
    rounded = {name: round(value, 4) if isinstance(value, float) else value for name, value in what.items()}
    print(json.dumps({"section": section, **rounded}), flush=True)


# --- beside TRL -----------------------------------------------------------------------------------------------------


def peer_section(options: argparse.Namespace) -> Figures:
    """Scoring and update on the same tokens: peer.py, in bfloat16."""
    return peer.compare(options)


def float32_section(options: argparse.Namespace) -> Figures:
    """The same in float32."""
    found = peer.compare(argparse.Namespace(**{**vars(options), "float32": True}))
    return {name if name.endswith("fp32") else f"float32_{name}": value for name, value in found.items()}


def step_section(options: argparse.Namespace) -> Figures:
    """Whole steps: rollouts, contexts, scoring and update; TRL with transformers' generate, this project's `Stepper`.

    Same prompts, temperature 1, two successes and one failure, half of the rollouts said to succeed by their index.
    Each completion ends at a length that is laid down for its row, so that both systems write as many tokens whatever
    they sample: `step_cpu_ratio` is with lengths of a quarter to the whole of the longest, `step_cpu_ratio_equal` with
    the longest for all, where nothing is padded and no row leaves early.
    """
    found: Figures = {}
    for lengths, suffix in (("uneven", ""), ("equal", "_equal")):
        pairs = whole_steps(options, lengths)
        found[f"step_cpu_ratio{suffix}"] = per_token_ratio(pairs, "total", "total")
        found[f"trl_rollouts_cpu_ratio{suffix}"] = per_token_ratio(pairs, "sample", "sample")
        found[f"step_tokens{suffix}"] = {
            name: statistics.fmean(pair[name]["tokens"] for pair in pairs) for name in ("trl", "mopd")
        }
    return found


def whole_steps(options: argparse.Namespace, lengths: str) -> list[peer.Pair]:
    """Pairs of steps in turns, the first left out."""
    more = ["--lengths", lengths]
    pairs = []
    with (
        Worker(
            "worker_trl.py", peer.arguments(options, *peer.size(options), *more), bool(options.plain_malloc)
        ) as theirs,
        stepping_worker(options, *more) as ours,
    ):
        for number in range(options.pairs + 1):
            pair = {"trl": theirs.ask("time"), "mopd": ours.ask("time")}
            told = {f"{name}_{key}": one[key] for name, one in pair.items() for key in ("total", "sample", "tokens")}
            say("step", lengths=lengths, pair=number or "not counted", **told)
            pairs.append(pair)
    return pairs[1:]


def stepping_worker(options: argparse.Namespace, *more: str) -> Worker:
    """A process that makes whole steps. Completions cut at the limit serve as failures: many are."""
    shape = [
        f"group_size={options.rollouts}",
        f"problems_per_step={options.prompts}",
        f"sampling.completion_tokens={options.longest}",
        "peers.truncated_failures=true",
    ]
    given = [*peer.arguments(options, *more), *peer.settings(options), *shape]
    return Worker("worker_mopd.py", given, options.plain_malloc == "both")


def per_token_ratio(pairs: Sequence[peer.Pair], theirs: str, ours: str) -> float:
    """Median over pairs of TRL's seconds a sampled token over this project's; tokens are the same at equal lengths."""
    return round(
        statistics.median(
            (pair["trl"][theirs] / pair["trl"]["tokens"]) / (pair["mopd"][ours] / pair["mopd"]["tokens"])
            for pair in pairs
        ),
        2,
    )


def gpu_section(options: argparse.Namespace) -> Figures:
    """peer.py on a CUDA device: wall seconds, synchronised, and the allocator's memory. It has not been run."""
    if not torch.cuda.is_available():
        say("gpu", skipped="no CUDA device")
        return {}
    found = peer.compare(argparse.Namespace(**{**vars(options), "device": "cuda"}))
    return {f"gpu_{name.replace('_cpu_', '_')}": value for name, value in found.items()}


# --- beside generate ------------------------------------------------------------------------------------------------


def rollouts_section(options: argparse.Namespace) -> Figures:
    """Rollouts alone: transformers' generate over this project's engine, at equal lengths and at uneven ones."""
    shape = peer.size(options)
    found: Figures = {}
    with Worker("worker_rollouts.py", peer.arguments(options, *shape)) as worker:
        for kind, suffix in (("equal", ""), ("uneven", "_uneven")):
            ratios = []
            for number in range(options.pairs + 1):
                told = worker.ask(kind)
                say("rollouts", lengths=kind, pair=number or "not counted", **told)
                ratios.append(told["generate"] / told["engine"])
            found[f"rollouts_cpu_ratio{suffix}"] = round(statistics.median(ratios[1:]), 2)
    return found


# --- this project alone ---------------------------------------------------------------------------------------------


def learning_worker(options: argparse.Namespace, lessons: Sequence[Lesson], model: str = "") -> Worker:
    """A process that learns from `lessons`; it has read them when it is there."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lessons.json"
        write_lessons(path, lessons)
        given = argparse.Namespace(**{**vars(options), "model": model or options.model})
        return Worker(
            "worker_mopd.py",
            [*peer.arguments(given, "--lessons", str(path)), *peer.settings(options)],
            options.plain_malloc == "both",
        )


def group_section(options: argparse.Namespace) -> Figures:
    """What a rollout costs in scoring and update, by group size, at the same number of rollouts in all.

    Half of a group succeed; peers are chosen by the project's own policies `group` (the default) and `random`. A group
    of two shows one success, for there are no more, and has lessons for half of its rollouts: it is told of for
    completeness. Sizes 4 and 16 are measured in turns.
    """
    total = 16 if options.small else 32
    found: Figures = {}
    for policy in ("group", "random"):
        costs: dict[int, float] = {}
        for sizes in ((4, 16), (2, 8)):
            costs |= group_costs(options, sizes, total, policy)
        suffix = "" if policy == "group" else "_random"
        found[f"rollout_cost_16_over_4{suffix}"] = round(costs[16] / costs[4], 3)
        found[f"rollout_cpu_s{suffix}"] = {str(size): round(cost, 3) for size, cost in sorted(costs.items())}
    return found


def group_costs(options: argparse.Namespace, sizes: Sequence[int], total: int, policy: str) -> dict[int, float]:
    """CPU seconds a lesson at two group sizes, in turns."""
    workers = {size: group_worker(options, size, total, policy) for size in sizes}
    seconds: dict[int, list[float]] = {size: [] for size in sizes}
    try:
        counts = {size: worker.ask("describe") for size, worker in workers.items()}
        for number in range(options.pairs + 1):
            for size, worker in workers.items():
                cost = worker.ask("time")["total"] / counts[size]["lessons"]
                if number:
                    seconds[size].append(cost)
        costs = {size: statistics.median(found) for size, found in seconds.items()}
        for size in sizes:
            say("group", policy=policy, group_size=size, cpu_s_per_rollout=costs[size], **counts[size])
    finally:
        for worker in workers.values():
            worker.__exit__(None, None, None)
    return costs


def group_worker(options: argparse.Namespace, size: int, total: int, policy: str) -> Worker:
    """A process that learns from `total` rollouts in groups of `size`."""
    recipe = [f"peers.policy='{policy}'", *(["peers.successes=1", "peers.failures=0"] if size == 2 else [])]
    config = configure(options.model, "cpu", "float32", [*options.set, f"group_size={size}", *recipe])
    student = load_student(options.model, 0, config.compute)
    groups = make_groups(student, total // size, size, options.longest, options.seed)
    return learning_worker(options, make_lessons(student, groups, config))


def length_section(options: argparse.Namespace) -> Figures:
    """How seconds and memory grow with a completion's length and with a context's: four lessons of random tokens.

    Contexts share nothing here, so that a token is a token. Seconds are for each token of the teacher's and of the
    student's rows: flat where cost is linear, rising where attention begins to count.
    """
    base = (32, 64) if options.small else (512, 64)
    completions, contexts = ((16, 64), (32, 128)) if options.small else ((16, 64, 256, 512), (256, 1024, 4096))
    found: Figures = {"length_completion": {}, "length_context": {}}
    for kind, lengths in (("completion", completions), ("context", contexts)):
        for length in lengths:
            context, completion = (base[0], length) if kind == "completion" else (length, base[1])
            told = one_length(options, context, completion)
            say("length", context_tokens=context, completion_tokens=completion, **told)
            found[f"length_{kind}"][str(length)] = {name: round(value, 5) for name, value in told.items()}
    return found


def one_length(options: argparse.Namespace, context: int, completion: int) -> Told:
    """Seconds, seconds a token, and growth of memory."""
    config = configure(options.model, "cpu", "float32", options.set)
    vocabulary = load_student(options.model, 0, config.compute).tokenizer.size
    with learning_worker(options, random_lessons(4, 32, context, completion, vocabulary)) as worker:
        counts = worker.ask("describe")
        worker.ask("time")
        total = worker.ask("time")["total"]
        growth = worker.ask("memory")["growth_gib"]
    tokens = counts["teacher_nodes"] + counts["student_nodes"]
    return {"cpu_s": total, "cpu_ms_per_token": 1e3 * total / tokens, "growth_gib": growth}


PLAIN_TENSORS = 4
"""[tokens, vocabulary] tensors that the plain way holds at its peak."""


def vocabulary_section(options: argparse.Namespace) -> Figures:
    """Memory of one lesson with a long completion under a large vocabulary, beside the plain way (worker_plain.py).

    The model is narrow, so that logits are what counts. Skipped where the machine cannot hold the plain way.
    """
    vocabulary, tokens = (8192, 512) if options.small else (151_936, 4096)
    wanted = PLAIN_TENSORS * vocabulary * tokens * 4 / 2**30
    say("vocabulary", vocabulary=vocabulary, completion_tokens=tokens, plain_way_gib=wanted)
    if available_gib() < 1.3 * wanted + 1:
        say("vocabulary", skipped=f"{available_gib():.1f} GiB available")
        return {}
    model = f"{NARROW}{vocabulary}"
    lessons = random_lessons(1, 16, 64, tokens, vocabulary)
    float32 = argparse.Namespace(**{**vars(options), "float32": True})
    with learning_worker(float32, lessons, model=model) as worker:
        worker.ask("time")
        ours = worker.ask("memory")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lessons.json"
        write_lessons(path, lessons)
        given = ["--model", model, "--lessons", str(path), "--device", options.device]
        with Worker("worker_plain.py", given, bool(options.plain_malloc)) as worker:
            plain = worker.ask("memory")
    say("vocabulary", mopd=ours, plain=plain)
    return {
        "vocabulary_growth_ratio": round(plain["growth_gib"] / max(1e-3, ours["growth_gib"]), 1),
        "vocabulary_growth_gib": {"mopd": round(ours["growth_gib"], 3), "plain": round(plain["growth_gib"], 3)},
    }


def empty_section(options: argparse.Namespace) -> Figures:
    """What a step costs after its rollouts and verdicts if no rollout has a lesson, as a share of a normal step."""
    with stepping_worker(options) as worker:
        worker.ask("time")
        normal, empty = worker.ask("time"), worker.ask("empty")
    rest = empty["total"] - empty["sample"] - empty["verify"]
    assert empty["lessons"] == 0 < normal["lessons"]
    say("empty", normal_step=normal, empty_step=empty, after_rollouts_s=rest)
    return {"empty_step_share": round(rest / normal["total"], 5)}


SECTIONS: dict[str, Callable[[argparse.Namespace], Figures]] = {
    "peer": peer_section,
    "step": step_section,
    "rollouts": rollouts_section,
    "float32": float32_section,
    "group": group_section,
    "length": length_section,
    "vocabulary": vocabulary_section,
    "empty": empty_section,
    "gpu": gpu_section,
}


PAIRS = {"peer": 5, "gpu": 5}
"""Counted measurements of a section, where that is not 3."""


def main() -> None:
    """Run the sections asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    peer.add_options(parser, pairs=None)
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--small", action="store_true", help="a few seconds a section, to see that they run")
    options = parser.parse_args()
    if options.small:
        options.pairs, options.prompts, options.rollouts, options.longest = 1, 1, 4, 16
    print(json.dumps({"environment": describe_environment(), "parameters": vars(options)}), flush=True)
    figures: Figures = {}
    for name in options.sections:
        began = time.perf_counter()
        say(name, about=(SECTIONS[name].__doc__ or "").splitlines()[0])
        pairs = options.pairs or PAIRS.get(name, 3)
        found = SECTIONS[name](argparse.Namespace(**{**vars(options), "pairs": pairs}))
        say(name, wall_s=time.perf_counter() - began, **found)
        figures |= found
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
