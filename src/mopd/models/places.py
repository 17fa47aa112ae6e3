"""Where a student's files can be: what transformers opens of a folder, and the hub with its cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mopd.core.errors import StudentError

OPENED = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""What transformers opens of a folder: the first of these that is there."""


def is_path(name: str) -> bool:
    """Whether `name` can only be meant as a path: hub ids have one slash at most and begin with a letter or digit."""
    return name.count("/") > 1 or not name[:1].isalnum() or name.endswith("/")


HUB_HELP = (
    "check the id; where the hub cannot be reached, fetch the model elsewhere (`hf download ID --local-dir DIR`) and "
    "set student to that folder, or to a .gguf file"
)


def from_hub(name: str, ask: Callable[[], Any]) -> Any:
    """What the hub or its cache answers. transformers and the hub's client each raise errors of their own."""
    try:
        return ask()
    except Exception as error:
        raise StudentError(
            "a student is `builtin:NAME`, a folder (with a config.json), a .gguf file, or a model that the hub or its "
            "cache has",
            f"{name}: {first_lines(error)}",
            HUB_HELP,
        ) from error


def first_lines(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
