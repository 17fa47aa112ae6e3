"""Whether the logs of a run hold all steps of its checkpoints: no line is ever made up."""

from __future__ import annotations

from pathlib import Path

from mopd.core.errors import MopdError, RunError
from mopd.runs import checkpoint
from mopd.runs.checkpoint import Cursor
from mopd.runs.logs import LOGS


def check_logs(run: Path, newest: Path, cursor: Cursor) -> None:
    """Raises RunError where a log of the run is shorter than the steps of its newest checkpoint."""
    sizes = {name: (run / name).stat().st_size for name in LOGS if (run / name).is_file()}
    for name, wanted in cursor.log_bytes.items():
        if sizes.get(name, -1) < wanted:
            found = f"{sizes[name]} bytes" if name in sizes else "which is missing"
            raise RunError(
                f"{name} holds all steps up to the checkpoint {newest.name}, {wanted} bytes",
                f"{run / name}, {found}",
                f"restore it from a backup, or {_without_log(newest.parent, sizes)}",
            )


def _without_log(checkpoints: Path, sizes: dict[str, int]) -> str:
    """What is left to do where a log is damaged."""
    whole = [path for path in checkpoint.list_checkpoints(checkpoints) if _is_covered(path, sizes)]
    if whole:
        return f"remove the checkpoints behind {whole[-1]}, from which the run then goes on"
    return f"begin a new run with student={checkpoint.list_checkpoints(checkpoints)[-1]}"


def _is_covered(path: Path, sizes: dict[str, int]) -> bool:
    """Whether all logs hold the steps of a checkpoint."""
    try:
        wanted = checkpoint.read_cursor(path).log_bytes
    except MopdError:
        return False
    return all(sizes.get(name, -1) >= size for name, size in wanted.items())
