"""What produced a run's numbers: versions, processor, threads, ranks, commit."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from mopd.core.errors import RunError
from mopd.core.files import dump_json, write_atomically
from mopd.parallel.launch import launched
from mopd.runs.progress import say
from mopd.runs.reading import read_object


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


def changed_environment(path: Path) -> dict[str, Any]:
    """What numbers are computed with now, where it is not what a run's environment.json says; said, to be recorded."""
    now = describe_environment()
    try:
        before = read_object(path, "remove it")
    except RunError:
        before = {}
    if not before:
        say(f"warning: {path} is missing or damaged: what the first steps were computed with is no longer known")
        write_atomically(path, dump_json(now))
        return {"environment": [None, now]}
    old, new = ({"ranks": 1, **found, **found.get("packages", {})} for found in (before, now))
    changed = {k: [old.get(k), new.get(k)] for k in new if k not in ("packages", "commit") and old.get(k) != new[k]}
    if changed:
        shown = ", ".join(f"{name} {was} is now {is_now}" for name, (was, is_now) in changed.items())
        say(f"warning: {shown}; figures from here on may differ from those of an undisturbed run in the last digits")
    return changed


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
