"""What the choices of `[compute]` hold in memory, and what they do to learning.

    python benchmarks/memory.py --part bytes
    python benchmarks/memory.py --part learning --seeds 0 1 2 --runs runs/memory

`bytes` adds up the tensors that student, optimiser, teacher and engine hold at an update, on a random model of 15
million parameters. `learning` trains the demo from one warmed-up student a seed under each choice, all with products
in bfloat16; runs that are finished are not run again. On a processor without bfloat16 `--no-onednn` is four times as
fast: torch's own loops multiply there.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from torch import Tensor

from measuring import finished
from mopd import load_config, train
from mopd.config import Config, build_config
from mopd.learning.learner import Learner
from mopd.learning.teacher import LocalTeacher
from mopd.models.embedded import EMBEDDED
from mopd.models.student import load_student
from mopd.models.weights import full_weights
from mopd.rollouts.choosing import open_engine
from mopd.scoring.rows import Row
from mopd.scoring.scorer import Scorer

CHOICES: dict[str, dict[str, str]] = {
    "all float32 (default)": {},
    "weights bfloat16": {"weights": "bfloat16"},
    "weights offloaded": {"weights": "offloaded"},
    "moments 8bit": {"moments": "8bit"},
    "teacher bfloat16": {"teacher": "bfloat16"},
    "teacher offloaded": {"teacher": "offloaded"},
    "weights and teacher bfloat16, moments 8bit": {"weights": "bfloat16", "teacher": "bfloat16", "moments": "8bit"},
}


def chosen(choice: dict[str, str]) -> list[str]:
    """Overrides for products in bfloat16 and a choice."""
    return ["compute.dtype='bfloat16'", *(f"compute.{key}='{value}'" for key, value in choice.items())]


def held_bytes(config: Config, model: Any, tokenizer: Any) -> dict[str, float]:
    """Bytes a parameter by part, at an update, of a student that is made of a float32 model."""
    student = load_student(config.student, config.seed, config.compute, passed=(model, tokenizer))
    own = student.model
    count = sum(parameter.numel() for parameter in own.parameters())
    scorer = Scorer.of(config.compute, student.dtype)
    engine = open_engine(config, student)
    teacher = LocalTeacher(own, config.teacher, scorer, 1.0, config.compute.teacher, config.seed)
    optimizer = Learner(own, config, scorer).optimizer
    row = Row(tuple(range(8, 16)), (9, 10, 11), (True,) * 3)
    scorer.backward(own, [row], lambda pack: lambda part, found: found.whole().square().mean())
    gradients = [parameter.grad for parameter in own.parameters() if parameter.grad is not None]
    sizes = {"gradients": _bytes(gradients)}
    optimizer.update(1e-6, math.inf)
    masters = full_weights(own)
    parts: dict[str, Iterable[Tensor]] = {
        "weights": own.parameters(),
        "masters": [masters[name] for name, now in own.named_parameters() if masters[name] is not now],
        "moments": [value for state in optimizer.inner.state.values() for value in state.values()],
        "before the update": optimizer._before,
        "teacher": teacher.model.parameters(),
        "engine's copy": [] if engine.model is own else engine.model.parameters(),  # type: ignore[attr-defined]
    }
    sizes |= {name: _bytes(tensors) for name, tensors in parts.items()}
    return {name: size / count for name, size in sizes.items()}


def _bytes(tensors: Iterable[Tensor]) -> int:
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())


def random_model(layers: int = 6, width: int = 384, vocabulary: int = 8192) -> tuple[Any, Any]:
    """A Llama of random weights, 15 M parameters as it stands, with a tokenizer of characters."""
    from transformers import LlamaConfig, LlamaForCausalLM

    _, tokenizer = EMBEDDED["digits"].build(seed=0)
    shape = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        tie_word_embeddings=True,
        max_position_embeddings=512,
    )
    return LlamaForCausalLM(shape), tokenizer


def show_bytes() -> None:
    """Print the bytes a parameter of each choice."""
    print("| choice | weights | masters | gradients | moments | before | teacher | engine | all |")
    for name, choice in CHOICES.items():
        sizes = held_bytes(build_config({}, chosen(choice)), *random_model())
        order = ("weights", "masters", "gradients", "moments", "before the update", "teacher", "engine's copy")
        cells = [f"{sizes[part]:.2f}" for part in order]
        print(f"| {name} | {' | '.join(cells)} | {sum(sizes.values()):.2f} |", flush=True)


def show_learning(runs: Path, seeds: list[int], steps: int) -> None:
    """Train the demo under each choice and print success before and after, and the gain's mean over seeds."""
    unmeasured = ["preflight.action='off'", "peers.recipe='fixed'", "lessons.pause=false", "checkpoint.keep=9"]
    gains: dict[str, list[float]] = {name: [] for name in CHOICES}
    for seed in seeds:
        common = [f"seed={seed}", *unmeasured]
        warm = runs / f"warm-{seed}"
        if finished(warm) is None:
            train(load_config("configs/demo.toml", [*common, "steps=1"], run=str(warm)), fresh=True, quiet=True)
        for number, (name, choice) in enumerate(CHOICES.items()):
            student = f"student='{warm / 'checkpoints' / 'step-0'}'"
            run = runs / f"choice-{number}-{seed}"
            config = load_config("configs/demo.toml", [*common, *chosen(choice), student, f"steps={steps}"])
            values = config.model_dump(mode="json") | {"warmup": None, "run": str(run)}
            summary = finished(run) or train(build_config(values), fresh=True, quiet=True)
            before, after = (summary[when]["mean_at_8"] for when in ("before", "after"))
            gains[name].append(after - before)
            print(f"seed {seed}  {name}: {before:.3f} -> {after:.3f}  {summary['seconds']['train']:.0f} s", flush=True)
    print("| choice | gain, mean over seeds | standard error |")
    for name, found in gains.items():
        error = stdev(found) / math.sqrt(len(found)) if len(found) > 1 else math.nan
        print(f"| {name} | {fmean(found):+.3f} | {error:.3f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("bytes", "learning"), required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--no-onednn", dest="onednn", action="store_false", help="torch's own products in bfloat16")
    parser.add_argument("--runs", type=Path, default=Path("runs/memory"))
    options = parser.parse_args()
    if options.part == "bytes":
        show_bytes()
    else:
        torch.backends.mkldnn.enabled = options.onednn  # type: ignore[assignment]
        show_learning(options.runs.absolute(), options.seeds, options.steps)


if __name__ == "__main__":
    main()
