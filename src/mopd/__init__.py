"""mopd: multi-rollout on-policy distillation (arXiv 2605.12652).

A language model attempts each problem several times; verifiers say which attempts succeeded; then the same model,
shown what its successful and failed peers wrote, becomes the teacher that corrects every attempt token by token.

    from mopd import load_config, train

    config = load_config("configs/demo.toml", ["seed=1"])
    summary = train(config)
    print(summary["before"]["mean_at_8"], summary["after"]["mean_at_8"])
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mopd.config import Config as Config
    from mopd.config import load_config as load_config
    from mopd.training.loop import resume as resume
    from mopd.training.loop import train as train

__version__ = "0.1.0"
__all__ = ["Config", "load_config", "resume", "train"]

_HOMES = {"Config": "mopd.config", "load_config": "mopd.config", "resume": "mopd.training", "train": "mopd.training"}


def __getattr__(name: str) -> Any:
    """Public names are imported when first used: `mopd config` need not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'mopd' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
