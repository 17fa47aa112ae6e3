"""Problems that were passed in Python: problems, records, or a data set, in the place of a source."""

from __future__ import annotations

import datetime
import decimal
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mopd.config import PYTHON_PREFIX, Config, ProblemsConfig, SourceConfig, build_config
from mopd.core.errors import ConfigError, ProblemError, RunError
from mopd.core.types import Problem
from mopd.problems.columns import Reading, Record
from mopd.problems.records import read_messages
from mopd.problems.tables import rows_of

ProblemsGiven = Any
"""A list of `Problem`, a list of mappings (records, as a JSONL file would have them), or a `datasets.Dataset`."""

TRAIN, HELD_OUT = f"{PYTHON_PREFIX}problems", f"{PYTHON_PREFIX}held_out"
"""What the configuration of a run calls them as sources."""


@dataclass(frozen=True)
class Passed:
    """What was passed in the place of `problems.source` and of `problems.held_out_source`; None where nothing was."""

    problems: ProblemsGiven | None = None
    held_out: ProblemsGiven | None = None

    @property
    def is_any(self) -> bool:
        return self.problems is not None or self.held_out is not None

    def of(self, source: str) -> Problems | Records | None:
        """What a source named `python:...` is; None for every other source. Raises ProblemError."""
        if not source.startswith(PYTHON_PREFIX):
            return None
        given = {TRAIN: self.problems, HELD_OUT: self.held_out}.get(source)
        if given is None:
            name = source.removeprefix(PYTHON_PREFIX)
            raise ProblemError(
                "problems that were passed in Python are passed again",
                f"{source}, and nothing passed as {name}",
                f"pass {name}=... in Python; or write them to a file as records and name it as the source",
            )
        return _of_rows(given, source) if _is_dataset(given) else _of_list(given, source)


@dataclass(frozen=True)
class Problems:
    """Problems as they are, checked."""

    problems: Sequence[Problem]

    def __call__(self, source: SourceConfig, seed: int) -> list[Problem]:
        """All of them, as a generated source gives them. Raises ConfigError for keys that would change them."""
        for key in ("verifier", "options"):
            if getattr(source, key) not in ("auto", {}):
                raise ConfigError(
                    f"problems.{key} belongs to records", f"problems.{key} beside problems that say theirs", "remove it"
                )
        return list(self.problems)


@dataclass(frozen=True)
class Records:
    """Records with their places, as a file would have them."""

    records: Sequence[Record]


def with_passed(config: Config, passed: Passed) -> Config:
    """`config` with what was passed as its sources; it takes the place of a generated source and its options.

    Raises ConfigError where the configuration says otherwise where those problems come from.
    """
    problems = config.problems
    source, held_out = problems.source, problems.held_out_source
    if passed.problems is not None:
        _check_free(problems, "problems", ("mix", "subset", "split", "held_out_split"))
        source = TRAIN
    if passed.held_out is not None:
        _check_free(problems, "held_out", ("held_out_source", "held_out_split"))
        held_out = HELD_OUT
    if (source, held_out) == (problems.source, problems.held_out_source):
        return config
    values = config.model_dump(mode="json")
    values["problems"] |= {"source": source, "held_out_source": held_out}
    if passed.problems is not None and not problems.record_schema:
        values["problems"]["options"] = {}  # they were those of a generated source
    return build_config(values, where="the configuration with the problems passed")


def check_passed_again(config: Config, passed: Passed) -> None:
    """Raises RunError where a run that is resumed is not given in Python what it was given when it began."""
    for name, source, given in (
        ("problems", config.problems.source, passed.problems),
        ("held_out", config.problems.held_out_source, passed.held_out),
    ):
        was_passed = source == f"{PYTHON_PREFIX}{name}"
        if was_passed and given is None:
            raise RunError(
                "a run goes on, and is evaluated, with the problems it began with",
                f"no {name}, but the run's were passed in Python",
                f"pass {name}=... again in Python; or write them to a file as records, and give "
                f"problems.{'source' if name == 'problems' else 'held_out_source'}=FILE",
            )
        if given is not None and not was_passed:
            raise RunError(
                "a run goes on, and is evaluated, with the problems it began with",
                f"{name} passed, but the run's come from {source or 'its own sources'}",
                f"leave {name} out, or begin a new run",
            )


def _check_free(config: ProblemsConfig, name: str, keys: Sequence[str]) -> None:
    for key in keys:
        if (value := getattr(config, key)) and value != HELD_OUT:
            raise ConfigError(
                "problems come from the sources of the configuration or are passed in Python",
                f"problems.{key} = {value!r}, and {name} passed",
                "leave one of them out",
            )


# --- what was passed ------------------------------------------------------------------------------------------------


def _is_dataset(given: Any) -> bool:
    datasets = sys.modules.get("datasets")
    return datasets is not None and isinstance(given, datasets.Dataset)


def _of_rows(given: Any, source: str) -> Records:
    return Records(_nonempty(list(rows_of(given.with_format("arrow").iter(batch_size=1000), source)), source))


def _of_list(given: Any, source: str) -> Problems | Records:
    must = "problems are passed as a list of Problem, a list of records, or a datasets.Dataset"
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Sequence):
        do = "pass one split of it" if isinstance(given, Mapping) else "make it a list"
        raise ProblemError(must, f"{source}: a {type(given).__name__}", do)
    kinds = Counter(Problem if isinstance(one, Problem) else type(one) for one in _nonempty(given, source))
    if list(kinds) == [Problem]:
        return Problems(_checked(given, source))
    if not all(issubclass(kind, Mapping) for kind in kinds):
        got = f"{source}: a list of {' and '.join(kind.__name__ for kind in kinds)}"
        raise ProblemError(must, got, "make them all Problem, or all records")
    return Records([_record(values, source, number) for number, values in enumerate(given, start=1)])


def _nonempty(given: Sequence[Any], source: str) -> Sequence[Any]:
    if not given:
        raise ProblemError("at least one problem is passed", f"{source}: none", "pass some")
    return given


def _record(values: Mapping[str, Any], source: str, number: int) -> Record:
    """The record as a JSON file would hold it: a copy of its own, so that no later change of the caller's is seen."""
    try:
        return Record(json.loads(json.dumps(dict(values), default=_as_text)), source, "record", number)
    except (TypeError, ValueError, RecursionError) as error:
        raise ProblemError(
            "a record holds what a JSON file can hold", f"{source}, record {number}: {error}", "mend the record"
        ) from error


def _as_text(value: Any) -> str:
    if isinstance(value, datetime.date | datetime.time | datetime.timedelta | decimal.Decimal):
        return str(value)
    raise TypeError(f"a {type(value).__name__}")


def _checked(problems: Sequence[Problem], source: str) -> Sequence[Problem]:
    ids: dict[str, int] = {}
    for number, problem in enumerate(problems, start=1):
        first = ids.setdefault(problem.id, number)
        if first != number:
            got = f"id {problem.id!r} of problems {first} and {number} of {source}"
            raise ProblemError("every problem has an id of its own", got, "rename or remove one of them")
        turns = [dict(turn) for turn in problem.messages]
        read_messages(Record({"prompt": turns}, source, "problem", number), Reading())
        if name := next(_without_meaning(dict(problem.columns)), None):
            raise ProblemError(
                "what a problem's columns hold can be compared when a run is resumed",
                f"a {name} in {source}, problem {number}",
                "make it text, numbers, lists or mappings",
            )
    return problems


def _without_meaning(value: Any) -> Iterator[str]:
    """The types of objects whose text is another in every process: where they lie in memory, the order of a set."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for inner in value:
            yield from _without_meaning(inner)
    elif isinstance(value, set | frozenset) or callable(value) or object.__repr__ is _repr_of(value):
        yield type(value).__name__


def _repr_of(value: Any) -> Any:
    return type(value).__repr__
