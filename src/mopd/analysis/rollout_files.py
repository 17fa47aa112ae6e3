"""Rollouts that other systems recorded, one record a completion: counted in one pass, read in a second."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from mopd.analysis.formats import Attempt, Format, Record, detect
from mopd.analysis.groups import Seen, seen
from mopd.core.errors import ProblemError
from mopd.core.types import Group, Problem, Rollout

SUFFIXES = (".jsonl", ".ndjson", ".parquet")
"""Of files of a folder; a file that is named is read whatever it is called."""

COMPRESSED = (".gz",)

LOOKED_AT = 64
"""Records that tell which columns there are: in one alone a reward may be missing."""

Read = Callable[[Record], Attempt]


class FileGroups:
    """The rollouts of files, grouped by step and prompt wherever their records stand."""

    is_whole = False

    def __init__(self, files: Sequence[Path], read: Read, success_reward: float) -> None:
        """Count all groups, one record at a time; what cannot be read is counted by its reason. Raises ProblemError."""
        self.files, self._read, self.success_reward = files, read, success_reward
        self._places: dict[tuple[int | None, str], int] = {}
        self.seen: list[Seen] = []
        self.sizes: list[int] = []
        reasons: Counter[str] = Counter()
        first: dict[str, str] = {}
        for where, attempt in self._attempts():
            if isinstance(attempt, str):
                reasons[attempt] += 1
                first.setdefault(attempt, where)
            else:
                self._count(attempt)
        self.unread = [f"{n} records left out: {reason} (the first: {first[reason]})" for reason, n in reasons.items()]

    def _count(self, attempt: Attempt) -> None:
        key = (attempt.step, attempt.problem)
        if key not in self._places:
            self._places[key] = len(self.seen)
            self.seen.append(Seen(attempt.step, attempt.problem, 0, 0, 0.0))
            self.sizes.append(0)
        place = self._places[key]
        self.sizes[place] += 1
        one, old = seen(self._group([attempt]), attempt.step), self.seen[place]
        self.seen[place] = Seen(
            old.step, old.problem, old.judged + one.judged, old.right + one.right, old.reward_sum + one.reward_sum
        )

    def _attempts(self) -> Iterator[tuple[str, Attempt | str]]:
        """Each record where it stands: as an attempt, or why it cannot be read."""
        for path in self.files:
            for number, record in records_of(path):
                try:
                    found: Attempt | str = record if isinstance(record, str) else self._read(record)
                except (ValueError, KeyError, TypeError) as error:
                    found = str(error)
                yield f"{path.name}, record {number}", found

    def read(self, wanted: Sequence[int]) -> Iterator[tuple[int, Group]]:
        """Some of the groups, each as soon as its last rollout is found."""
        waiting: dict[int, list[Attempt]] = {place: [] for place in wanted}
        for _, attempt in self._attempts() if waiting else ():
            if isinstance(attempt, str):
                continue
            place = self._places.get((attempt.step, attempt.problem), -1)
            if place in waiting:
                waiting[place].append(attempt)
                if len(waiting[place]) == self.sizes[place]:
                    yield place, self._group(waiting.pop(place))

    def _group(self, attempts: Sequence[Attempt]) -> Group:
        rollouts = tuple(Rollout(i, (), (), (), attempt.text, False) for i, attempt in enumerate(attempts))
        verdicts = tuple(attempt.verdict(self.success_reward) for attempt in attempts)
        problem = Problem(attempts[0].problem, attempts[0].messages, None, "recorded")
        return Group(attempts[0].step or 0, problem, (), rollouts, verdicts, self.success_reward)


def find_files(target: Path) -> list[Path]:
    """The file, or those of a folder in the order of the numbers in their names. Raises ProblemError."""
    must = "mopd analyze is given a run, a file of rollouts, or a folder of such files"
    if target.is_file():
        return [target]
    if not target.is_dir():
        raise ProblemError(must, f"{target}: no such file or folder", "check the path")
    found = [path for path in sorted(target.iterdir(), key=_by_number) if path.is_file() and _suffix(path) in SUFFIXES]
    if not found:
        raise ProblemError(must, f"{target}: no run, and no file with {', '.join(SUFFIXES)}", "check the path")
    return found


def open_files(
    target: Path, success_reward: float, prompt: str | None, completion: str | None, reward: str | None
) -> tuple[FileGroups, Format]:
    """The groups of a file or folder, and how their records are read. Raises ProblemError."""
    files = find_files(target)
    first: dict[str, Any] = {}
    records = (record for path in files for _, record in records_of(path) if not isinstance(record, str))
    for record in islice(records, LOOKED_AT):
        first |= {name: value for name, value in record.items() if first.get(name) is None}
    if not first:
        do = "check the file: each line is one JSON object, or the file is parquet"
        raise ProblemError("a file of rollouts has records", f"{target}: no record can be read", do)
    found = detect(first, prompt, completion, reward)
    return FileGroups(files, found.read, success_reward), found


def records_of(path: Path) -> Iterator[tuple[int, Record | str]]:
    """The records of a file from 1 on, one at a time; of what is none, why. Raises ProblemError."""
    try:
        yield from _parquet(path) if _suffix(path) == ".parquet" else _lines(path)
    except (OSError, EOFError, ValueError) as error:
        raise ProblemError("a file of rollouts can be read", f"{path}: {error}", "check the file") from error


def _lines(path: Path) -> Iterator[tuple[int, Record | str]]:
    with _opened(path) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                record = None if line.endswith(b"\n") else "half a line, which ends the file"
            if record is None or isinstance(record, str):
                yield number, record or "no JSON"
            else:
                yield number, record if isinstance(record, dict) else "no JSON object"


def _opened(path: Path) -> BinaryIO:
    return gzip.open(path, "rb") if path.suffix in COMPRESSED else open(path, "rb")  # type: ignore[return-value]


def _parquet(path: Path) -> Iterator[tuple[int, Record | str]]:
    from pyarrow.parquet import ParquetFile

    number = 0
    with ParquetFile(path) as table:
        for batch in table.iter_batches(batch_size=64):
            for record in batch.to_pylist():
                number += 1
                yield number, record


def _suffix(path: Path) -> str:
    return (path.with_suffix("") if path.suffix in COMPRESSED else path).suffix.lower()


def _by_number(path: Path) -> list[Any]:
    """Names in the order of the numbers in them: 2.jsonl before 10.jsonl."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]
