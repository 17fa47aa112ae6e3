"""Records become problems: which column holds what, and errors that say where and what to write instead."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mopd.core.errors import ProblemError
from mopd.core.files import is_unicode
from mopd.core.types import Message, Problem
from mopd.problems.references import reference_text
from mopd.verifiers.code_tests import COMPARISONS, read_tests, says_nothing

VERIFIER_OF_KIND = {
    "math": "math",
    "mcq": "multiple_choice",
    "tooluse": "tool_use",
    "code": "code",
    "exact": "exact",
}
"""The verifier that `auto` takes for a record's `kind`."""

ROLES = ("system", "user", "assistant")
"""The turns a prompt may have."""

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

KEPT = ("solution", "tests", "public_tests", "compare", "ordered")
"""Fields that are looked for in a problem's columns: they stand there under these names too, whatever a file says."""

USUAL_NAMES: dict[str, tuple[str, ...]] = {
    "prompt": ("question", "problem", "query", "instruction", "input", "messages", "conversation", "text"),
    "answer": ("final_answer", "ground_truth", "gold", "reference", "expected_answer", "label", "target", "solution"),
    "tests": ("test", "test_cases", "private_tests", "hidden_tests", "input_output", "verification_info"),
    "completion": ("response", "output", "generation", "generated_text", "model_output", "prediction"),
}
"""What other data sets call a field: suggested, never read unasked."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record and where it stands: the `number`-th `unit` (line, record, row; from 1) of `source`."""

    values: Mapping[str, Any]
    source: str
    unit: str
    number: int

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


@dataclass(frozen=True, slots=True)
class GivenCompletion:
    """A completion that a record holds, with its problem, and the record's id as it is written there.

    Where the record is at fault there is no problem, and `fault` says why: others are judged all the same.
    """

    problem: Problem | None
    id: str | float
    text: str = ""
    fault: str = ""


def to_problems(records: Iterable[Record], source: str, reading: Reading) -> list[Problem]:
    """The problems that `records` of `source` say, in order, each with an id of its own.

    A problem's `columns` are its record whole, under the file's own names; a field of `KEPT` that is read from another
    column is there under both names, and what its name held before is `shadowed`. Raises ProblemError naming place
    and field.
    """
    records = _checked(records, source, reading)
    record_of_id: dict[str, Record] = {}
    problems = []
    for record in records:
        problem = _to_problem(record, reading)
        first = record_of_id.setdefault(problem.id, record)
        if first is not record:
            raise ProblemError(
                "every problem has an id of its own",
                f"id {problem.id!r} in {record.unit}s {first.number} and {record.number} of {source}",
                f"rename or remove one of them, or set {reading.key}.columns.id to another column",
            )
        problems.append(problem)
    return problems


def to_completions(records: Iterable[Record], source: str, reading: Reading) -> list[GivenCompletion]:
    """The completions that `records` of `source` hold, in order; several may be of one problem, with one id.

    Raises ProblemError where there is none at all, the first one's naming place and field.
    """
    records = _checked(records, source, reading)
    found = [_to_completion(record, reading) for record in records]
    faults = [one for one in found if isinstance(one, ProblemError)]
    if len(faults) == len(found):
        raise faults[0]
    return [
        _at_fault(record, one, reading) if isinstance(one, ProblemError) else one
        for record, one in zip(records, found, strict=True)
    ]


def _to_completion(record: Record, reading: Reading) -> GivenCompletion | ProblemError:
    try:
        problem, text = _to_problem(record, reading), _completion(record, reading)
        return GivenCompletion(problem, _id_as_written(record, reading), text)
    except ProblemError as error:
        return error


def _at_fault(record: Record, error: ProblemError, reading: Reading) -> GivenCompletion:
    given = _get(record, "id", reading)
    is_id = _is_text(given) or (isinstance(given, int | float) and not isinstance(given, bool) and math.isfinite(given))
    return GivenCompletion(None, given if is_id else record.number, fault=f"{error.must}; got {error.got}")


def _checked(records: Iterable[Record], source: str, reading: Reading) -> list[Record]:
    records = list(records)
    if not records:
        raise ProblemError("a problem file holds at least one problem", f"{source} is empty", "check problems.source")
    _check_columns(records, reading)
    return records


def _to_problem(record: Record, reading: Reading) -> Problem:
    taken = {name: _get(record, name, reading) for name in KEPT if reading.columns.get(name, name) != name}
    verifier = _verifier_name(record, reading) if reading.verifier == "auto" else reading.verifier
    if verifier == "code":
        _check_tests(record, reading)
    ordered = _get(record, "ordered", reading)
    if verifier == "tool_use" and not (ordered is None or isinstance(ordered, bool)):
        raise _field_error(record, "ordered", "true or false", ordered)  # the text "false" would pass for true
    messages = read_messages(record, reading)
    return Problem(
        id=_id(record, reading),
        messages=messages,
        reference=_reference(record, reading, verifier, messages),
        verifier=verifier,
        domain=reading.domain or str(_get(record, "domain", reading) or "default"),
        columns={**record.values, **taken},
        shadowed={name: record.values[name] for name in taken if name in record.values},
        where=record.where,
    )


# --- columns --------------------------------------------------------------------------------------------------------


def _names(field: str, reading: Reading) -> tuple[str, ...]:
    return (reading.columns[field],) if field in reading.columns else COLUMNS[field]


def _get(record: Record, field: str, reading: Reading) -> Any:
    """What the record says of a field; None where it says nothing (nan, as tables write it, says nothing)."""
    values = (look_up(record.values, name) for name in _names(field, reading))
    return next((value for value in values if value is not None and value == value), None)


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


def _check_columns(records: Sequence[Record], reading: Reading) -> None:
    """Refuse a mapped column that no record has: a name that is wrong everywhere is a wrong name."""
    for wanted, name in reading.columns.items():
        if all(look_up(record.values, name) is None for record in records):
            found = list(dict.fromkeys(column for record in records[:100] for column in _column_names(record.values)))
            raise ProblemError(
                f"column {name!r}, which {reading.key}.columns.{wanted} names, holds something",
                f"nothing in {records[0].source}, which has the columns {_shown(found)}",
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


# --- fields ---------------------------------------------------------------------------------------------------------


def _id(record: Record, reading: Reading) -> str:
    return str(_id_as_written(record, reading))


def _id_as_written(record: Record, reading: Reading) -> str | float:
    given = _get(record, "id", reading)
    if given is None:
        return record.number
    if _is_text(given) or type(given) is int or (type(given) is float and math.isfinite(given)):
        written: str | float = given
        return written
    name = next(name for name in _names("id", reading) if look_up(record.values, name) is not None)
    raise _field_error(record, name, "text or a number", given)


def read_messages(record: Record, reading: Reading) -> tuple[Message, ...]:
    """What the student reads. Raises ProblemError."""
    prompt, system = _get(record, "prompt", reading), _get(record, "system", reading)
    if not (system is None or isinstance(system, str)) or (isinstance(system, str) and not is_unicode(system)):
        raise _field_error(record, "system", "text or null", system)
    turns = [Message(role="system", content=system)] if system and system.strip() else []
    if isinstance(prompt, str) and _is_text(prompt):
        return (*turns, Message(role="user", content=prompt))
    if not isinstance(prompt, list) or not prompt or not all(_is_message(turn) for turn in prompt):
        must = f"text, or a list of {{role, content}} with roles {', '.join(ROLES)}"
        raise (
            _missing(record, "prompt", must, reading)
            if prompt is None
            else _field_error(record, "prompt", must, prompt)
        )
    if prompt[-1]["role"] != "user":
        raise _field_error(record, "prompt", "a list that ends with a user turn", f"last turn: {prompt[-1]['role']}")
    if turns and any(turn["role"] == "system" for turn in prompt):
        raise _field_error(record, "system", "absent where the prompt has a system turn of its own", system)
    return (*turns, *(Message(role=turn["role"], content=turn["content"]) for turn in prompt))


def _is_message(turn: Any) -> bool:
    return isinstance(turn, dict) and turn.get("role") in ROLES and _is_text(turn.get("content"))


def _is_text(value: Any) -> bool:
    """True for text that holds more than white space and that UTF-8 can write."""
    return isinstance(value, str) and bool(value.strip()) and is_unicode(value)


def _reference(record: Record, reading: Reading, verifier: str, messages: tuple[Message, ...]) -> str | None:
    answer, must = _get(record, "answer", reading), "the problem's gold answer"
    if verifier == "code" and (answer is None or says_nothing(answer)):
        return None  # the tests judge
    if not reading.needs_answer and (answer is None or (isinstance(answer, str) and not answer.strip())):
        return None
    if answer is None:
        raise _missing(record, "answer", must, reading)
    try:
        text = reference_text(answer, verifier, messages)
    except TypeError:  # bytes, as parquet may hold them
        text = ""
    if not _is_text(text):
        raise _field_error(record, "answer", must, answer)
    return text


def _check_tests(record: Record, reading: Reading) -> None:
    """Refuse a code problem that could not be judged: here, and not when its first rollout is."""
    for name, must in (("tests", "the tests that judge a completion"), ("public_tests", "tests that may be shown")):
        tests = _get(record, name, reading)
        if tests is None or says_nothing(tests):
            if name == "tests":
                raise _missing(record, name, must, reading)
            continue
        try:
            read_tests(tests)
        except ValueError as error:
            raise ProblemError(f"field {name!r} is {must}", f"in {record.where}: {error}", "mend the record") from error
    compare = _get(record, "compare", reading)
    if compare is not None and compare not in COMPARISONS:
        raise _field_error(record, "compare", f"one of {', '.join(COMPARISONS)}", compare)


def _completion(record: Record, reading: Reading) -> str:
    """Any text, empty or with half a surrogate pair: what is given to be judged is judged."""
    given, must = _get(record, "completion", reading), "the text to be judged"
    if given is None:
        raise _missing(record, "completion", must, reading)
    if not isinstance(given, str):
        raise _field_error(record, _names("completion", reading)[0], must, given)
    return given


def _verifier_name(record: Record, reading: Reading) -> str:
    given = _get(record, "kind", reading)
    kind = "exact" if given is None else given
    if not isinstance(kind, str) or kind not in VERIFIER_OF_KIND:
        raise _field_error(record, "kind", f"one of {', '.join(VERIFIER_OF_KIND)} (or set problems.verifier)", kind)
    return VERIFIER_OF_KIND[kind]


def _field_error(record: Record, field: str, must: str, got: Any) -> ProblemError:
    return ProblemError(f"field {field!r} is {must}", f"{repr(got)[:120]} in {record.where}", "mend the record")


def _missing(record: Record, field: str, must: str, reading: Reading) -> ProblemError:
    """The error for a field that a record does not have, with the columns that it has."""
    name, found = _names(field, reading)[0], list(_column_names(record.values))
    called = f"field {field!r}" if name == field else f"field {field!r} (column {name!r})"
    got = f"nothing in {record.where}, which has the columns {_shown(found)}"
    do = "mend the record" if name in found or name != field else _suggestion(field, name, found, reading)
    return ProblemError(f"{called} is {must}", got, do)
