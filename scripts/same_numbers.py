"""Prove that a change of structure changes no number: short runs of two versions of the source, compared bit for bit.

    python scripts/same_numbers.py --against COMMIT [--keep FOLDER]

The source of COMMIT and the source of this checkout each train the cases below, one thread each, from an empty cache.
Weights, teacher, optimiser, every recorded rollout, every evaluation and every metric but durations must be equal. The
SmolLM2 case is left out, and said to be, where `make smollm2` has not fetched the model. With `--keep` the runs of
COMMIT are kept in a folder and found there the next time, which halves the work of comparing again.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]
SHORT_DEMO = ("configs/demo.toml", "warmup.steps=40", "problems.held_out=16", "evaluation.contexts_every=2")
CASES: dict[str, tuple[str, ...]] = {
    "demo": (*SHORT_DEMO, "steps=4", "checkpoint.every=2", "evaluation.every=2"),
    "demo-grpo": (*SHORT_DEMO, "steps=3", "objective.kind='grpo'", "optimizer.updates_per_step=2"),
    "demo-reverse-kl": (
        *SHORT_DEMO,
        "steps=3",
        "divergence.kind='reverse_kl'",
        "divergence.k=5",
        "teacher={ kind = 'ema', rate = 0.5 }",
    ),
    "demo-bfloat16": (*SHORT_DEMO, "steps=2", "warmup.steps=5", "compute.dtype='bfloat16'", "evaluation.rollouts=2"),
    "smollm2": (
        *("configs/smollm2-tool-calls.toml", "compute.threads=1", "steps=2"),
        *("problems_per_step=3", "group_size=4", "problems.held_out=4", "evaluation.rollouts=2", "warmup.steps=2"),
        *("warmup.context_steps=2", "warmup.context_problems=8", "warmup.context_rollouts=2", "peers.failures=1"),
        *("peers.require_success=false", "evaluation.contexts_every=1"),
    ),
}
"""Configuration and overrides by name; between them they touch warm-ups, evaluation, reading and both data types."""


def unpack(commit: str, folder: Path) -> Path:
    """The files of a commit, in `folder`."""
    archive = subprocess.run(["git", "-C", str(HERE), "archive", commit], stdout=subprocess.PIPE, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    return folder


def train(tree: Path, name: str, run: Path, cache: Path) -> None:
    """One case under the source in `tree`."""
    config, *overrides = CASES[name]
    command = [sys.executable, "-m", "mopd", "train", str(tree / config), *overrides, f"run='{run}'", "--quiet"]
    environment = os.environ | {
        **{"PYTHONPATH": str(tree / "src"), "MOPD_CACHE": str(cache), "OMP_NUM_THREADS": "1"},
        **{"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"},
    }
    done = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} under {tree} ended with exit code {done.returncode}:\n{done.stderr[-2000:]}")


def differences(ours: Path, theirs: Path) -> Iterator[str]:
    """Each file of two runs that is not the same, or is missing in one."""
    tensors = {path.relative_to(run) for run in (ours, theirs) for path in run.glob("checkpoints/*/*.safetensors")}
    for name in sorted(tensors | {Path("groups.jsonl"), Path("evaluations.jsonl")}):
        found = [(run / name).read_bytes() if (run / name).is_file() else None for run in (ours, theirs)]
        if found[0] is None or found[1] is None:
            yield f"{name} is missing"
        elif found[0] != found[1]:
            yield f"{name} differs"
    for log in ("metrics.jsonl", "warmup.json"):
        rows = determined(ours / log), determined(theirs / log)
        names = [{key for row in side for key in row} for side in rows]
        added = names[0] ^ names[1]
        for key in sorted(added):
            print(f"{log}: {key} is in one of the two alone")
        if _without(rows[0], added) != _without(rows[1], added):
            yield f"{log} differs"


def _without(rows: list[dict[str, Any]], keys: set[str]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key not in keys} for row in rows]


def determined(path: Path) -> list[dict[str, Any]]:
    """The JSON objects of a file, one or many, without durations and without what a cache happened to hold."""
    text = path.read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else [json.loads(text)]
    return [
        {k: v for k, v in row.items() if not k.startswith(("time/", "memory/")) and k != "is_cached"} for row in rows
    ]


def main() -> None:
    """Compare; exit with 1 where a number differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", required=True, metavar="COMMIT")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where runs of COMMIT are kept and looked for")
    options = parser.parse_args()
    found = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        kept = (options.keep or folder / "before").resolve()
        tree = unpack(options.against, folder / "source")
        for name in options.cases:
            if name == "smollm2" and not (HERE / "models" / "SmolLM2-135M-Instruct").is_dir():
                print("smollm2: left out, since `make smollm2` has not fetched the model")
                continue
            if not (kept / name / "summary.json").exists():
                train(tree, name, kept / name, folder / "cache-before")
            train(HERE, name, folder / "now" / name, folder / "cache-now")
            which = list(differences(folder / "now" / name, kept / name))
            found += len(which)
            print(f"{name}: {'; '.join(which) or 'equal'}", flush=True)
    raise SystemExit(1 if found else 0)


if __name__ == "__main__":
    main()
