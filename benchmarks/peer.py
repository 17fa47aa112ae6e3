"""TRL's SDPO and this project on the same tokens, in turns: scoring and update of one step, CPU time, one thread.

    python benchmarks/peer.py --model models/SmolLM2-135M-Instruct [--pairs 5] [--float32] [--compile] [--plain-malloc]

Both get the same prompts, contexts (two successes and one failure, as the project chooses and words them by default)
and completions (16 to 64 tokens, 8 x 8 rollouts), both compute in bfloat16 with float32 weights unless told, both have
an EMA teacher, Jensen-Shannon over the student's 100 most probable tokens with tail, and AdamW. Each is a process of
its own that makes a step when it is asked to; the first step of each is not counted, and a last one, neither timed nor
paired, measures how memory grows.

Both processes tell glibc's allocator to keep freed memory (MALLOC_MMAP_THRESHOLD_, MALLOC_TRIM_THRESHOLD_,
MALLOC_TOP_PAD_), so that page faults are not what is measured: this project sets that itself, and TRL is given it so
that the systems are compared. With `--plain-malloc` TRL runs without.

`matmul_share_bf16` (with --float32: `matmul_share_fp32`) is the project's useful operations (flops.py) for each CPU
second of scoring and update, over the rate at which this machine multiplies matrices in that precision: the better of
2048 cubed and the model's own MLP product, measured in the same process right before and right after each step.

Lines of JSON: one a pair, then medians by phase, and last the figures.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from made_lessons import make_groups, make_lessons, write_lessons
from mopd.models.student import load_student
from worker_mopd import configure
from workers import Told, Worker

Pair = dict[str, Told]


def write_data(options: argparse.Namespace, path: Path) -> dict[str, int]:
    """The token arrays that both read, and how many tokens they are."""
    config = configure(options.model, "cpu", "float32", options.set)
    student = load_student(options.model, 0, config.compute)
    groups = make_groups(student, options.prompts, options.rollouts, options.longest, options.seed)
    lessons = make_lessons(student, groups, config)
    assert len(lessons) == options.prompts * options.rollouts, "each rollout has a lesson"
    write_lessons(path, lessons, groups)
    return {
        "rollouts": len(lessons),
        "completion_tokens": sum(len(lesson.rollout.token_ids) for lesson in lessons),
        "context_tokens": sum(len(lesson.context_ids or ()) for lesson in lessons),
    }


def arguments(options: argparse.Namespace, *more: str) -> list[str]:
    """What both workers are given."""
    dtype = "float32" if options.float32 else "bfloat16"
    return ["--model", options.model, "--device", options.device, "--dtype", dtype, *more]


def settings(options: argparse.Namespace) -> list[str]:
    """This project's options."""
    return ["--set", *options.set, *(["compute.compile=true"] if options.compile else [])]


def size(options: argparse.Namespace) -> list[str]:
    """TRL's."""
    return ["--prompts", str(options.prompts), "--rollouts", str(options.rollouts), "--longest", str(options.longest)]


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Alternate, print a line a pair, and return the figures."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "lessons.json"
        print(json.dumps(write_data(options, data)), flush=True)
        both = arguments(options, "--lessons", str(data))
        with (
            Worker("worker_trl.py", [*both, *size(options)], bool(options.plain_malloc)) as theirs,
            Worker("worker_mopd.py", [*both, *settings(options)], options.plain_malloc == "both") as ours,
        ):
            flops = ours.ask("describe")["flops"]
            pairs = [pair(theirs, ours, flops, number) for number in range(options.pairs + 1)]
            growth = {"trl": theirs.ask("memory"), "mopd": ours.ask("memory")}
    print_medians(pairs[1:])
    compiling = max(pair["mopd"].get("compile", 0.0) for pair in pairs)
    told = {"compile_seconds": round(compiling, 1)} if compiling else {}
    return figures(pairs[1:], growth, options.float32) | told


def pair(theirs: Worker, ours: Worker, flops: float, number: int) -> Pair:
    """A step of each, and the machine's rate around ours."""
    trl, before = theirs.ask("time"), ours.ask("rate")
    mopd, after = ours.ask("time"), ours.ask("rate")
    rate = (before["rate"] + after["rate"]) / 2
    machine = {name: (before[name] + after[name]) / 2 for name in before} | {"share": flops / mopd["total"] / rate}
    line = {
        "pair": number or "not counted",
        "trl_s": round(trl["total"], 2),
        "mopd_s": round(mopd["total"], 2),
        "ratio": round(trl["total"] / mopd["total"], 2),
        "tflop_per_s": round(rate / 1e12, 3),
        "matmul_share": round(machine["share"], 3),
    }
    print(json.dumps(line), flush=True)
    return {"trl": trl, "mopd": mopd, "machine": machine}


def medians(told: Sequence[Told]) -> Told:
    """By name, of all that were told."""
    return {name: statistics.median(one.get(name, 0.0) for one in told) for name in told[-1]}


def print_medians(pairs: Sequence[Pair]) -> None:
    """A line for each process."""
    for name in ("trl", "mopd"):
        found = medians([pair[name] for pair in pairs])
        print(json.dumps({"medians": name, **{phase: round(value, 3) for phase, value in found.items()}}), flush=True)


def figures(pairs: Sequence[Pair], growth: Pair, is_float32: bool) -> dict[str, Any]:
    """Ratios TRL / this project, medians over pairs; and the share of the machine's matrix products."""
    ratios = sorted(pair["trl"]["total"] / pair["mopd"]["total"] for pair in pairs)
    machine = medians([pair["machine"] for pair in pairs])
    return {
        "dtype": "float32" if is_float32 else "bfloat16",
        "scoring_update_cpu_ratio": round(statistics.median(ratios), 2),
        "scoring_update_cpu_ratios": [round(ratio, 2) for ratio in ratios],
        "matmul_share_fp32" if is_float32 else "matmul_share_bf16": round(machine["share"], 3),
        "matmul_tflop_per_s": {
            name: round(machine[key] / 1e12, 3) for name, key in (("2048", "square_rate"), ("mlp", "mlp_rate"))
        },
        "memory_growth_ratio": round(growth["trl"]["growth_gib"] / max(1e-3, growth["mopd"]["growth_gib"]), 2),
        "growth_gib": {name: round(told["growth_gib"], 2) for name, told in growth.items()},
        "peak_gib": {name: round(told["peak_gib"], 2) for name, told in growth.items()},
    }


def add_options(parser: argparse.ArgumentParser, pairs: int | None = 5) -> None:
    """Options of a comparison."""
    parser.add_argument("--model", default="models/SmolLM2-135M-Instruct")
    parser.add_argument("--pairs", type=int, default=pairs)
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--rollouts", type=int, default=8)
    parser.add_argument("--longest", type=int, default=64, help="tokens of the longest completion")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--float32", action="store_true", help="float32 products in both, not bfloat16")
    parser.add_argument("--compile", action="store_true", help="this project with compute.compile = true")
    parser.add_argument(
        "--plain-malloc",
        nargs="?",
        const="trl",
        choices=["trl", "both"],
        help="glibc's allocator as it comes: for TRL, or for both",
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="of this project's configuration")


def main() -> None:
    """Compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    print(json.dumps(compare(parser.parse_args())))


if __name__ == "__main__":
    main()
