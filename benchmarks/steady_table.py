"""A pretrained model without a warm-up: methods compared on MBPP, arm by arm, each resumed where it was ended.

    python benchmarks/steady_table.py --folder runs/steady --seeds 0 1 2 [--arms mopd grpo ...] [--set steps=20 ...]

Every arm of a seed attempts the same problems with the same random numbers. An arm is a run in FOLDER/ARM-SEED: one
that is finished is read, one that was ended goes on from its last checkpoint. Prints the table of what there is.
`--table` prints it alone. `--against grpo` adds by how much each arm ends ahead of that one, on the same problems.
With `--config configs/qwen-tool-calls.toml` the same for tool calls.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from mopd import load_config, resume, train
from mopd.core.errors import AlarmError
from mopd.evaluation.held_out import paired_gain
from mopd.runs.records import mean_key, read_jsonl

ARMS: dict[str, list[str]] = {
    "mopd": [],
    "sdpo": ["peers.successes=1", "peers.failures=0"],
    "mopd-2S1F": ["peers.successes=2", "peers.failures=1"],
    "contrast-half": ["peers.successes=1", "peers.failures=1", "objective.contrast={}"],
    "contrast-alone": ["peers.successes=1", "peers.failures=1", "objective.contrast={}", "objective.grpo_weight=0"],
    "blend": ["peers.recipe='one_context'", "objective.grpo_weight=0.9"],
    "grpo": ["objective.kind='grpo'"],
    "sft": ["objective.kind='sft'"],
    **{f"mopd-{rate}": [f"optimizer.learning_rate={rate}", "steps=5"] for rate in ("1e-7", "1e-6", "1e-5", "1e-4")},
    "unbounded": [
        *("peers.successes=2", "peers.failures=1", "optimizer.fall_share=0", "optimizer.drift_nats=0"),
        *("lessons.pause=false", "preflight.action='off'"),
    ],
}
"""Settings of each arm. `contrast-half` is what `mopd` finds, without a preflight, `contrast-alone` the same without
GRPO's half. `mopd-1e-4` and the like try that no learning rate destroys; `unbounded` destroys."""


def run_arm(config: str, arm: str, seed: int, folder: Path, settings: list[str]) -> None:
    """Begin the arm's run, or go on with it. An arm that an alarm stops is told and left."""
    path = folder / f"{arm}-{seed}"
    try:
        if (path / "config.json").exists():
            resume(path)
        else:
            train(load_config(config, [*settings, *ARMS[arm], f"seed={seed}", f"run='{path}'"]))
    except AlarmError as alarm:
        print(f"{path}: stopped: {alarm.got}", flush=True)


def figures_of(path: Path) -> dict[str, Any] | None:
    """What a run's evaluations say; None before its second one."""
    evaluations = read_jsonl(path / "evaluations.jsonl") if (path / "evaluations.jsonl").exists() else []
    if len(evaluations) < 2:
        return None
    before, after = evaluations[0], evaluations[-1]
    mean = mean_key(after)
    gain, (low, high) = paired_gain(before, after)
    return {
        "steps": after["step"],
        "before": before[mean],
        "after": after[mean],
        "gain": gain,
        "low": low,
        "high": high,
        "passed": after[mean.replace("mean", "pass")],
        "tokens": (before["completion_tokens_mean"], after["completion_tokens_mean"]),
    }


def print_table(folder: Path, arms: list[str], seeds: list[int]) -> None:
    """One line a run, and the mean gain of each arm over its seeds."""
    print(f"{'arm':12} seed steps  before  after    gain  95 % interval     pass@k  tokens")
    for arm in arms:
        found = {seed: figures for seed in seeds if (figures := figures_of(folder / f"{arm}-{seed}")) is not None}
        for seed, row in found.items():
            print(
                f"{arm:12} {seed:4} {row['steps']:5} {row['before']:7.3f} {row['after']:6.3f} {row['gain']:+7.3f}"
                f"  [{row['low']:+.3f}, {row['high']:+.3f}] {row['passed']:7.3f}"
                f"  {row['tokens'][0]:.0f} -> {row['tokens'][1]:.0f}"
            )
        if len(found) > 1:
            gains = [row["gain"] for row in found.values()]
            mean = math.fsum(gains) / len(gains)
            print(f"{arm:12} mean of {len(gains)} seeds: {mean:+.3f} (from {min(gains):+.3f} to {max(gains):+.3f})")


def print_leads(folder: Path, arms: list[str], seeds: list[int], other: str) -> None:
    """How far each arm ends ahead of another one, paired by problem, seed by seed."""
    for arm in arms:
        for seed in seeds if arm != other else ():
            ends = [folder / f"{name}-{seed}" for name in (other, arm)]
            if all(figures_of(end) for end in ends):
                lead, (low, high) = paired_gain(*(read_jsonl(end / "evaluations.jsonl")[-1] for end in ends))
                print(f"{arm} ahead of {other}, seed {seed}: {lead:+.3f} [{low:+.3f}, {high:+.3f}]")


def main() -> None:
    """Run the arms asked for, one after another."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default=str(Path(__file__).parents[1] / "configs" / "demo-code.toml"))
    parser.add_argument("--folder", type=Path, default=Path("runs/steady"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="overrides for every arm")
    parser.add_argument("--table", action="store_true", help="print what there is, run nothing")
    parser.add_argument("--against", choices=list(ARMS), help="tell how far each arm ends ahead of this one")
    options = parser.parse_args()
    for seed in options.seeds:
        for arm in options.arms if not options.table else ():
            run_arm(options.config, arm, seed, options.folder, options.set)
    print_table(options.folder, options.arms, options.seeds)
    if options.against:
        print_leads(options.folder, options.arms, options.seeds, options.against)


if __name__ == "__main__":
    main()
