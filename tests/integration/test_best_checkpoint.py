"""Which checkpoints a run keeps."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

TINY = str(Path(__file__).parents[1] / "configs" / "tiny.toml")


@pytest.mark.long
def test_the_best_checkpoint_stays_beside_the_newest(tmp_path):
    run = tmp_path / "run"
    keys = ["evaluation.every=1", "checkpoint.keep_best=true", "checkpoint.keep=1", "checkpoint.every=100", "steps=5"]
    subprocess.run([sys.executable, "-m", "mopd", "train", TINY, *keys, f"run={run}", "--quiet"], check=True)
    summary = json.loads((run / "summary.json").read_text())
    found = {path.name for path in (run / "checkpoints").iterdir()}
    assert found == {"step-5", Path(summary["best_checkpoint"]).name}
    rows = [json.loads(line) for line in (run / "evaluations.jsonl").read_text().splitlines()][1:]
    best = max(rows, key=lambda row: (row["mean_at_8"], row["step"]))
    assert summary["best_checkpoint"] == f"checkpoints/step-{best['step']}"
