"""Kill a run again and again, resume it, and compare what it leaves with an undisturbed run."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path

CONFIG = Path(__file__).parents[1] / "configs" / "tiny.toml"


def command(run: Path) -> list[str]:
    """What a user would type: begin the run, or continue it where it has begun."""
    if (run / "config.json").exists():
        return [sys.executable, "-m", "mopd", "train", "--resume", str(run), "--quiet"]
    overrides = [f"run='{run}'", "checkpoint.every=1", "evaluation.every=3"]
    return [sys.executable, "-m", "mopd", "train", str(CONFIG), *overrides, "--quiet"]


def finish(run: Path) -> float:
    """Let a run go to its end; seconds it took."""
    began = time.monotonic()
    done = subprocess.run(command(run), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return time.monotonic() - began


def kill_when(run: Path, is_moment, limit_s: float = 120.0) -> bool:
    """Start or continue a run and SIGKILL it at the moment; False where it ended first."""
    process = subprocess.Popen(command(run), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    began = time.monotonic()
    while process.poll() is None and time.monotonic() - began < limit_s:
        if is_moment(time.monotonic() - began):
            process.kill()
            process.communicate()
            return True
        time.sleep(0.0005)
    if process.poll() is None:
        process.kill()
        raise AssertionError(f"the run neither ended nor reached the moment within {limit_s} s")
    assert process.returncode == 0, process.communicate()[1].decode()
    process.communicate()
    return False


def while_checkpointing(run: Path):
    """A moment at which a checkpoint is half written."""
    return lambda _: any((run / "checkpoints").glob(".step-*.new/*"))


def after_bytes(run: Path, size: int):
    """The moment the group log exceeds a size: amid training, whatever the machine's speed."""
    log = run / "groups.jsonl"
    return lambda _: log.exists() and log.stat().st_size >= size


def random_moment(run: Path, rng: random.Random, duration_s: float, log_bytes: int):
    """A moment of one of three kinds: a half-written checkpoint, a point of the log, or a time."""
    kind = rng.choice(["checkpoint", "log", "time"])
    if kind == "checkpoint":
        return while_checkpointing(run)
    if kind == "log":
        written = (run / "groups.jsonl").stat().st_size if (run / "groups.jsonl").exists() else 0
        return after_bytes(run, written + rng.randrange(1, max(2, log_bytes // 3)))
    moment = rng.uniform(0.0, duration_s)
    return lambda elapsed: elapsed >= moment


def survive(reference: Path, folder: Path, kills: int, seed: int, duration_s: float) -> list[Path]:
    """Runs in `folder` that were killed `kills` times in all, each then finished."""
    rng = random.Random(seed)
    log_bytes = (reference / "groups.jsonl").stat().st_size
    runs, done = [folder / "run-0"], 0
    while done < kills:
        if kill_when(runs[-1], random_moment(runs[-1], rng, duration_s, log_bytes)):
            done += 1
        else:
            runs.append(folder / f"run-{len(runs)}")
    finish(runs[-1])
    return runs


def assert_equal_runs(run: Path, reference: Path) -> None:
    """Bit for bit: weights, teacher, optimiser; every metric but durations; every group and evaluation."""
    newest = sorted((reference / "checkpoints").glob("step-*"), key=lambda p: int(p.name[5:]))[-1]
    for name in ("model.safetensors", "teacher.safetensors", "optimizer.safetensors"):
        ours, theirs = run / "checkpoints" / newest.name / name, newest / name
        assert ours.read_bytes() == theirs.read_bytes(), f"{ours} differs from {theirs}"
    assert without_durations(run) == without_durations(reference)
    for name in ("groups.jsonl", "evaluations.jsonl", *kept_completions(reference)):
        assert (run / name).read_bytes() == (reference / name).read_bytes(), f"{run / name} differs"
    assert kept_completions(run) == kept_completions(reference) != []
    summaries = [json.loads((path / "summary.json").read_text()) for path in (run, reference)]
    for key in ("before", "after", "gain"):
        assert summaries[0][key] == summaries[1][key]


def kept_completions(run: Path) -> list[str]:
    """The files of held-out completions, and whatever lies beside them."""
    return sorted(str(path.relative_to(run)) for path in (run / "evaluations").iterdir())


def without_durations(run: Path) -> list[dict]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if not key.startswith(("time/", "memory/"))} for row in rows]
