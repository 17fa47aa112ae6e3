"""What `mopd estimate` predicts beside what a run really takes: peak memory, and seconds a step.

    python benchmarks/estimate.py [NAME ...]

Each setting is a run of two steps in a process of its own (the optimiser's moments come with the first). Every rollout
gets a lesson, whatever it says, so that the work is what is estimated. Memory is the run's own metric memory/peak_gib;
seconds are wall time of the second step, so that they mean little beside other processes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from mopd import load_config
from mopd.estimating.estimate import Estimator, Needs

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "configs" / "smollm2-tool-calls.toml"
SMOLLM2 = ROOT / "models" / "SmolLM2-135M-Instruct"

ALWAYS = (
    *("preflight.action='off'", "evaluation.contexts_every=0", "evaluation.rollouts=1", "problems.held_out=2"),
    *("problems.size=40", "peers.recipe='fixed'", "peers.require_success=false", "peers.truncated_failures=true"),
    *("lessons.pause=false", "compute.threads=1", "steps=2", "problems_per_step=4", "group_size=4"),
    *("sampling.completion_tokens=24", "alarms.action='off'"),
)

SETTINGS: dict[str, tuple[str, ...]] = {
    "default": (),
    "microbatch 256": ("compute.microbatch_tokens=256",),
    "microbatch 2048": ("compute.microbatch_tokens=2048",),
    "longer, larger groups": ("group_size=8", "sampling.completion_tokens=64", "problems_per_step=2"),
    "live teacher": ("teacher.kind='live'",),
    "grpo": ("objective.kind='grpo'", "rewards.functions=['estimate:varied']"),
    "llama 75 M": ("student=llama",),
    "vocabulary of 150,000": ("student=wide",),
    "external teacher": ("student=llama", "teacher.kind='external'", f"teacher.model='{SMOLLM2}'"),
}


def varied(completions: list[Any], **columns: Any) -> list[float]:
    """A reward function under which rollouts of a group differ, so that each has an advantage."""
    return [float(index % 2) for index in range(len(completions))]


def made_student(kind: str, folder: Path) -> Path:
    """A Llama with random weights behind SmolLM2's tokenizer: of 75 M parameters, or with a vocabulary of 150,000."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    shape: dict[str, Any] = (
        {"vocab_size": 49_152, "hidden_size": 640, "intermediate_size": 1_760, "num_hidden_layers": 10}
        if kind == "llama"
        else {"vocab_size": 150_000, "hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 6}
    )
    config = LlamaConfig(
        **shape,
        num_attention_heads=shape["hidden_size"] // 64,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(SMOLLM2).save_pretrained(folder)
    return folder


def measured(overrides: list[str], run: Path) -> dict[str, float]:
    """The metrics of a run's second step. Raises RuntimeError where the run ended otherwise."""
    code = (
        "import sys; from mopd import load_config, train; config = load_config(sys.argv[1], sys.argv[2:]); "
        "train(config.model_copy(update={'warmup': None}), quiet=True)"
    )
    path = os.pathsep.join(filter(None, (str(ROOT / "src"), str(Path(__file__).parent), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, "-c", code, str(CONFIG), *overrides, f"run={run}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found: dict[str, float] = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    if not found["lessons/count"]:
        raise RuntimeError("the measured step learnt nothing, so its memory says nothing")
    return found


def predicted(overrides: list[str]) -> tuple[Needs, dict[str, float]]:
    """What the same run needs at most, and the seconds that its step is expected to take."""
    estimator = Estimator.of(load_config(CONFIG, overrides).model_copy(update={"warmup": None}), "auto")
    return estimator.needs(estimator.config, is_worst=True), estimator.seconds(is_worst=False)


def compare(name: str) -> dict[str, Any]:
    """One line: predicted and measured peak in GiB, and seconds of a step."""
    with tempfile.TemporaryDirectory() as folder:
        overrides = [*ALWAYS, *SETTINGS[name]]
        kind = next((o.removeprefix("student=") for o in overrides if o.startswith("student=")), None)
        overrides = [o for o in overrides if not o.startswith("student=")]
        student = SMOLLM2 if kind is None else made_student(kind, Path(folder) / kind)
        overrides.append(f"student={student}")
        (worst, seconds), real = predicted(overrides), measured(overrides, Path(folder) / "run")
    gib, total = worst.peak / 2**30, sum(seconds.values())
    return {
        "setting": name,
        "predicted_gib": round(gib, 2),
        "measured_gib": round(real["memory/peak_gib"], 2),
        "ratio": round(gib / real["memory/peak_gib"], 2),
        "phase": worst.phase,
        "predicted_s": round(total, 1),
        "measured_s": round(real["time/step_s"], 1),
        "seconds_ratio": round(total / real["time/step_s"], 2),
        "lessons": real["lessons/count"],
        "tokens": real["completion/tokens_mean"],
        "predicted_parts_mib": {part.name: round(part.bytes / 2**20) for part in worst.parts},
        "predicted_phases_s": {phase: round(value, 1) for phase, value in seconds.items()},
        "measured_phases_s": {phase: round(real.get(f"time/{phase}_s", 0), 1) for phase in seconds},
    }


def main() -> None:
    """Print a line for each setting that is asked for, all of them unless told."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(SETTINGS), metavar="NAME")
    for name in parser.parse_args().names:
        print(json.dumps(compare(name)), flush=True)


if __name__ == "__main__":
    main()
