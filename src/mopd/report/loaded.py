"""A run as data: what its directory holds, as plain rows and as pandas tables, while it trains or afterwards."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mopd.config import Config
from mopd.runs.directory import EVALUATIONS
from mopd.runs.logs import LOGS
from mopd.runs.paths import absolute
from mopd.runs.reading import read_config, read_preflight, read_summary
from mopd.runs.records import iterate_jsonl

if TYPE_CHECKING:
    from pandas import DataFrame

Row = dict[str, Any]

WHOSE = ("step", "problem_id", "domain", "index")
VERDICT = (*WHOSE, "kind", "is_success", "reward", "answer", "feedback")
LESSON = (
    *(*WHOSE, "is_lesson", "no_lesson_reason", "no_teacher_reason"),
    *("peers", "context_tokens", "shortened_count", "dropped_count"),
)
"""Columns of rollouts; runs of earlier versions may lack some."""


@dataclass(frozen=True)
class LoadedRun:
    """A run directory to look at. Nothing is locked or changed, so that the run may be training meanwhile.

    Everything is read when it is asked for: of a run that is training, the same question has more to answer later.
    Its methods and properties raise RunError where a file is damaged.
    """

    path: Path

    @property
    def config(self) -> Config:
        """The configuration it goes by."""
        return read_config(self.path)

    @property
    def summary(self) -> Row | None:
        """summary.json; None where the run is not finished."""
        return read_summary(self.path) if (self.path / "summary.json").exists() else None

    @property
    def preflight(self) -> Row | None:
        """preflight.json, what was measured before the first step; None where nothing was, or not yet."""
        return read_preflight(self.path) or None

    def metrics_rows(self) -> Iterator[Row]:
        """The metrics of each step, one line at a time; none before the first step is done."""
        return self._rows("metrics.jsonl")

    def iter_groups(self) -> Iterator[Row]:
        """The groups with their rollouts, verdicts and peers as groups.jsonl has them, one line at a time."""
        return self._rows("groups.jsonl")

    def verdict_rows(self) -> Iterator[Row]:
        """The verdict on each rollout: its reward, kind, answer and feedback, and whose it is."""
        return (_chosen(row, VERDICT) for row in _rollouts(self.iter_groups()))

    def lesson_rows(self) -> Iterator[Row]:
        """What became of each rollout: its lesson or the reason for none, its peers, and the size of its context."""
        return (_chosen(row, LESSON) for row in _rollouts(self.iter_groups()))

    def evaluation_rows(self) -> Iterator[Row]:
        """The evaluations on held-out problems, one line at a time."""
        return self._rows("evaluations.jsonl")

    def alarm_rows(self) -> Iterator[Row]:
        """The alarms that went off, and what was done about each; none in runs of versions that did not record them."""
        return self._rows("alarms.jsonl")

    def completion_rows(self, step: int) -> Iterator[Row]:
        """The completions of held-out problems, with verdicts, of the evaluation after `step` steps; one at a time."""
        return self._rows(f"{EVALUATIONS}/step-{step}.jsonl")

    @property
    def metrics(self) -> DataFrame:
        """A row for each step, a column for each metric; NaN where a step has no such metric."""
        return _table(self.metrics_rows())

    @property
    def groups(self) -> DataFrame:
        """A row for each rollout of each group, with the group's `step`, `problem_id`, `domain` and `prompt`."""
        return _table(_rollouts(self.iter_groups()))

    @property
    def verdicts(self) -> DataFrame:
        """A row for each rollout, with what its verdict says."""
        return _table(self.verdict_rows())

    @property
    def lessons(self) -> DataFrame:
        """A row for each rollout, with its lesson or the reason for none."""
        return _table(self.lesson_rows())

    @property
    def evaluations(self) -> DataFrame:
        """A row for each evaluation; `step` is the number of steps before it."""
        return _table(self.evaluation_rows())

    @property
    def damaged_lines(self) -> int:
        """How many logs end with half a line, which rows and tables leave out.

        A process that was killed leaves one; of a run that is training it may be the line that is being written.
        """
        return sum(_ends_within_a_line(self.path / name) for name in LOGS)

    def _rows(self, name: str) -> Iterator[Row]:
        return iterate_jsonl(self.path / name) if (self.path / name).exists() else iter(())


def load_run(path: str | Path) -> LoadedRun:
    """The run in the directory `path`, finished, stopped or training, to look at.

    Example: `load_run("runs/demo").metrics.plot("step", "reward/mean")`. Raises RunError where there is no run.
    """
    run = LoadedRun(absolute(path))
    read_config(run.path)
    return run


def _rollouts(groups: Iterable[Row]) -> Iterator[Row]:
    for group in groups:
        shared = {name: value for name, value in group.items() if name != "rollouts"}
        for rollout in group["rollouts"]:
            yield shared | rollout


def _chosen(row: Row, names: Iterable[str]) -> Row:
    return {name: row[name] for name in names if name in row}


def _table(rows: Iterable[Row]) -> DataFrame:
    from pandas import DataFrame

    return DataFrame(list(rows))


def _ends_within_a_line(log: Path) -> bool:
    try:
        with open(log, "rb") as file:
            if not file.seek(0, os.SEEK_END):
                return False
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"
    except FileNotFoundError:
        return False
