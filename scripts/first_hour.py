"""What a new user does, timed: the wheel into a fresh environment, then each starter, from `mopd init` to a model.

    python scripts/first_hour.py [--kinds reward math ...] [--student FOLDER] [--data FOLDER] [--mopd FILE]

Everything happens in an empty folder with nothing of this repository but the wheel. gsm8k.jsonl and mbpp.jsonl are
copied from --data; a kind whose file is not there is left out, and told. Prints minutes and figures for each kind.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

from mopd.runs.records import mean_key

ROOT = Path(__file__).parents[1]
FILES = {"gsm8k": "gsm8k.jsonl", "mbpp": "mbpp.jsonl"}


def timed(words: list[str], folder: Path, out: Path | None = None) -> float:
    """Run a command to its end; its minutes. Its output is in `out`, or shown where it fails."""
    began = time.perf_counter()
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    if out is not None:
        out.write_text(done.stdout)
    return (time.perf_counter() - began) / 60


def installed(folder: Path) -> Path:
    """A fresh environment with the wheel and what it depends on; its `mopd`."""
    timed([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)], folder)
    venv.create(folder / "environment", with_pip=True)
    (wheel,) = folder.glob("*.whl")
    pip = [str(folder / "environment" / "bin" / "pip"), "install", "--quiet"]
    minutes = timed([*pip, "--constraint", str(ROOT / "constraints.txt"), str(wheel)], folder)
    print(f"pip install: {minutes:.1f} minutes", flush=True)
    return folder / "environment" / "bin" / "mopd"


def first_run(mopd: Path, kind: str, student: Path, folder: Path, file: Path | None) -> None:
    """From `mopd init` to a trained model that writes, with its file of problems; a line of minutes and figures."""
    folder.mkdir()
    if file is not None:
        shutil.copy(file, folder)
    timed([str(mopd), "init", kind, "--student", str(student)], folder, folder / "mine.toml")
    looking = timed([str(mopd), "problems", "mine.toml", "--json", "problems.json"], folder)
    training = timed([str(mopd), "train", "mine.toml"], folder)
    writing = timed([str(mopd), "generate", "runs/mine", "What is 2 + 2?", "-n", "2"], folder)
    summary = json.loads((folder / "runs" / "mine" / "summary.json").read_text())
    before, after = (summary[when][mean_key(summary[when])] for when in ("before", "after"))
    recipe = (summary.get("preflight") or {}).get("name") or "-"
    print(
        f"{kind:16} {training:5.1f} minutes of training ({looking:.1f} for its problems, {writing:.1f} to write)  "
        f"{before:.3f} -> {after:.3f}  {recipe}" + (" nothing learnt" if summary.get("nothing_learnt") else ""),
        flush=True,
    )


def main() -> None:
    """Install once, then run the kinds one after another."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kinds = ["reward", "math", "multiple_choice", "tool_use", "reasoning_gym", "code", "gsm8k", "mbpp"]
    parser.add_argument("--kinds", nargs="+", choices=kinds, default=kinds)
    parser.add_argument("--student", type=Path, default=ROOT / "models" / "SmolLM2-135M-Instruct")
    parser.add_argument("--data", type=Path, default=ROOT / "data")
    parser.add_argument("--mopd", type=Path, help="an installed mopd, instead of a fresh environment")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        mopd = options.mopd.resolve() if options.mopd else installed(folder)
        for kind in options.kinds:
            name = FILES.get(kind)
            file = next(options.data.rglob(name), None) if name else None
            if name and file is None:
                print(f"{kind:16} left out: no {name} in {options.data}", flush=True)
            else:
                first_run(mopd, kind, options.student.resolve(), folder / kind, file)


if __name__ == "__main__":
    main()
