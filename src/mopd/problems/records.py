"""Records become problems, and given completions: what each field must hold, and errors that say where it does not."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mopd.core.errors import ProblemError
from mopd.core.files import is_unicode
from mopd.core.types import Message, Problem
from mopd.problems.columns import (
    Reading,
    Record,
    check_columns,
    field_error,
    look_up,
    missing,
    names_of,
    value_of,
)
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

KEPT = ("solution", "tests", "public_tests", "compare", "ordered")
"""Fields that are looked for in a problem's columns: they stand there under these names too, whatever a file says."""


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
    given = value_of(record, "id", reading)
    is_id = _is_text(given) or (isinstance(given, int | float) and not isinstance(given, bool) and math.isfinite(given))
    return GivenCompletion(None, given if is_id else record.number, fault=f"{error.must}; got {error.got}")


def _checked(records: Iterable[Record], source: str, reading: Reading) -> list[Record]:
    records = list(records)
    if not records:
        raise ProblemError("a problem file holds at least one problem", f"{source} is empty", "check problems.source")
    check_columns(records, reading)
    return records


def _to_problem(record: Record, reading: Reading) -> Problem:
    taken = {name: value_of(record, name, reading) for name in KEPT if _is_taken(record, name, reading)}
    verifier = _verifier_name(record, reading) if reading.verifier == "auto" else reading.verifier
    if verifier == "code":
        _check_tests(record, reading)
    ordered = value_of(record, "ordered", reading)
    if verifier == "tool_use" and not (ordered is None or isinstance(ordered, bool)):
        raise field_error(record, "ordered", "true or false", ordered)  # the text "false" would pass for true
    messages = read_messages(record, reading)
    return Problem(
        id=_id(record, reading),
        messages=messages,
        reference=_reference(record, reading, verifier, messages),
        verifier=verifier,
        domain=reading.domain or str(value_of(record, "domain", reading) or "default"),
        columns={**record.values, **taken},
        shadowed={name: record.values[name] for name in taken if name in record.values},
        where=record.where,
    )


def _is_taken(record: Record, name: str, reading: Reading) -> bool:
    """Whether a field is other than the record's own column of that name: another column, or what a cell means."""
    return reading.columns.get(name, name) != name or (record.are_cells and name in record.values)


# --- fields ---------------------------------------------------------------------------------------------------------


def _id(record: Record, reading: Reading) -> str:
    return str(_id_as_written(record, reading))


def _id_as_written(record: Record, reading: Reading) -> str | float:
    given = value_of(record, "id", reading)
    if given is None:
        return record.number
    if _is_text(given) or type(given) is int or (type(given) is float and math.isfinite(given)):
        written: str | float = given
        return written
    name = next(name for name in names_of("id", reading) if look_up(record.values, name) is not None)
    raise field_error(record, name, "text or a number", given)


def read_messages(record: Record, reading: Reading) -> tuple[Message, ...]:
    """What the student reads. Raises ProblemError."""
    prompt, system = value_of(record, "prompt", reading), value_of(record, "system", reading)
    if not (system is None or isinstance(system, str)) or (isinstance(system, str) and not is_unicode(system)):
        raise field_error(record, "system", "text or null", system)
    turns = [Message(role="system", content=system)] if system and system.strip() else []
    if isinstance(prompt, str) and _is_text(prompt):
        return (*turns, Message(role="user", content=prompt))
    if not isinstance(prompt, list) or not prompt or not all(_is_message(turn) for turn in prompt):
        must = f"text, or a list of {{role, content}} with roles {', '.join(ROLES)}"
        raise (
            missing(record, "prompt", must, reading) if prompt is None else field_error(record, "prompt", must, prompt)
        )
    if prompt[-1]["role"] != "user":
        raise field_error(record, "prompt", "a list that ends with a user turn", f"last turn: {prompt[-1]['role']}")
    if turns and any(turn["role"] == "system" for turn in prompt):
        raise field_error(record, "system", "absent where the prompt has a system turn of its own", system)
    return (*turns, *(Message(role=turn["role"], content=turn["content"]) for turn in prompt))


def _is_message(turn: Any) -> bool:
    return isinstance(turn, dict) and turn.get("role") in ROLES and _is_text(turn.get("content"))


def _is_text(value: Any) -> bool:
    """True for text that holds more than white space and that UTF-8 can write."""
    return isinstance(value, str) and bool(value.strip()) and is_unicode(value)


def _reference(record: Record, reading: Reading, verifier: str, messages: tuple[Message, ...]) -> str | None:
    answer, must = value_of(record, "answer", reading), "the problem's gold answer"
    if verifier == "code" and (answer is None or says_nothing(answer)):
        return None  # the tests judge
    if not reading.needs_answer and (answer is None or (isinstance(answer, str) and not answer.strip())):
        return None
    if answer is None:
        raise missing(record, "answer", must, reading)
    try:
        text = reference_text(answer, verifier, messages)
    except TypeError:  # bytes, as parquet may hold them
        text = ""
    if not _is_text(text):
        raise field_error(record, "answer", must, answer)
    return text


def _check_tests(record: Record, reading: Reading) -> None:
    """Refuse a code problem that could not be judged: here, and not when its first rollout is."""
    for name, must in (("tests", "the tests that judge a completion"), ("public_tests", "tests that may be shown")):
        tests = value_of(record, name, reading)
        if tests is None or says_nothing(tests):
            if name == "tests":
                raise missing(record, name, must, reading)
            continue
        try:
            read_tests(tests)
        except ValueError as error:
            raise ProblemError(
                f"field {name!r} is {must}", f"{name} in {record.where}: {error}", "mend the record"
            ) from error
    compare = value_of(record, "compare", reading)
    if compare is not None and compare not in COMPARISONS:
        raise field_error(record, "compare", f"one of {', '.join(COMPARISONS)}", compare)


def _completion(record: Record, reading: Reading) -> str:
    """Any text, empty or with half a surrogate pair: what is given to be judged is judged."""
    given, must = value_of(record, "completion", reading), "the text to be judged"
    if given is None and record.are_cells and any(name in record.values for name in names_of("completion", reading)):
        return ""  # an empty cell
    if given is None:
        raise missing(record, "completion", must, reading)
    if not isinstance(given, str):
        raise field_error(record, names_of("completion", reading)[0], must, given)
    return given


def _verifier_name(record: Record, reading: Reading) -> str:
    given = value_of(record, "kind", reading)
    kind = "exact" if given is None else given
    if not isinstance(kind, str) or kind not in VERIFIER_OF_KIND:
        raise field_error(record, "kind", f"one of {', '.join(VERIFIER_OF_KIND)} (or set problems.verifier)", kind)
    return VERIFIER_OF_KIND[kind]
