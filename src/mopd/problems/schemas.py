"""Schemas of public data sets: a record of one becomes a record as this project has them, or is left out and counted.

Each is one function and one entry of `SCHEMAS`. What a schema does not turn into a field keeps its own name among a
problem's columns, but for names that mean something here: those come from the schema alone.
"""

from __future__ import annotations

import datetime
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mopd.config import SchemaName
from mopd.core.errors import ConfigError, ProblemError
from mopd.problems.columns import COLUMNS, Record
from mopd.problems.encoded_tests import decode_text

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Why a record is no problem of the source."""

    reason: str


@dataclass(frozen=True)
class Schema:
    """How records of a data set are read.

    `convert` takes a record and the options, and raises ValueError with what must hold. Every record has `columns`;
    those of `raw` are turned into fields and not kept. `options` are their names and defaults, all texts.
    """

    convert: Callable[[Values, Mapping[str, str]], Values | LeftOut]
    columns: tuple[str, ...]
    raw: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    check: Callable[[Mapping[str, str]], None] = lambda options: None


def convert(
    records: Iterable[Record], name: SchemaName, given: Mapping[str, Any], key: str, left_out: Counter[str]
) -> Iterator[Record]:
    """The records as this project has them, in order; those left out are counted in `left_out` by reason.

    Raises ConfigError where an option does not exist or suit, ProblemError where a record does not follow the schema.
    """
    schema, options = SCHEMAS[name], _options(name, given, key)
    own, kept_count = Counter[str](), 0
    for record in records:
        converted = _convert_one(record, name, schema, options)
        if isinstance(converted, LeftOut):
            own[converted.reason] += 1
        else:
            kept_count += 1
            yield replace(record, values=converted)
    left_out.update(own)
    if own and not kept_count:
        reasons = ", ".join(f"{reason} ({count})" for reason, count in own.most_common())
        raise ProblemError(
            f"the schema {name!r} finds problems in the source", f"no problem is left: {reasons}", f"see {key}.options"
        )


def _options(name: SchemaName, given: Mapping[str, Any], key: str) -> dict[str, str]:
    schema = SCHEMAS[name]
    for option, value in given.items():
        if option not in schema.options or not isinstance(value, str):
            known = ", ".join(schema.options) or "none"
            raise ConfigError(
                f"{key}.options of the schema {name!r} are texts; there are {known}",
                f"{option} = {value!r}",
                f"mend {key}.options",
            )
    options = {**schema.options, **given}
    try:
        schema.check(options)
    except ValueError as error:
        raise ConfigError(f"{key}.options suit the schema {name!r}", str(error), f"mend {key}.options") from error
    return options


def _convert_one(record: Record, name: str, schema: Schema, options: Mapping[str, str]) -> Values | LeftOut:
    missing = [column for column in schema.columns if column not in record.values]
    if missing:
        found = ", ".join(record.values)
        got = f"no {', '.join(missing)} in {record.where}, which has the columns {found[:300]}"
        do = "check problems.record_schema; without it, problems.columns says what columns hold"
        raise ProblemError(f"a record of the schema {name!r} has the columns {', '.join(schema.columns)}", got, do)
    try:
        converted = schema.convert(record.values, options)
    except ValueError as error:
        must = f"a record follows the schema {name!r}"
        raise ProblemError(
            must, f"{record.where}: {error}", "mend the record, or check problems.record_schema"
        ) from error
    if isinstance(converted, LeftOut):
        return converted
    own = {*schema.raw, *(column for columns in COLUMNS.values() for column in columns)}
    return {column: value for column, value in record.values.items() if column not in own} | dict(converted)


# --- code -----------------------------------------------------------------------------------------------------------

_ONE_BLOCK = "in one fenced code block that begins with ```python"


def _livecodebench(row: Values, options: Mapping[str, str]) -> Values | LeftOut:
    """Contest problems: the hidden tests are the public and the private ones, as the benchmark judges by both."""
    held = _text(row, "contest_date")[:10]
    for option, is_outside in (("since", held < options["since"]), ("until", held > (options["until"] or held))):
        if is_outside:
            return LeftOut(f"not {option} {options[option]}")
    function = _json(row["metadata"], "metadata", dict).get("func_name")
    public = _cases(row["public_test_cases"], "public_test_cases")
    tests = _tests(public + _cases(row["private_test_cases"], "private_test_cases"), function)
    return {
        "id": _text(row, "question_id"),
        "prompt": _contest_prompt(_text(row, "question_content"), row["starter_code"], tests["testtype"]),
        "kind": "code",
        "domain": "livecodebench",
        "tests": tests,
        "public_tests": _tests(public, function) if public else None,
        "compare": "numbers",
    }


def _contest_prompt(question: str, starter: Any, testtype: str) -> str:
    if testtype == "functional":
        code = f"```python\n{(starter or '').rstrip()}\n```"
        return (
            f"{question}\n\nComplete this Python code. Answer with all of the code, completed, {_ONE_BLOCK}.\n\n{code}"
        )
    how = "that reads its input from standard input and prints its output"
    return f"{question}\n\nWrite a Python program {how}. Answer with the whole program {_ONE_BLOCK}."


def _cases(value: Any, column: str) -> list[Values]:
    """Test cases: a list, JSON text of one, or that text in the encoding of the private ones."""
    if isinstance(value, str) and not value.lstrip().startswith("["):
        try:
            value = decode_text(value)
        except ValueError as error:
            raise ValueError(f"{column}: {error}") from error
    cases: list[Values] = _json(value, column, list)
    for number, case in enumerate(cases, start=1):
        if not isinstance(case, Mapping) or not {"input", "output", "testtype"} <= {*case}:
            raise ValueError(f"{column} are objects with input, output and testtype; number {number} is none")
    return cases


def _tests(cases: list[Values], function: Any) -> dict[str, Any]:
    types = list(dict.fromkeys(str(case["testtype"]) for case in cases))
    if len(types) != 1:
        raise ValueError(f"the tests of a problem are all of one testtype; got {', '.join(types) or 'no tests'}")
    tests = {
        "testtype": types[0],
        "inputs": [case["input"] for case in cases],
        "outputs": [case["output"] for case in cases],
    }
    return tests | ({"fn_name": function} if types == ["functional"] else {})


def _check_dates(options: Mapping[str, str]) -> None:
    for option in ("since", "until"):
        if options[option]:
            datetime.date.fromisoformat(options[option])


def _humaneval(row: Values, options: Mapping[str, str]) -> Values:
    """A function to complete. Its tests begin with the prompt, whose helper functions they may call."""
    stub = _text(row, "prompt")
    return {
        "id": _text(row, "task_id"),
        "prompt": f"Complete this Python function. Answer with the whole function, and with what it needs of the code "
        f"around it, {_ONE_BLOCK}.\n\n```python\n{stub.strip()}\n```",
        "kind": "code",
        "domain": "humaneval",
        "tests": {
            "testtype": "assert",
            "code": f"{stub.rstrip()}\n\n\n{_text(row, 'test').strip()}\n",
            "entry_point": _text(row, "entry_point"),
        },
        "solution": f"```python\n{stub.lstrip()}{_text(row, 'canonical_solution').rstrip()}\n```",
    }


def _mbpp(row: Values, options: Mapping[str, str]) -> Values:
    """A described function. The first assertion is shown, since nothing else says what it is called."""
    described = row.get("text") or row.get("prompt")
    if not isinstance(described, str):
        raise ValueError("text (of the full set) or prompt (of the sanitized one) describes the function; got nothing")
    asserts = _json(row["test_list"], "test_list", list)
    if not asserts or not all(isinstance(each, str) for each in asserts):
        raise ValueError("test_list is a list of assertions, at least one")
    setup = [row.get("test_setup_code") or "", *_json(row.get("test_imports") or [], "test_imports", list)]
    first, every = ("\n".join([*filter(None, setup), *each]) for each in (asserts[:1], asserts))
    return {
        "id": str(row["task_id"]),
        "prompt": f"{described.strip()}\n\nYour code must pass tests such as this:\n\n```python\n{asserts[0]}\n```\n\n"
        f"Answer with Python code {_ONE_BLOCK}.",
        "kind": "code",
        "domain": "mbpp",
        "tests": {"testtype": "assert", "code": every},
        "public_tests": {"testtype": "assert", "code": first},
        "solution": f"```python\n{_text(row, 'code').strip()}\n```",
    }


# --- science --------------------------------------------------------------------------------------------------------


def _sciknoweval(row: Values, options: Mapping[str, str]) -> Values | LeftOut:
    """Multiple choice of one level. Records of the set whose options are damaged are left out, not guessed at."""
    details, domain = _json(row["details"], "details", dict), _text(row, "domain")
    if "level" not in details:
        raise ValueError("details is an object with the level")
    if options["level"] and details["level"] != options["level"]:
        return LeftOut(f"level is not {options['level']}")
    if options["domain"] and domain.casefold() != options["domain"].casefold():
        return LeftOut(f"domain is not {options['domain']}")
    if not _text(row, "type").startswith("mcq"):
        return LeftOut("not multiple choice")
    choices = _json(row.get("choices") or {}, "choices", dict)
    texts, labels, answer = choices.get("text"), choices.get("label"), str(row.get("answerKey") or "").strip()
    if not texts or not labels or len(texts) != len(labels):
        return LeftOut("not one label for each option")
    if answer not in labels:
        return LeftOut("answerKey is no label of an option")
    letters = f"{', '.join(labels[:-1])} or {labels[-1]}"
    shown = "\n".join(f"{label}: {text}" for label, text in zip(labels, texts, strict=True))
    return {
        "prompt": f"{_text(row, 'question')}\n\n{shown}\n\nReason step by step between <reasoning> and </reasoning>. "
        f"Then write between <answer> and </answer> the letter of the right option, {letters}, and nothing else.",
        "answer": answer,
        "kind": "mcq",
        "domain": domain.casefold(),
    }


# --- mathematics ----------------------------------------------------------------------------------------------------

_CALCULATION = re.compile(r"<<[^<>]*>>")
"""What a calculator would be asked, as GSM8K's solutions write it beside each result; no text that a model writes."""


def _gsm8k(row: Values, options: Mapping[str, str]) -> Values:
    """Word problems whose solution ends in a line `#### 72`."""
    worked, mark, answer = _text(row, "answer").rpartition("####")
    if not mark or not answer.strip() or "\n" in answer.strip():
        raise ValueError(f"answer ends in a line such as '#### 72'; got {row['answer'][-80:]!r}")
    steps = _CALCULATION.sub("", worked).strip()
    return {
        "prompt": f"{_text(row, 'question').strip()}\n\nReason step by step, and put the final answer in \\boxed{{}}.",
        "answer": answer.strip(),
        "kind": "math",
        "domain": "gsm8k",
        "solution": f"{steps}\n\n\\boxed{{{answer.strip()}}}",
    }


# --- values ---------------------------------------------------------------------------------------------------------


def _text(row: Values, column: str) -> str:
    value = row[column]
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"column {column!r} is text; got {repr(value)[:80]}")
    return value


def _json(value: Any, column: str, kind: type) -> Any:
    """A value of a kind, itself or in JSON text."""
    try:
        found = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{column} is JSON; {str(error) or type(error).__name__}") from error
    if not isinstance(found, kind):
        raise ValueError(f"{column} is a JSON {'list' if kind is list else 'object'}; got {repr(found)[:80]}")
    return found


SCHEMAS: dict[SchemaName, Schema] = {
    "gsm8k": Schema(_gsm8k, ("question", "answer")),
    "humaneval": Schema(_humaneval, ("task_id", "prompt", "canonical_solution", "test", "entry_point"), ("test",)),
    "livecodebench": Schema(
        _livecodebench,
        (
            *("question_id", "question_content", "starter_code", "contest_date"),
            *("public_test_cases", "private_test_cases", "metadata"),
        ),
        ("public_test_cases", "private_test_cases", "question_content"),
        {"since": "", "until": ""},
        _check_dates,
    ),
    "mbpp": Schema(_mbpp, ("task_id", "code", "test_list"), ("test_list", "challenge_test_list")),
    "sciknoweval": Schema(
        _sciknoweval,
        ("question", "choices", "answerKey", "domain", "details", "type"),
        options={"level": "L3", "domain": ""},
    ),
}
"""The schemas by name; another is one more entry."""
