"""Compare methods on the demo: every method trains from the same warmed-up student, on the same problems, per seed.

    python benchmarks/demo_table.py --seeds 0 1 2 [--methods mopd grpo ...] [--set steps=40 ...] [--against grpo]

Prints one JSON line a run (commit, seed, method, mean@8 before and after, paired gain with its 95 % interval,
training seconds), then a table of means over seeds.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from pathlib import Path
from typing import Any

from mopd import load_config, train
from mopd.runs.environment import describe_environment
from mopd.runs.records import mean_key

FIXED = ("peers.successes=2", "peers.failures=1", "context.order='failures_first'", "preflight.action='off'")
"""The paper's recipe, from which the options below depart; what becomes of it is to be seen, whatever the preflight."""

CONTRAST = ("peers.successes=1", "peers.failures=1")
"""One teacher reads a success, the other a failure, as `mopd` finds for itself on the demo."""

METHODS: dict[str, list[str]] = {
    "mopd": ["peers.recipe='auto'"],
    "mopd, one context": ["peers.recipe='one_context'"],
    "mopd (2S1F)": [*FIXED],
    "mopd, peers of other problems": [
        *(*FIXED, "peers.control='unrelated_problem'"),
        *("lessons.pause=false", "alarms.action='off'"),  # a teacher known to be bad
    ],
    "sdpo (1S0F)": [*FIXED, "peers.successes=1", "peers.failures=0"],
    "positive imitation (2S0F)": [*FIXED, "peers.failures=0"],
    "contrast, beta .3": [*CONTRAST, "objective.contrast={ beta = 0.3 }"],
    "contrast, beta 1": [*CONTRAST, "objective.contrast={ beta = 1 }"],
    "contrast as evidence": [*CONTRAST, "objective.contrast={ form = 'advantage' }"],
    "half mopd, half grpo": ["objective.grpo_weight=0.5"],
    "grpo": ["objective.kind='grpo'"],
    "verified sft": ["objective.kind='sft'"],
    "successes_first": [*FIXED, "context.order='successes_first'"],
    "shuffled": [*FIXED, "context.order='shuffled'"],
    "failures suffice": [*FIXED, "peers.require_success=false"],
    "policy random": [*FIXED, "peers.policy='random'"],
    "policy first": [*FIXED, "peers.policy='first'"],
    "forward_kl": [*FIXED, "divergence.kind='forward_kl'"],
    "reverse_kl": [*FIXED, "divergence.kind='reverse_kl'"],
    "sampled_reverse_kl": [*FIXED, "divergence.kind='sampled_reverse_kl'"],
    "teacher frozen": [*FIXED, "teacher.kind='frozen'"],
    "teacher live": [*FIXED, "teacher.kind='live'"],
}


def run_method(name: str, config_path: str, seed: int, settings: list[str]) -> dict[str, Any]:
    """One run's figures."""
    with tempfile.TemporaryDirectory() as folder:
        config = load_config(config_path, [*settings, *METHODS[name], f"seed={seed}", f"run='{folder}/run'"])
        summary = train(config, quiet=True)
    mean = mean_key(summary["after"])
    return {
        "method": name,
        "seed": seed,
        "commit": describe_environment()["commit"],
        "settings": settings,
        "before": summary["before"][mean],
        "after": summary["after"][mean],
        "pass_at_k": summary["after"][mean.replace("mean", "pass")],
        "gain": summary["gain"]["mean"],
        "gain_interval": summary["gain"]["interval"],
        "train_s": summary["seconds"]["train"],
    }


def print_table(results: list[dict[str, Any]]) -> None:
    """Means over seeds; +- is the 95 % half-width over seeds (t distribution), shown from two seeds on."""
    print(f"{'method':32} {'before':>7} {'after':>7} {'gain':>7} {'+-':>6} {'pass@k':>7} {'s':>6}")
    for name in dict.fromkeys(result["method"] for result in results):
        rows = [result for result in results if result["method"] == name]
        means = {k: sum(r[k] for r in rows) / len(rows) for k in ("before", "after", "gain", "pass_at_k", "train_s")}
        half = _half_width([row["gain"] for row in rows])
        print(
            f"{name:32} {means['before']:7.3f} {means['after']:7.3f} {means['gain']:+7.3f} {half:6.3f} "
            f"{means['pass_at_k']:7.3f} {means['train_s']:6.1f}"
        )


def print_leads(results: list[dict[str, Any]], other: str) -> None:
    """How far each method ends ahead of another: the mean over seeds, +- the 95 % half-width, and each seed."""
    ends = {(result["method"], result["seed"]): result["after"] for result in results}
    for name in dict.fromkeys(method for method, _ in ends if method != other):
        leads = [ends[name, seed] - ends[other, seed] for method, seed in ends if method == name]
        told = ", ".join(f"{lead:+.3f}" for lead in leads)
        print(f"{name} ahead of {other}: {math.fsum(leads) / len(leads):+.3f} +- {_half_width(leads):.3f} ({told})")


def broken_promises(results: list[dict[str, Any]]) -> list[str]:
    """What a seed did not keep: base in 0.10-0.50, gain at least 0.30, gain of the control below half of it."""
    broken = []
    control = {r["seed"]: r["gain"] for r in results if r["method"] == "mopd, peers of other problems"}
    for result in (r for r in results if r["method"] == "mopd"):
        seed, gain = result["seed"], result["gain"]
        if not 0.10 <= result["before"] <= 0.50:
            broken.append(f"seed {seed}: base mean@8 {result['before']:.3f} is outside 0.10-0.50")
        if gain < 0.30:
            broken.append(f"seed {seed}: gain {gain:+.3f} is below +0.30")
        if control.get(seed, 0.0) >= gain / 2:
            broken.append(f"seed {seed}: unrelated peers gain {control[seed]:+.3f}, half or more of {gain:+.3f}")
    return broken


def _half_width(values: list[float]) -> float:
    t_95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 8: 2.365, 10: 2.262}
    if len(values) not in t_95:
        return math.nan
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return t_95[len(values)] * math.sqrt(variance / len(values))


def main() -> None:
    """Run the methods asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default=str(Path(__file__).parents[1] / "configs" / "demo.toml"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="overrides for every run")
    parser.add_argument("--against", choices=list(METHODS), help="tell how far each method ends ahead of this one")
    parser.add_argument("--promise", action="store_true", help="fail where the demo's promise is not kept")
    options = parser.parse_args()
    results: list[dict[str, Any]] = []
    for seed in options.seeds:
        for name in options.methods:
            results.append(run_method(name, options.config, seed, options.set))
            print(json.dumps(results[-1]), flush=True)
    print_table(results)
    if options.against:
        print_leads(results, options.against)
    if options.promise and (broken := broken_promises(results)):
        raise SystemExit("\n".join(broken))


if __name__ == "__main__":
    main()
