"""What a run directory says to whoever reads it: its configuration, inputs, preflight and summary."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mopd.config import Config
from mopd.core.errors import RunError
from mopd.runs import checkpoint
from mopd.runs.directory import is_run_config
from mopd.runs.inputs import Inputs


def read_config(path: Path) -> Config:
    """The configuration of the run at `path`. Raises RunError."""
    file, must = path / "config.json", "a run directory holds the config.json it began with"
    newest = checkpoint.latest_checkpoint(path / "checkpoints")
    if not file.exists() and newest is None:
        raise RunError(
            must,
            f"{path}: no config.json",
            "check the path; a run that was ended before it had begun is started again with `mopd train CONFIG`",
        )
    try:
        return Config.model_validate_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(
            must,
            f"{file}: {_first_line(error)}",
            "restore it from a backup" + (f"; {newest} can be a new run's student" if newest else ""),
        ) from error


def read_inputs(path: Path) -> Inputs:
    """What the run at `path` depended on when it began; empty where it was not recorded. Raises RunError."""
    return read_object(path / "inputs.json", "restore it, or remove it: what the run depends on is then not compared")


def moment_of(path: Path) -> str:
    """The moment at which the run at `path` began, which templates write as the date; now, where it is not known."""
    return str(read_inputs(path).get("began") or datetime.now().isoformat())


def read_preflight(path: Path) -> dict[str, Any]:
    """preflight.json of the run at `path`; empty where there is none. Raises RunError."""
    return read_object(path / "preflight.json", "restore it from a backup: it holds the recipe that the run goes by")


def read_summary(path: Path) -> dict[str, Any]:
    """summary.json of a finished run, with where the run is now. Raises RunError."""
    file, do = path / "summary.json", "remove it; `mopd train --resume` then writes it again"
    found = read_object(file, do)
    if "steps" not in found:
        raise RunError("summary.json of a finished run can be read", f"{file} is of no finished run", do)
    return {**found, "run": str(path)}


def is_run(path: Path) -> bool:
    """Whether `path` is a run directory, perhaps a damaged one (and not a model folder)."""
    marks = [(path / name).exists() for name in ("config.json", "environment.json", "checkpoints")]
    return is_run_config(path / "config.json") or sum(marks) > 1


def read_object(file: Path, do: str) -> dict[str, Any]:
    """The JSON object in a file; empty where there is no file. Raises RunError."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError(f"a {type(found).__name__}")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise RunError(f"{file.name} of a run can be read", f"{file}: {error}", do) from error
    return found


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")
    return str(error).splitlines()[0]
