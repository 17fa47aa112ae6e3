"""A run whose gradients are kept: `python recorded_run.py CONFIG FOLDER [KEY=VALUE ...]`, perhaps under a launcher.

`FOLDER/gradients-N.safetensors` is the whole gradient before update N, whichever way ranks hold it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from safetensors.torch import save_file

from mopd import load_config, train
from mopd.learning.optimizer import AdamW
from mopd.parallel.launch import is_first
from mopd.parallel.sharded import whole


def is_even(completions, **_):
    """1 for a completion with an even number of characters: a student of any kind has successes and failures."""
    return [float(len(completion) % 2 == 0) for completion in completions]


def main() -> None:
    """Train, and keep each gradient before it is clipped."""
    name, folder, *overrides = sys.argv[1:]
    config = load_config(name, [*overrides, f"run='{folder}/run'"])
    update, count = AdamW.update, 0

    def recorded(self, learning_rate, most_fall=None):
        nonlocal count
        if most_fall is None:  # of a warm-up, whose updates have no bounds
            return update(self, learning_rate)
        found = {key: whole(source.grad) for key, source in zip(self.names, self.sources, strict=True)}
        if is_first():
            Path(folder).mkdir(parents=True, exist_ok=True)
            save_file({key: tensor.clone() for key, tensor in found.items()}, f"{folder}/gradients-{count}.safetensors")
        count += 1
        return update(self, learning_rate, most_fall)

    AdamW.update = recorded
    train(config, reward_functions=is_even if config.warmup is None else None, quiet=True)


if __name__ == "__main__":
    main()
