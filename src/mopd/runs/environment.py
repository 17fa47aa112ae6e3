"""What produced a run's numbers: versions, processor, threads, ranks, commit."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from mopd.parallel.launch import launched


def describe_environment() -> dict[str, Any]:
    """What produced a run's numbers: versions, processor, threads, ranks, commit."""
    import torch

    own = launched()
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "ranks": 1 if own is None else own.size,
        "cuda": torch.version.cuda if torch.cuda.is_available() else None,
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "packages": package_versions(),
        "commit": _commit(),
        "source": hashlib.sha256("\x1f".join(package_source()).encode()).hexdigest()[:16],
    }


PACKAGES = (
    *("mopd", "torch", "transformers", "tokenizers", "safetensors", "numpy", "peft"),
    *("sympy", "latex2sympy2_extended", "pint", "reasoning-gym"),
)


def package_versions() -> dict[str, str | None]:
    """The versions of this package and of those by which its numbers come about."""
    return {name: _version(name) for name in PACKAGES}


def package_source() -> list[str]:
    """The text of every module of this package, so that no list of those that matter can fall behind."""
    root = Path(__file__).parents[1]
    return [path.read_text(encoding="utf-8") for path in sorted(root.rglob("*.py"))]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the source tree this package runs from, with `+changes` where files differ; None outside git."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=12", "--dirty=+changes"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None
