"""Whose a directory is, and who may write it: the lock comes before anything is written, moved or deleted."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mopd.core.errors import RunError
from mopd.core.files import advice, try_lock
from mopd.runs.logs import LOGS

BEGUN_WITH = ("environment.json", "inputs.json", "history.jsonl")
"""What is written before config.json, by which a run has begun."""

PREFLIGHT = "preflight.json"
"""What is left of a run that was refused before its first step."""

EVALUATIONS = "evaluations"
"""The folder with the completions of held-out problems."""

REPORT = "report.html"
"""The page that `mopd report` makes of a run."""

ANALYSIS = "analysis"
"""The folder with what `mopd analyze` makes of a run."""

_FILES = (
    *BEGUN_WITH,
    *LOGS,
    "config.json",
    "tracker.json",
    "warmup.json",
    "beginning.json",
    PREFLIGHT,
    "summary.json",
    REPORT,
    ".lock",
)
_OWN = re.compile(
    "|".join(map(re.escape, (*_FILES, "checkpoints", EVALUATIONS, ANALYSIS, "tensorboard", "trackio", "wandb")))
    + r"|summary-\d+\.json|\.[a-z]+\.(json|html)\.new"
)

MUST = "a new run has a directory of its own"


class Lock:
    """The right of this process alone to write a run's directory; it ends with the process."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path, self._descriptor = path, descriptor

    @classmethod
    def take(cls, path: Path) -> Lock:
        """Lock the directory `path`. Raises RunError where another process has it."""
        file = path / ".lock"
        with written(file):
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        if (error := try_lock(descriptor)) is not None:
            time.sleep(0.1)  # whoever only looks whether the run is in use holds the lock for a moment
            error = try_lock(descriptor)
        if error is None and _is_same_file(file, descriptor):
            with contextlib.suppress(OSError):  # who holds it is a help for others, no more
                os.ftruncate(descriptor, 0)
                os.write(descriptor, f"{os.getpid()}\n".encode())
            return cls(path, descriptor)
        holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        if error is not None and error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise RunError(
                "a run's directory can be locked", f"{path}: {error.strerror}", "set run=... on another disk"
            ) from error
        raise RunError(
            "one process at a time writes a run",
            f"{path} is in use by another" + (f", process {holder}" if holder else ""),
            "wait for it, or end it",
        )

    def close(self) -> None:
        os.close(self._descriptor)


def is_in_use(path: Path) -> bool:
    """Whether a process, on this host or another, writes the run at `path`."""
    try:
        descriptor = os.open(path / ".lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return try_lock(descriptor, shared=True) is not None
    finally:
        os.close(descriptor)


def _is_same_file(path: Path, descriptor: int) -> bool:
    """False where the directory was moved aside between opening and locking: the lock is then another run's."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


@contextmanager
def written(path: Path) -> Iterator[None]:
    """An OSError of the block is a RunError that says what could not be written, and what to do."""
    try:
        yield
    except OSError as error:
        raise RunError(f"{path} can be written", str(error), f"{advice(error)}, then give the command again") from error


@contextmanager
def stays(path: Path) -> Iterator[None]:
    """What the block reads of a run is of one run: RunError where another took its place meanwhile (`--fresh`)."""
    before = os.stat(path)
    try:
        yield
    except Exception as error:
        if not _is_still(path, before):
            raise _moved(path) from error
        raise
    if not _is_still(path, before):
        raise _moved(path)


def _is_still(path: Path, before: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(path), before)
    except OSError:
        return False


def _moved(path: Path) -> RunError:
    return RunError("a run stays where it is while it is read", f"{path} was moved", "give the command again")


def new_directory(path: Path, fresh: bool) -> Lock:
    """The locked directory of a new run, empty but for what a beginning that was cut short left there.

    `fresh` moves a run that is there aside. Raises RunError, and has then neither moved nor changed anything.
    """
    check_may_begin(path, fresh)
    with written(path):
        path.mkdir(parents=True, exist_ok=True)
    lock = Lock.take(path)
    try:
        if check_may_begin(path, fresh):
            _move_aside(path)
            with written(path):
                path.mkdir()  # another process that was faster has the directory
            lock.close()
            lock = Lock.take(path)
            check_may_begin(path, False)
    except BaseException:
        lock.close()
        raise
    return lock


def check_may_begin(path: Path, fresh: bool) -> bool:
    """Whether a run is there, which `fresh` moves aside. Raises RunError where no run may begin at `path`."""
    try:
        names = sorted(os.listdir(path))
    except FileNotFoundError:
        return False
    except OSError as error:
        raise RunError(MUST, f"{path}: {error.strerror}", "set run=... to another directory") from error
    foreign = [name for name in names if not _OWN.fullmatch(name)]
    if is_run_config(path / "config.json"):
        if not fresh:
            raise RunError(
                MUST,
                f"{path} holds a run",
                f"`mopd train --resume {path}`, or run=... for another directory, or --fresh to move it aside",
            )
        if foreign:
            raise RunError(
                "--fresh moves nothing aside but a run",
                f"{path} holds {_some(foreign)} as well",
                "move that elsewhere, or set run=... to another directory",
            )
        return True
    if foreign or (names and ".lock" not in names):
        raise RunError(MUST, f"{path} holds {_some(foreign or names)}", "set run=... to a new directory")
    if left := [
        name for name in names if name not in (*BEGUN_WITH, PREFLIGHT, ".lock") and not name.endswith(".json.new")
    ]:
        raise RunError(
            MUST,
            f"{path} holds {_some(left)} of a run whose config.json is missing or damaged",
            "restore its config.json, or set run=... to another directory",
        )
    return False


def is_run_config(file: Path) -> bool:
    """Whether `file` is a run's config.json, and not that of a model or of somebody's own."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(values, dict) and {"student", "run", "steps", "problems"} <= set(values)


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _move_aside(path: Path) -> None:
    number = 1
    while os.path.lexists(path.with_name(f"{path.name}.{number}")):
        number += 1
    try:
        path.rename(path.with_name(f"{path.name}.{number}"))
    except OSError as error:
        raise RunError(
            "--fresh can move a run aside", f"{path}: {error.strerror}", "set run=... to another directory"
        ) from error
