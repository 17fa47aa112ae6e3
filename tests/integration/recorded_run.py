"""A run whose gradients are kept: `python recorded_run.py CONFIG FOLDER REFERENCE [KEY=VALUE ...]`, perhaps under a
launcher.

`FOLDER/gradients-N.safetensors` is the whole gradient before update N, whichever way ranks hold it. REFERENCE is `-`,
or a run with a checkpoint of each step: then each step begins with the state of its checkpoint.
"""

from __future__ import annotations

import sys
from pathlib import Path

from safetensors.torch import save_file

from mopd import load_config, train
from mopd.learning.optimizer import AdamW
from mopd.parallel.launch import is_first
from mopd.parallel.sharded import whole
from mopd.runs.checkpoint import load_checkpoint
from mopd.training.step import Stepper


def is_even(completions, **_):
    """1 for a completion with an even number of characters: a student of any kind has successes and failures."""
    return [float(len(turns[-1]["content"]) % 2 == 0) for turns in completions]


def record_gradients(folder):
    """Keep the gradient of each update, before it is clipped; not those of a warm-up, whose updates have no bounds."""
    update, count = AdamW.update, 0

    def recorded(self, learning_rate, most_fall=None):
        nonlocal count
        if most_fall is None:
            return update(self, learning_rate)
        found = {key: whole(source.grad) for key, source in zip(self.names, self.sources, strict=True)}
        if is_first():
            Path(folder).mkdir(parents=True, exist_ok=True)
            save_file({key: tensor.clone() for key, tensor in found.items()}, f"{folder}/gradients-{count}.safetensors")
        count += 1
        return update(self, learning_rate, most_fall)

    AdamW.update = recorded


def follow(reference):
    """Let each step begin with the state that the reference had."""
    step = Stepper.step

    def following(self, number, clock):
        path = Path(reference) / "checkpoints" / f"step-{number}"
        load_checkpoint(path, self.setup.student, self.teacher, self.learner.optimizer)
        return step(self, number, clock)

    Stepper.step = following


def main() -> None:
    """Train under this configuration."""
    name, folder, reference, *overrides = sys.argv[1:]
    config = load_config(name, [*overrides, f"run='{folder}/run'"])
    record_gradients(folder)
    if reference != "-":
        follow(reference)
    train(config, reward_functions=is_even if config.warmup is None else None, quiet=True)


if __name__ == "__main__":
    main()
