"""A run directory: enough to continue, to audit and to plot.

`config.json` (resolved), `environment.json`, `metrics.jsonl` (one object a step; all but `time/...` is a function of
the configuration), `groups.jsonl` (one object a group), `evaluations.jsonl`, `warmup.json`, `summary.json`,
`checkpoints/step-N/`.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from pydantic import ValidationError

from mopd.config import Config, first_difference
from mopd.core.errors import RunError
from mopd.core.files import dump_json, write_atomically
from mopd.core.types import Group, LessonRecord
from mopd.learning.optimizer import AdamW
from mopd.learning.teacher import LocalTeacher
from mopd.models.student import Student
from mopd.runs import checkpoint
from mopd.runs.checkpoint import Cursor
from mopd.runs.environment import describe_environment
from mopd.runs.records import describe_group, read_jsonl

LOGS = ("metrics.jsonl", "groups.jsonl", "evaluations.jsonl")


class Run:
    """One run directory, open for writing by this process alone."""

    def __init__(self, path: Path, config: Config) -> None:
        self.path = path
        self.config = config
        self.checkpoints = path / "checkpoints"
        self._lock = _lock(path)
        self._logs: dict[str, IO[bytes]] = {name: open(path / name, "ab") for name in LOGS}  # noqa: SIM115

    @classmethod
    def begin(cls, config: Config, fresh: bool = False) -> Run:
        """A new run at `config.run`; `fresh` moves one that is there aside, to `NAME.1` or the next free.

        Raises RunError where a run is there already and `fresh` is not set.
        """
        path = Path(config.run)
        if (path / "config.json").exists():
            if not fresh:
                raise RunError(
                    "a new run has a directory of its own",
                    f"{path} holds a run",
                    f"`mopd train --resume {path}`, or run=... for another directory, or --fresh to move it aside",
                )
            _move_aside(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError("the run's directory can be made", f"{path}: {error.strerror}", "set run=...") from error
        for name in (*LOGS, "warmup.json"):  # left by a run that was ended before it had begun
            (path / name).unlink(missing_ok=True)
        write_atomically(path / "environment.json", dump_json(describe_environment()))
        write_atomically(path / "config.json", dump_json(config.model_dump(mode="json")))
        return cls(path, config)

    @classmethod
    def reopen(cls, path: Path, expected: Config | None = None) -> Run:
        """An earlier run, to continue. Raises RunError where there is none or `expected` differs from its own."""
        config = read_config(path)
        difference = first_difference(expected, config) if expected is not None else None
        if difference is not None:
            key, ours, theirs = difference
            raise RunError(
                "a run is resumed under the configuration it began with",
                f"{key} = {json.dumps(ours)}, but the run has {json.dumps(theirs)}",
                "give no configuration when resuming, or begin a new run",
            )
        return cls(path, config.model_copy(update={"run": str(path)}))

    # --- state --------------------------------------------------------------------------------------------------

    def restore(self, student: Student, teacher: LocalTeacher | None, optimizer: AdamW) -> int | None:
        """Load the newest checkpoint and cut the logs back to it; steps done, or None where there is no checkpoint."""
        newest = checkpoint.latest_checkpoint(self.checkpoints)
        if newest is None:
            self._cut_logs(dict.fromkeys(LOGS, 0))
            return None
        cursor = checkpoint.load_checkpoint(newest, student, teacher, optimizer)
        self._cut_logs(cursor.log_bytes)
        return cursor.step

    def save(self, step: int, student: Student, teacher: LocalTeacher | None, optimizer: AdamW) -> Path:
        """A checkpoint after `step` steps; older ones beyond `checkpoint.keep` are removed once it is complete."""
        for log in self._logs.values():
            os.fsync(log.fileno())
        cursor = Cursor(step, {name: log.tell() for name, log in self._logs.items()})
        path = checkpoint.save_checkpoint(self.checkpoints, cursor, student, teacher, optimizer)
        checkpoint.remove_old_checkpoints(self.checkpoints, self.config.checkpoint.keep)
        return path

    def _cut_logs(self, sizes: dict[str, int]) -> None:
        for name, log in self._logs.items():
            log.truncate(sizes[name])
            log.seek(0, os.SEEK_END)

    # --- records ------------------------------------------------------------------------------------------------

    def record_metrics(self, metrics: dict[str, Any]) -> None:
        """Append one step's metrics."""
        self._append("metrics.jsonl", metrics)

    def record_groups(self, groups: Sequence[Group], records: Sequence[Sequence[LessonRecord]]) -> None:
        """Append the step's groups with what became of each rollout."""
        for group, group_records in zip(groups, records, strict=True):
            self._append("groups.jsonl", describe_group(group, group_records))

    def record_evaluation(self, evaluation: dict[str, Any]) -> None:
        """Append one evaluation on held-out problems."""
        self._append("evaluations.jsonl", evaluation)

    def evaluations(self) -> list[dict[str, Any]]:
        """All evaluations recorded so far."""
        return read_jsonl(self.path / "evaluations.jsonl")

    def record_warmup(self, figures: dict[str, Any]) -> None:
        """Add to warmup.json: what the warm-up did and what came of it."""
        write_atomically(self.path / "warmup.json", dump_json(self.warmup() | figures))

    def warmup(self) -> dict[str, Any]:
        """All figures of the warm-up recorded so far; empty where there was none."""
        path = self.path / "warmup.json"
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        return found

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Write summary.json: the run is finished."""
        write_atomically(self.path / "summary.json", dump_json(summary))

    def _append(self, name: str, value: dict[str, Any]) -> None:
        try:
            self._logs[name].write(json.dumps(value, allow_nan=False).encode() + b"\n")
            self._logs[name].flush()
        except OSError as error:
            raise RunError(
                f"{self.path / name} can be written",
                str(error),
                f"free space on the disk, then `mopd train --resume {self.path}`",
            ) from error

    def close(self) -> None:
        """Close the logs and let other processes write the run."""
        for log in self._logs.values():
            log.close()
        self._lock.close()


def read_config(path: Path) -> Config:
    """The configuration of the run at `path`. Raises RunError."""
    try:
        return Config.model_validate_json((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        raise RunError(
            "a run directory holds the config.json it began with",
            f"{path}: {error.strerror if isinstance(error, OSError) else error}",
            "check the path; a run that was ended before it had begun is started again with `mopd train CONFIG`",
        ) from error


def is_run(path: Path) -> bool:
    """Whether `path` is a run directory (and not a model folder, whose config.json names a model type)."""
    return (path / "config.json").is_file() and (path / "environment.json").is_file()


def _move_aside(path: Path) -> None:
    number = 1
    while path.with_name(f"{path.name}.{number}").exists():
        number += 1
    path.rename(path.with_name(f"{path.name}.{number}"))


def _lock(path: Path) -> IO[str]:
    """An exclusive lock that ends with the process, so that two processes never write one run."""
    file = open(path / ".lock", "w")  # noqa: SIM115
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise RunError(
            "one process at a time writes a run", f"{path} is in use by another", "wait for it, or end it"
        ) from error
    return file
