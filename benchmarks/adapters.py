"""Full training, adapters (LoRA) at several learning rates, and an external teacher (OPD), from one warmed-up student.

    python benchmarks/adapters.py --seeds 0 1 2 [--arms "full 5e-5" "lora 5e-4"] [--runs runs/adapters]

SmolLM2 on tool calls, one success in each context (SDPO's recipe, which gains on this task). The teacher of OPD is what
full training made of the same student, reading what the student reads and no peers. Prints a line a run, which is not
run again once it is finished, then the mean over seeds.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import fmean
from typing import Any

from measuring import finished
from mopd import load_config, train
from mopd.config import build_config
from mopd.runs.environment import describe_environment
from mopd.runs.records import mean_key

CONFIG = Path(__file__).parents[1] / "configs" / "smollm2-tool-calls.toml"

ALONE = ("preflight.action='off'", "peers.recipe='fixed'", "peers.successes=1", "peers.failures=0")

ARMS: dict[str, tuple[str, ...]] = {
    "full 5e-5": ("optimizer.learning_rate=5e-5",),
    "lora 2e-4": ("lora.rank=16", "optimizer.learning_rate=2e-4"),
    "lora 5e-4": ("lora.rank=16", "optimizer.learning_rate=5e-4"),
    "lora 1e-3": ("lora.rank=16", "optimizer.learning_rate=1e-3"),
    "lora 2e-3": ("lora.rank=16", "optimizer.learning_rate=2e-3"),
    "opd 5e-5": ("peers.successes=0", "peers.require_success=false", "teacher.kind='external'"),
}


def warmed_up(seed: int, runs: Path, settings: list[str]) -> Path:
    """The student that all arms of a seed begin with."""
    run = runs / f"warm-{seed}"
    if finished(run) is None:
        train(load_config(CONFIG, [*settings, *ALONE, f"seed={seed}", "steps=1"], run=str(run)), fresh=True, quiet=True)
    return run / "checkpoints" / "step-0"


def run_arm(name: str, seed: int, runs: Path, settings: list[str]) -> dict[str, Any]:
    """One run's figures."""
    run, student = runs / f"{name.replace(' ', '-')}-{seed}", warmed_up(seed, runs, settings)
    overrides = [*settings, *ALONE, *ARMS[name], f"seed={seed}", f"student='{student}'"]
    if name.startswith("opd"):
        full = runs / f"full-5e-5-{seed}"
        if (ended := finished(full)) is None:
            raise SystemExit("opd's teacher is what the arm 'full 5e-5' ends as: run that before")
        overrides.append(f"teacher.model='{full / 'checkpoints'}/step-{ended['steps']}'")
    values = load_config(CONFIG, overrides).model_dump(mode="json") | {"warmup": None, "run": str(run)}
    summary = finished(run) or train(build_config(values), fresh=True, quiet=True)
    return {
        "arm": name,
        "seed": seed,
        "commit": json.loads((run / "environment.json").read_text()).get("commit"),
        "before": summary["before"][mean_key(summary["before"])],
        "after": summary["after"][mean_key(summary["after"])],
        "gain": summary["gain"]["mean"],
        "gain_interval": summary["gain"]["interval"],
        "train_s": round(summary["seconds"]["train"]),
    }


def main() -> None:
    """Run the arms asked for, those that are finished excepted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--runs", type=Path, default=Path("runs/adapters"))
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="overrides for every run")
    options = parser.parse_args()
    print(json.dumps({"environment": describe_environment(), "settings": options.set}), flush=True)
    gains: dict[str, list[float]] = {name: [] for name in options.arms}
    for seed in options.seeds:
        for name in options.arms:
            found = run_arm(name, seed, options.runs.absolute(), options.set)
            gains[name].append(found["gain"])
            print(json.dumps(found), flush=True)
    for name, values in gains.items():
        print(f"{name:12} {fmean(values):+.3f}  of {len(values)} seeds: {', '.join(f'{v:+.3f}' for v in values)}")


if __name__ == "__main__":
    main()
