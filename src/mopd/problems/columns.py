"""Records and their columns: which column holds what field, and what is said of one that is not there."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mopd.core.errors import ProblemError

COLUMNS: dict[str, tuple[str, ...]] = {
    "prompt": ("prompt",),
    "answer": ("answer",),
    "id": ("id", "idx"),
    "system": ("system",),
    "kind": ("kind",),
    "domain": ("domain", "dataset"),
    "solution": ("solution",),
    "tests": ("tests",),
    "public_tests": ("public_tests",),
    "compare": ("compare",),
    "ordered": ("ordered",),
    "completion": ("completion",),
}
"""The columns that a field is read from unless told: the first that holds something."""

USUAL_NAMES: dict[str, tuple[str, ...]] = {
    "prompt": ("question", "problem", "query", "instruction", "input", "messages", "conversation", "text"),
    "answer": ("final_answer", "ground_truth", "gold", "reference", "expected_answer", "label", "target", "solution"),
    "tests": ("test", "test_cases", "private_tests", "hidden_tests", "input_output", "verification_info"),
    "completion": ("response", "output", "generation", "generated_text", "model_output", "prediction"),
}
"""What other data sets call a field: suggested, never read unasked."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record and where it stands: the `number`-th `unit` (line, record, row; from 1) of `source`.

    Where its values `are_cells` of a CSV file, all of them are text, and None where a cell is empty.
    """

    values: Mapping[str, Any]
    source: str
    unit: str
    number: int
    are_cells: bool = False

    @property
    def where(self) -> str:
        """As errors name it."""
        return f"{self.source}, {self.unit} {self.number}"


@dataclass(frozen=True)
class Reading:
    """How records are read. `columns` maps fields to columns; `key` is the table of the configuration that says so.

    `domain` takes the place of every record's own. Without `needs_answer` a missing or blank answer is no reference.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    verifier: str = "auto"
    domain: str | None = None
    needs_answer: bool = True
    key: str = "problems"


# --- columns --------------------------------------------------------------------------------------------------------


def names_of(field: str, reading: Reading) -> tuple[str, ...]:
    """The columns that a field may be in."""
    return (reading.columns[field],) if field in reading.columns else COLUMNS[field]


def value_of(record: Record, field: str, reading: Reading) -> Any:
    """What the record says of a field; None where it says nothing (nan, as tables write it, says nothing)."""
    values = (look_up(record.values, name) for name in names_of(field, reading))
    value = next((value for value in values if value is not None and value == value), None)
    return _from_cell(field, value) if record.are_cells and isinstance(value, str) else value


def _from_cell(field: str, text: str) -> Any:
    """What a cell says of a field that may be more than text: a list of turns, true or false, each as JSON."""
    if field not in ("prompt", "ordered"):
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if field == "ordered":
        return value if isinstance(value, bool) else text
    are_turns = isinstance(value, list) and value and all(isinstance(turn, dict) and "role" in turn for turn in value)
    return value if are_turns else text


def look_up(values: Mapping[str, Any], name: str) -> Any:
    """The value of a column: by its whole name, else down the names between its dots; None where it is not there."""
    if name in values:
        return values[name]
    value: Any = values
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _column_names(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """All columns of a record, with the nested ones in dotted form."""
    for name, value in values.items():
        yield prefix + name
        if isinstance(value, Mapping) and prefix.count(".") < 3:
            yield from _column_names(value, f"{prefix}{name}.")


def check_columns(records: Sequence[Record], reading: Reading) -> None:
    """Refuse a mapped column that no record has: a name that is wrong everywhere is a wrong name."""
    for wanted, name in reading.columns.items():
        if all(look_up(record.values, name) is None for record in records):
            found = list(dict.fromkeys(column for record in records[:100] for column in _column_names(record.values)))
            raise ProblemError(
                f"column {name!r}, which {reading.key}.columns.{wanted} names, holds something",
                f"{name!r} holds nothing in {records[0].source}, which has the columns {_shown(found)}",
                _suggestion(wanted, name, [column for column in found if column != name], reading),
            )


def _suggestion(field: str, wanted: str, found: Sequence[str], reading: Reading) -> str:
    """What to do about a column that is not there: the nearest one, or the one that other data sets call so."""
    by_folded = {name.casefold(): name for name in found}
    near = difflib.get_close_matches(wanted.casefold(), by_folded, n=1)
    usual = [name for name in USUAL_NAMES.get(field, ()) if name in by_folded]
    if near or usual:
        return f"did you mean {reading.key}.columns.{field} = {by_folded[(near or usual)[0]]!r}?"
    return f"set {reading.key}.columns.{field} to the column that holds it"


def _shown(names: Sequence[str]) -> str:
    text = ", ".join(names)
    return text if len(text) <= 300 else text[:300] + " ..."


def field_error(record: Record, field: str, must: str, got: Any) -> ProblemError:
    """The error for a field that holds something else than it must."""
    return ProblemError(
        f"field {field!r} is {must}", f"{field} is {repr(got)[:120]} in {record.where}", "mend the record"
    )


def missing(record: Record, field: str, must: str, reading: Reading) -> ProblemError:
    """The error for a field that a record does not have, with the columns that it has."""
    name, found = names_of(field, reading)[0], list(_column_names(record.values))
    called = f"field {field!r}" if name == field else f"field {field!r} (column {name!r})"
    got = f"nothing in {record.where}, which has the columns {_shown(found)}"
    do = "mend the record" if name in found or name != field else _suggestion(field, name, found, reading)
    return ProblemError(f"{called} is {must}", got, do)
