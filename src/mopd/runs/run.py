"""A run directory: enough to continue, to audit and to plot.

`config.json` (resolved), `environment.json`, `inputs.json` (what the run depends on besides), `history.jsonl` (when it
was begun and resumed, and what changed), `metrics.jsonl` (one object a step; all but `time/...` and `memory/...` is a
function of the configuration and the inputs), `groups.jsonl` (one object a group), `evaluations.jsonl`, `alarms.jsonl`,
`evaluations/step-N.jsonl`, `beginning.json` (some completions of the first student), `warmup.json`, `preflight.json`,
`tracker.json`, `summary.json`, `checkpoints/step-N/`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from mopd.config import Config
from mopd.core.files import dump_json, finite, remove_folder, remove_left_aside, write_atomically
from mopd.core.types import Group, LessonRecord
from mopd.learning.optimizer import AdamW
from mopd.learning.teacher import Teacher
from mopd.models.student import Student
from mopd.parallel.ranks import ONE, Ranks
from mopd.runs import checkpoint
from mopd.runs.changes import Changes, changed_settings, check_steps
from mopd.runs.checkpoint import Cursor
from mopd.runs.completions import drop_other_completions, keep_completions
from mopd.runs.covering import check_logs
from mopd.runs.directory import BEGUN_WITH, Lock, new_directory, written
from mopd.runs.environment import changed_environment, describe_environment
from mopd.runs.inputs import Inputs, check_inputs
from mopd.runs.logs import LOGS, Log, append_line
from mopd.runs.paths import absolute, settled
from mopd.runs.progress import say
from mopd.runs.reading import moment_of, read_config, read_inputs, read_object, read_preflight, read_summary
from mopd.runs.records import describe_group, read_jsonl

Given = ParamSpec("Given")
Found = TypeVar("Found")


def by_first(method: Callable[Concatenate[Run, Given], Found]) -> Callable[Concatenate[Run, Given], Found]:
    """A method that the first rank runs; all have what it gives, or the error that it raises."""

    @wraps(method)
    def told(self: Run, /, *args: Given.args, **kwargs: Given.kwargs) -> Found:
        return self.ranks.first(lambda: method(self, *args, **kwargs))

    return told


class Run:
    """One run directory, locked for this process alone. `config.run` and `path` are absolute.

    Of several ranks the first has the lock, writes and reads; every rank calls the same methods, and is told the same.
    """

    def __init__(
        self, path: Path, config: Config, lock: Lock | None, changes: Changes | None = None, ranks: Ranks = ONE
    ) -> None:
        self.path = path
        self.config = config
        self.checkpoints = path / "checkpoints"
        self.changes: Changes = changes or {}
        self.ranks = ranks
        self._lock = lock
        self._logs: dict[str, Log] = {}

    @classmethod
    def begin(cls, config: Config, inputs: Inputs, fresh: bool = False, ranks: Ranks = ONE) -> Run:
        """A new run at `config.run`; `fresh` moves one that is there aside, to `NAME.1` or the next free.

        Raises RunError where no run may begin there, or where a run is there already and `fresh` is not set.
        """
        path = Path(config.run)
        run = cls(path, config, ranks.only_first(lambda: new_directory(path, fresh)), ranks=ranks)
        try:
            run._write_beginning(inputs)
        except BaseException:
            run.close()
            raise
        return run

    @by_first
    def _write_beginning(self, inputs: Inputs) -> None:
        with written(self.path):
            write_atomically(self.path / "environment.json", dump_json(describe_environment()))
            write_atomically(self.path / "inputs.json", dump_json(inputs))
            self._note("begun", 0, {})
            write_atomically(self.path / "config.json", dump_json(self.config.model_dump(mode="json")))

    @classmethod
    def reopen(cls, path: Path, expected: Config | None = None, ranks: Ranks = ONE) -> Run:
        """An earlier run, to continue, under `expected` where given. Nothing is changed before `accept`.

        Raises RunError where there is no run, where it is damaged, or where `expected` is the configuration of another.
        """
        path = absolute(path)
        ranks.first(lambda: read_config(path))  # before a lock is made in what is no run
        lock = ranks.only_first(lambda: Lock.take(path))
        try:
            own, asked = ranks.first(lambda: cls._settings(path, expected))
            run = cls(path, asked, lock, changed_settings(own, asked), ranks)
            run._check_whole()
        except BaseException:
            if lock is not None:
                lock.close()
            raise
        return run

    @staticmethod
    def _settings(path: Path, expected: Config | None) -> tuple[Config, Config]:
        """The configuration that the run has, and the one that it is to go on under."""
        own = settled(read_config(path)).model_copy(update={"run": str(path)})
        return own, own if expected is None else settled(expected.model_copy(update={"run": str(path)}))

    @by_first
    def _check_whole(self) -> None:
        if (found := self.newest) is not None:
            check_steps(self.config.steps, found[1].step)
            check_logs(self.path, *found)
        read_object(self.path / "warmup.json", "remove it: the summary is then without the figures of the warm-up")

    @property
    @by_first
    def newest(self) -> tuple[Path, Cursor] | None:
        """The newest checkpoint with its cursor. Raises CheckpointError where it is damaged."""
        return checkpoint.newest_whole(self.checkpoints)

    # --- what it depends on -----------------------------------------------------------------------------------------

    @by_first
    def began(self) -> str:
        """The moment at which the run began."""
        return moment_of(self.path)

    def check_inputs(self, found: Inputs) -> None:
        """Raises RunError where a run that has a checkpoint depends on what is not as it was."""
        if (newest := self.newest) is not None:
            if not (recorded := read_inputs(self.path)):
                say(
                    f"warning: {self.path} has no inputs.json: whether problems and rewards are as they were is unknown"
                )
            do = f"or begin a new run with student={newest[0]}, which goes on from there"
            check_inputs(recorded, found, do)

    @by_first
    def accept(self, inputs: Inputs) -> None:
        """Write down that the run goes on: under which settings, on which inputs, with which versions.

        Before its first checkpoint a run begins anew, on the inputs there are. Raises RunError.
        """
        self.check_inputs(inputs)
        newest = self.newest
        done = 0 if newest is None else newest[1].step
        with written(self.path):
            if newest is None or not (self.path / "inputs.json").exists():
                write_atomically(self.path / "inputs.json", dump_json({"began": self.began()} | inputs))
            self._note("resumed", done, changed_environment(self.path / "environment.json"))
            if self.changes:
                write_atomically(self.path / "config.json", dump_json(self.config.model_dump(mode="json")))
            summary = self.path / "summary.json"
            if summary.exists() and self.finished() is None:
                summary.rename(self.path / f"summary-{self._steps_of_summary()}.json")
            remove_left_aside(self.checkpoints)

    def _note(self, event: str, step: int, environment: dict[str, Any]) -> None:
        settings = {key: list(values) for key, values in self.changes.items()} if event != "fell back" else {}
        line = {"event": event, "at": datetime.now().astimezone().isoformat(), "step": step}
        append_line(self.path / "history.jsonl", line | {"settings": settings, "environment": environment})

    # --- state ------------------------------------------------------------------------------------------------------

    def restore(self, student: Student, teacher: Teacher | None, optimizer: AdamW) -> int | None:
        """Load the newest checkpoint and cut the logs back to it; steps done, or None where there is no checkpoint."""
        newest = self.newest
        sizes = dict.fromkeys(LOGS, 0)
        if newest is not None:
            sizes = checkpoint.load_checkpoint(newest[0], student, teacher, optimizer).log_bytes
        self._cut_logs(sizes)
        return None if newest is None else newest[1].step

    @by_first
    def _cut_logs(self, sizes: dict[str, int]) -> None:
        for name in LOGS:
            with written(self.path / name):
                self._log(name).cut(sizes.get(name, 0))  # earlier versions had fewer logs
        drop_other_completions(self.path, {figures["step"] for figures in self.evaluations()})

    def go_back(
        self, folder: Path, alarm: dict[str, Any], student: Student, teacher: Teacher | None, optimizer: AdamW
    ) -> None:
        """Go on from an earlier checkpoint, and keep with it why: later ones are removed, the logs cut back to it.

        Where the process is killed before the last line, the run goes back again: the same steps set the same alarm
        off. Behind it the alarm belongs to the checkpoint.
        """
        self._remove_later_checkpoints(folder)
        self.restore(student, teacher, optimizer)
        self.record_alarm(alarm)
        self._keep_logs(folder)

    @by_first
    def _remove_later_checkpoints(self, folder: Path) -> None:
        for path in reversed(checkpoint.list_checkpoints(self.checkpoints)):
            if checkpoint.steps_of(path) > checkpoint.steps_of(folder):
                remove_folder(path)

    @by_first
    def _keep_logs(self, folder: Path) -> None:
        checkpoint.keep_logs(folder, self._synced_logs())
        self._note("fell back", checkpoint.steps_of(folder), {})

    def save(self, step: int, student: Student, teacher: Teacher | None, optimizer: AdamW) -> Path:
        """A checkpoint after `step` steps; older ones beyond `checkpoint.keep` are removed once it is complete."""
        cursor = Cursor(step, self._synced_logs())
        path = checkpoint.save_checkpoint(self.checkpoints, cursor, student, teacher, optimizer, self.ranks)
        self._remove_old_checkpoints()
        return path

    @by_first
    def _synced_logs(self) -> dict[str, int]:
        for name in LOGS:
            with written(self.path / name):
                self._log(name).sync()
        return {name: self._log(name).size for name in LOGS}

    @by_first
    def _remove_old_checkpoints(self) -> None:
        checkpoint.remove_old_checkpoints(self.checkpoints, self.config.checkpoint, self.evaluations())

    def _log(self, name: str) -> Log:
        if name not in self._logs:
            with written(self.path / name):
                self._logs[name] = Log(self.path / name)
        return self._logs[name]

    # --- records ----------------------------------------------------------------------------------------------------

    @by_first
    def record_metrics(self, metrics: dict[str, Any]) -> None:
        """Append one step's metrics."""
        self._append("metrics.jsonl", metrics)

    @by_first
    def record_groups(self, groups: Sequence[Group], records: Sequence[Sequence[LessonRecord]]) -> None:
        """Append the step's groups with what became of each rollout."""
        for group, group_records in zip(groups, records, strict=True):
            self._append("groups.jsonl", describe_group(group, group_records))

    @by_first
    def record_evaluation(self, evaluation: dict[str, Any]) -> None:
        """Append one evaluation on held-out problems."""
        self._append("evaluations.jsonl", evaluation)

    @by_first
    def record_alarm(self, alarm: dict[str, Any]) -> None:
        """Append an alarm that went off, and what was done."""
        self._append("alarms.jsonl", alarm)

    @by_first
    def alarms(self) -> list[dict[str, Any]]:
        """All alarms of the run so far."""
        path = self.path / "alarms.jsonl"
        return read_jsonl(path) if path.exists() else []  # an earlier version had none

    @by_first
    def record_beginning(self, kept: dict[str, Any]) -> None:
        """Write beginning.json: what the first student wrote, by which its distance is measured."""
        self._write("beginning.json", kept)

    @by_first
    def beginning(self) -> dict[str, Any]:
        """What the first student wrote; empty in runs of versions that did not keep it."""
        return read_object(self.path / "beginning.json", "remove it: how far the student has come is then not measured")

    @by_first
    def evaluations(self) -> list[dict[str, Any]]:
        """All evaluations recorded so far."""
        return read_jsonl(self.path / "evaluations.jsonl")

    @by_first
    def metrics(self) -> list[dict[str, Any]]:
        """The metrics of all steps recorded so far."""
        return read_jsonl(self.path / "metrics.jsonl")

    @by_first
    def record_completions(self, step: int, completions: Sequence[dict[str, Any]]) -> None:
        """Write what the model wrote in the evaluation after `step` steps."""
        keep_completions(self.path, step, completions)

    @by_first
    def record_warmup(self, figures: dict[str, Any]) -> None:
        """Add to warmup.json: what the warm-up did and what came of it."""
        self._write("warmup.json", self.warmup() | figures)

    @by_first
    def warmup(self) -> dict[str, Any]:
        """All figures of the warm-up recorded so far; empty where there was none."""
        return read_object(self.path / "warmup.json", "remove it")

    @by_first
    def record_preflight(self, found: dict[str, Any]) -> None:
        """Write preflight.json: how the student reads peers, and the recipe that the run goes by."""
        self._write("preflight.json", found)

    @by_first
    def preflight(self) -> dict[str, Any]:
        """What the preflight found; empty where there was none."""
        return read_preflight(self.path)

    @by_first
    def withdraw(self) -> None:
        """Take the beginning back, before the first step, so that the directory is free again; preflight.json stays."""
        for name in ("config.json", *BEGUN_WITH, "warmup.json"):
            (self.path / name).unlink(missing_ok=True)

    @by_first
    def write_summary(self, summary: dict[str, Any]) -> None:
        """Write summary.json: the run is finished."""
        self._write("summary.json", summary)

    @by_first
    def finished(self) -> dict[str, Any] | None:
        """The summary of a run that has done all its steps; None where there are some to do."""
        if not (self.path / "summary.json").exists() or self._steps_of_summary() != self.config.steps:
            return None
        return read_summary(self.path)

    def _steps_of_summary(self) -> int:
        return int(read_summary(self.path)["steps"])

    def _write(self, name: str, value: dict[str, Any]) -> None:
        with written(self.path / name):
            write_atomically(self.path / name, dump_json(value))

    def _append(self, name: str, value: dict[str, Any]) -> None:
        with written(self.path / name):
            self._log(name).append(finite(value))

    def close(self) -> None:
        """Close the logs and let other processes write the run."""
        for log in self._logs.values():
            log.close()
        self._logs.clear()
        if self._lock is not None:
            self._lock.close()
