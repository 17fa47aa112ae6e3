"""Schemas: records of public data sets are read as they are published, and nothing that comes with them is run."""

from __future__ import annotations

import base64
import json
import os
import pickle
import typing
import zlib
from collections import Counter
from pathlib import Path

import datasets
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mopd import verifiers
from mopd.config import ProblemsConfig, SchemaName, SourceConfig, build_config
from mopd.core.errors import ConfigError, ProblemError
from mopd.problems import load_problems, read_problems
from mopd.problems.encoded_tests import decode_text, pickled_text
from mopd.problems.schemas import SCHEMAS
from mopd.verifiers.code_tests import AssertTests, FunctionalTests, StdinTests, read_tests

DATA = Path(os.environ.get("MOPD_SHARED_DATA") or Path(__file__).parents[3] / "shared" / "data")


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def encode(data):
    return base64.b64encode(zlib.compress(data)).decode()


def cases(*pairs, testtype="stdin"):
    return json.dumps([{"input": given, "output": wanted, "testtype": testtype} for given, wanted in pairs])


def contest(number, private, testtype="stdin", **fields):
    return {
        "question_title": f"Sum {number}",
        "question_content": f"Add the two numbers. Variant {number}.",
        "platform": "atcoder",
        "question_id": f"abc{number}",
        "contest_id": "abc",
        "contest_date": f"2025-0{number}-04T00:00:00",
        "starter_code": "",
        "difficulty": "easy",
        "public_test_cases": cases(("1 2\n", "3\n"))
        if testtype == "stdin"
        else cases(("1\n2", "3"), testtype=testtype),
        "private_test_cases": private,
        "metadata": "{}",
    } | fields


CONTESTS = [
    contest(1, cases(("3 4\n", "7\n"), ("5 6\n", "11\n"))),
    contest(2, encode(pickle.dumps(cases(("3 4\n", "7\n"))))),
    contest(
        3,
        encode(pickle.dumps(cases(("3\n4", "7"), testtype="functional"), protocol=2)),
        "functional",
        starter_code="class Solution:\n    def add(self, a: int, b: int) -> int:\n        ",
        metadata='{"func_name": "add"}',
    ),
]

HUMANEVAL = [
    {
        "task_id": f"HumanEval/{number}",
        "prompt": f'\ndef half(x: int):\n    return x // 2\n\n\ndef f{number}(x: int) -> int:\n    """Twice."""\n',
        "canonical_solution": "    return half(4 * x)\n",
        "test": f"\n\ndef check(candidate):\n    assert candidate(1) == half(4) * {number + 1} // {number + 1}\n",
        "entry_point": f"f{number}",
    }
    for number in range(2)
]

MBPP = [
    {
        "task_id": 11,
        "text": "Write a python function to add two numbers.",
        "code": "def add(a, b):\n    return a + b",
        "test_list": ["assert add(1, 2) == 3", "assert add(0, math.inf) == math.inf"],
        "test_setup_code": "import math",
        "challenge_test_list": ["assert add(-1, 1) == 0"],
    }
]

SCIENCE = [
    {
        "prompt": {"default": "Answer at once."},
        "question": f"What is {number} N?",
        "answer": "",
        "type": "mcq-4-choices",
        "domain": domain,
        "details": {"level": "L3", "task": "calculation", "subtask": "x", "source": "y"},
        "answerKey": "B",
        "choices": {"text": ["a force", "a mass", "a heat", "a time"], "label": ["A", "B", "C", "D"]},
    }
    for number, domain in enumerate(["Physics", "Chemistry", "Physics"])
]
DAMAGED = [
    SCIENCE[0] | {"details": SCIENCE[0]["details"] | {"level": "L1"}},
    SCIENCE[0] | {"type": "open-ended-qa", "choices": {"text": [], "label": []}, "answerKey": None},
    SCIENCE[0] | {"choices": {"text": ["one", "two", "three"], "label": ["A", "B", "C", "D"]}},
    SCIENCE[0] | {"answerKey": "E"},
]

WORDS = {"question": "How many are 40 and 1,032?", "answer": "They are <<40+1032=1072>>1072.\nAll.\n#### 1,072"}

SETS = {"gsm8k": [WORDS], "livecodebench": CONTESTS, "humaneval": HUMANEVAL, "mbpp": MBPP, "sciknoweval": SCIENCE}


def write(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def in_every_form(tmp_path, records):
    """The same records as JSON lines and parquet, each alone and in a folder that `datasets` opens."""
    table = pyarrow.Table.from_pylist(records)
    for kind in ("lines", "table"):
        (tmp_path / kind).mkdir()
    pyarrow.parquet.write_table(table, tmp_path / "table" / "test.parquet")
    return {
        "JSONL": str(write(tmp_path / "lines" / "test.jsonl", records)),
        "parquet": str(tmp_path / "table" / "test.parquet"),
        "a folder with JSONL": f"hub:{tmp_path / 'lines'}",
        "a folder with parquet": f"hub:{tmp_path / 'table'}",
    }


def read(source, schema, **fields):
    return read_problems(SourceConfig(source=str(source), record_schema=schema, **fields), 0)


def refused(source, schema, *says, error=ProblemError, **fields):
    with pytest.raises(error) as caught:
        read(source, schema, **fields)
    text = str(caught.value)
    assert all(word in text for word in says), text
    assert caught.value.do
    assert len(text) < 1000
    return caught.value


# --- every schema ---------------------------------------------------------------------------------------------------


def test_the_configuration_knows_every_schema():
    assert {*typing.get_args(SchemaName)} == {*SCHEMAS} == {*SETS}


@pytest.mark.parametrize("schema", SETS)
def test_every_form_of_a_set_says_the_same_problems(tmp_path, schema):
    by_form = {form: read(source, schema) for form, source in in_every_form(tmp_path, SETS[schema]).items()}
    expected = [(p.id, p.messages, p.reference, p.verifier, p.domain, p.columns.get("tests")) for p in by_form["JSONL"]]
    assert len(expected) == len(SETS[schema])
    for form, problems in by_form.items():
        found = [(p.id, p.messages, p.reference, p.verifier, p.domain, p.columns.get("tests")) for p in problems]
        assert found == expected, form


@pytest.mark.parametrize("schema", SETS)
def test_a_missing_column_is_named_with_the_schema_and_the_place(tmp_path, schema):
    for column in SCHEMAS[schema].columns:
        first = SETS[schema][0]
        records = [first, {name: value for name, value in first.items() if name != column}]
        path = write(tmp_path / "a.jsonl", records)
        error = refused(path, schema, f"the schema '{schema}'", f"no {column}", "problems.record_schema")
        assert f"{path}, line 2" in error.got


@pytest.mark.parametrize("schema", SETS)
def test_a_source_without_a_schema_reads_no_schema(tmp_path, schema):
    path = write(tmp_path / "a.jsonl", SETS[schema])
    with pytest.raises(ProblemError, match=r"field '(prompt|answer)'"):
        read(path, None)


def test_a_schema_takes_no_columns_belongs_to_no_generated_source_and_is_spelt_right(tmp_path):
    path = write(tmp_path / "a.jsonl", MBPP)
    refused(path, "mbpp", "problems.columns", "both", error=ConfigError, columns={"prompt": "text"})
    refused("sort-digits", "mbpp", "problems.record_schema", error=ConfigError, size=10)
    with pytest.raises(ConfigError, match="mbbp"):
        build_config({"problems": {"record_schema": "mbbp"}})


def test_options_that_a_schema_does_not_have_are_refused(tmp_path):
    refused(write(tmp_path / "a.jsonl", MBPP), "mbpp", "there are none", error=ConfigError, options={"level": "L3"})
    path = write(tmp_path / "b.jsonl", SCIENCE)
    refused(path, "sciknoweval", "level, domain", "leve", error=ConfigError, options={"leve": "L3"})
    refused(path, "sciknoweval", "3", error=ConfigError, options={"level": 3})


# --- LiveCodeBench --------------------------------------------------------------------------------------------------


def test_livecodebench_judges_by_public_and_private_tests_and_shows_only_the_public_ones(tmp_path):
    problems = read(write(tmp_path / "a.jsonl", CONTESTS), "livecodebench")
    assert [p.id for p in problems] == ["abc1", "abc2", "abc3"]
    assert {(p.verifier, p.domain, p.reference) for p in problems} == {("code", "livecodebench", None)}
    assert [read_tests(p.columns["tests"]) for p in problems] == [
        StdinTests(("1 2\n", "3 4\n", "5 6\n"), ("3\n", "7\n", "11\n")),
        StdinTests(("1 2\n", "3 4\n"), ("3\n", "7\n")),
        FunctionalTests("add", ((1, 2), (3, 4)), (3, 7)),
    ]
    assert [len(p.columns["public_tests"]["inputs"]) for p in problems] == [1, 1, 1]
    assert {p.columns["compare"] for p in problems} == {"numbers"}  # as the benchmark's grader compares
    assert problems[0].columns["platform"] == "atcoder"
    assert "private_test_cases" not in problems[0].columns


def test_livecodebench_prompts_ask_for_a_program_or_for_the_starter_code_completed(tmp_path):
    program, _, function = [
        p.messages[0]["content"] for p in read(write(tmp_path / "a.jsonl", CONTESTS), "livecodebench")
    ]
    assert program.startswith(CONTESTS[0]["question_content"])
    assert "standard input" in program
    assert "class Solution" in function
    assert "standard input" not in function
    assert all("one fenced code block" in prompt for prompt in (program, function))
    assert all("3 4" not in prompt for prompt in (program, function))


def test_livecodebench_is_cut_by_the_dates_of_contests_and_what_is_left_out_is_counted(tmp_path):
    path = write(tmp_path / "a.jsonl", CONTESTS)
    options = {"since": "2025-02-01", "until": "2025-02-04"}
    left_out = Counter()
    source = SourceConfig(source=str(path), record_schema="livecodebench", options=options)
    assert [p.id for p in read_problems(source, 0, left_out=left_out)] == ["abc2"]
    assert left_out == {"not since 2025-02-01": 1, "not until 2025-02-04": 1}
    refused(path, "livecodebench", "not since 2026-01-01 (3)", options={"since": "2026-01-01"})
    refused(path, "livecodebench", "1.2.25", error=ConfigError, options={"since": "1.2.25"})


BAD_CONTESTS = {
    "other bytes": ({"private_test_cases": "abc!"}, ["private_test_cases", "base64"]),
    "base64 of other bytes": ({"private_test_cases": base64.b64encode(b"abcd").decode()}, ["zlib"]),
    "a pickled list": ({"private_test_cases": encode(pickle.dumps([1]))}, ["private_test_cases", "EMPTY_LIST"]),
    "a pickled text that is no JSON": ({"private_test_cases": encode(pickle.dumps("x"))}, ["private_test_cases"]),
    "a JSON object": ({"public_test_cases": "{}"}, ["public_test_cases"]),
    "a case without output": ({"public_test_cases": '[{"input": "", "testtype": "stdin"}]'}, ["number 1"]),
    "two testtypes": ({"private_test_cases": cases(("1", "1"), testtype="functional")}, ["stdin, functional"]),
    "no tests": ({"public_test_cases": "[]", "private_test_cases": "[]"}, ["no tests"]),
    "an unknown testtype": (
        {"public_test_cases": "[]", "private_test_cases": cases(("1", "1"), testtype="gui")},
        ["'tests'", "testtype is one of"],
    ),
    "functions without a name": (
        {"public_test_cases": "[]", "private_test_cases": cases(("1", "1"), testtype="functional")},
        ["'tests'", "fn_name"],
    ),
    "metadata that are no JSON": ({"metadata": "x"}, ["metadata is JSON"]),
    "a question without text": ({"question_content": " "}, ["'question_content' is text"]),
}


@pytest.mark.parametrize(("fields", "says"), BAD_CONTESTS.values(), ids=BAD_CONTESTS.keys())
def test_a_record_that_does_not_follow_livecodebench_is_refused_with_its_place(tmp_path, fields, says):
    path = write(tmp_path / "a.jsonl", [CONTESTS[0], CONTESTS[1] | fields])
    assert f"{path}, line 2" in refused(path, "livecodebench", *says).got


# --- pickles are read and never run ---------------------------------------------------------------------------------


@given(text=st.text(), protocol=st.integers(2, pickle.HIGHEST_PROTOCOL))
def test_a_pickled_text_is_read_whatever_its_protocol(text, protocol):
    assert pickled_text(pickle.dumps(text, protocol)) == text
    assert decode_text(encode(pickle.dumps(text, protocol))) == text


def test_a_long_pickled_text_is_read():
    assert pickled_text(pickle.dumps("x" * 200_000)) == "x" * 200_000


class Writes:
    """Unpickled, it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_would_run_something_is_refused_and_nothing_is_run(tmp_path, protocol):
    witness, data = tmp_path / "ran", pickle.dumps(Writes(tmp_path / "ran"), protocol)
    path = write(tmp_path / "a.jsonl", [CONTESTS[0] | {"private_test_cases": encode(data)}])
    refused(path, "livecodebench", "line 1", "refused", "instruction")
    assert not witness.exists()
    pickle.loads(data).close()
    assert witness.exists()  # so the pickle is one that runs


def pickles_with_more():
    text = pickle.dumps("text", 4)
    return {
        "a call before the text": b"cbuiltins\nprint\n(tR0" + text,
        "a call behind the text": text[:-1] + b"cbuiltins\nlist\n.",
        "another pickle behind it": text + pickle.dumps(Writes("never")),
        "two texts": text[:-1] + text[11:],
        "bytes behind its end": text + b" ",
        "an end that is missing": text[:-1],
        "a text cut short": text[:-5],
        "nothing": b"",
        "no text": pickle.dumps(None),
        "bytes": pickle.dumps(b"text"),
        "a number that says it is longer than all there is": b"\x80\x04\x8d" + b"\xff" * 8 + b".",
    }


@pytest.mark.parametrize("data", pickles_with_more().values(), ids=pickles_with_more().keys())
def test_a_pickle_of_anything_but_one_text_is_refused(data):
    with pytest.raises(ValueError, match="one text and nothing else"):
        pickled_text(data)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_text_or_a_named_error(data):
    for reader, given_data in ((pickled_text, data), (decode_text, base64.b64encode(data).decode())):
        try:
            text = reader(given_data)
        except ValueError as error:
            text = str(error)
        assert isinstance(text, str)


def test_unpacking_is_bounded():
    bomb = encode(b"\0" * 50_000_000)
    assert len(bomb) < 100_000
    with pytest.raises(ValueError, match="at most 1000000 bytes"):
        decode_text(bomb, max_bytes=1_000_000)
    text = pickle.dumps("x" * 100)
    assert decode_text(encode(text), max_bytes=len(text)) == "x" * 100
    with pytest.raises(ValueError, match="at most"):
        decode_text(encode(text), max_bytes=len(text) - 1)


def test_packed_data_that_is_cut_or_has_more_behind_it_is_refused():
    packed = zlib.compress(pickle.dumps("x" * 1000))
    for data, says in ((packed[:-3], "too early"), (packed + b"xy", "2 bytes behind")):
        with pytest.raises(ValueError, match=says):
            decode_text(base64.b64encode(data).decode())


# --- functions ------------------------------------------------------------------------------------------------------


def passes(tests, program):
    """Whether a program passes assert tests, in one scope and not in a sandbox: both are this file's own."""
    scope = {}
    exec(tests.code, scope)
    exec(program, scope)
    exec(f"check({tests.entry_point})" if tests.entry_point else tests.code, scope)
    return True


def program_of(solution):
    assert solution.startswith("```python\n")
    assert solution.endswith("\n```")
    return solution.removeprefix("```python\n").removesuffix("\n```")


def test_humaneval_tests_know_the_helpers_of_the_prompt_and_its_solution_passes_them(tmp_path):
    problems = read(write(tmp_path / "a.jsonl", HUMANEVAL), "humaneval")
    assert [(p.id, p.verifier, p.domain) for p in problems] == [
        (f"HumanEval/{n}", "code", "humaneval") for n in range(2)
    ]
    for number, problem in enumerate(problems):
        tests = read_tests(problem.columns["tests"])
        assert isinstance(tests, AssertTests)
        assert tests.entry_point == f"f{number}"
        assert f"def f{number}" in problem.messages[0]["content"]
        assert "candidate" not in problem.messages[0]["content"]
        assert "return half(4 * x)" not in problem.messages[0]["content"]
        assert passes(tests, program_of(verifiers.demonstration(problem)))
        with pytest.raises(AssertionError):
            passes(tests, f"def f{number}(x): return x")


@pytest.mark.parametrize(
    "row", [MBPP[0], {"prompt" if k == "text" else k: v for k, v in MBPP[0].items()} | {"test_imports": ["import re"]}]
)
def test_mbpp_shows_one_test_and_judges_by_all(tmp_path, row):
    (problem,) = read(write(tmp_path / "a.jsonl", [row]), "mbpp")
    assert (problem.id, problem.verifier, problem.domain) == ("11", "code", "mbpp")
    assert "assert add(1, 2) == 3" in problem.messages[0]["content"]
    assert "math.inf" not in problem.messages[0]["content"]
    tests, public = read_tests(problem.columns["tests"]), read_tests(problem.columns["public_tests"])
    assert tests.code.count("assert") == 2
    assert public.code.count("assert") == 1
    with pytest.raises(NameError):
        exec(tests.code, {})
    exec("def add(a, b): return a + b\n" + tests.code, {})
    assert program_of(problem.columns["solution"]) == MBPP[0]["code"]


@pytest.mark.parametrize(
    ("fields", "says"),
    [({"test_list": []}, "test_list"), ({"test_list": ["assert ("]}, "Python"), ({"text": None}, "prompt")],
)
def test_a_record_that_does_not_follow_mbpp_is_refused(tmp_path, fields, says):
    path = write(tmp_path / "a.jsonl", [MBPP[0], MBPP[0] | {"task_id": 12} | fields])
    assert f"{path}, line 2" in refused(path, "mbpp", says).got


# --- mathematics ----------------------------------------------------------------------------------------------------


def test_gsm8k_asks_for_a_box_and_its_own_solution_is_right(tmp_path):
    for form, source in in_every_form(tmp_path, [WORDS]).items():
        (problem,) = read(source, "gsm8k")
        assert (problem.reference, problem.verifier, problem.domain) == ("1,072", "math", "gsm8k"), form
        assert problem.messages[-1]["content"].endswith("put the final answer in \\boxed{}.")
        assert problem.columns["solution"] == "They are 1072.\nAll.\n\n\\boxed{1,072}"
        judge = verifiers.get("math")
        assert judge(problem, verifiers.demonstration(problem)).kind == "correct"
        assert judge(problem, r"\boxed{1072}").kind == "correct"
        assert judge(problem, r"\boxed{1.072}").kind == "wrong"


@pytest.mark.parametrize("answer", ["72", "#### ", "#### 72\nor so", "  "])
def test_an_answer_that_does_not_end_as_gsm8ks_do_is_refused(tmp_path, answer):
    path = write(tmp_path / "a.jsonl", [WORDS, WORDS | {"answer": answer}])
    assert f"{path}, line 2" in refused(path, "gsm8k", "answer").got


@pytest.mark.skipif(not (DATA / "gsm8k").is_dir(), reason="the development data is not beside the repository")
def test_every_record_of_gsm8k_is_read():
    for name, count in (("train-2000", 2000), ("test", 1319)):
        problems = read_problems(SourceConfig(source=str(DATA / "gsm8k" / f"{name}.jsonl"), record_schema="gsm8k"), 0)
        assert len(problems) == count
        assert all(any(c.isdigit() for c in problem.reference) for problem in problems)


# --- science --------------------------------------------------------------------------------------------------------


def test_sciknoweval_asks_for_a_letter_that_the_verifier_reads(tmp_path):
    problems = read(write(tmp_path / "a.jsonl", SCIENCE), "sciknoweval")
    assert [(p.reference, p.verifier, p.domain) for p in problems] == [
        ("B", "multiple_choice", domain) for domain in ("physics", "chemistry", "physics")
    ]
    (turn,) = problems[0].messages
    assert "What is 0 N?\n\nA: a force\nB: a mass\nC: a heat\nD: a time\n" in turn["content"]
    assert "A, B, C or D, and nothing else" in turn["content"]
    assert verifiers.get("multiple_choice")(problems[0], verifiers.demonstration(problems[0])).kind == "correct"
    assert problems[0].columns["details"] == SCIENCE[0]["details"]


def test_sciknoweval_takes_a_level_and_a_domain_and_counts_all_that_it_leaves_out(tmp_path):
    for form, source in in_every_form(tmp_path, SCIENCE + DAMAGED).items():
        left_out = Counter()
        config = SourceConfig(source=source, record_schema="sciknoweval", options={"domain": "physics"})
        assert [p.id for p in read_problems(config, 0, left_out=left_out)] == ["1", "3"], form
        assert left_out == {
            "domain is not physics": 1,
            "level is not L3": 1,
            "not multiple choice": 1,
            "not one label for each option": 1,
            "answerKey is no label of an option": 1,
        }


def test_what_a_schema_leaves_out_is_among_the_figures_of_the_split(tmp_path):
    sources = [str(write(tmp_path / name, SCIENCE + DAMAGED)) for name in ("train.jsonl", "test.jsonl")]
    options = {"domain": "physics"}
    alone = ProblemsConfig(source=sources[0], record_schema="sciknoweval", options=options, held_out=1)
    assert load_problems(alone).split.left_out["level is not L3"] == 1
    mixed = ProblemsConfig(
        mix=[{"source": sources[0], "record_schema": "sciknoweval", "options": {"domain": "chemistry"}}],
        held_out_source=sources[1],
        record_schema="sciknoweval",
        options=options,
    )
    problems = load_problems(mixed)
    assert [p.domain for p in problems.train] == ["chemistry"]
    assert {p.domain for p in problems.held_out} == {"physics"}
    assert problems.split.left_out["level is not L3"] == 2
    with pytest.raises(ConfigError, match=r"problems\.options"):
        build_config({"problems": {"mix": [{"source": "a"}], "options": options}})


def test_nothing_that_fits_is_said_with_the_reasons(tmp_path):
    path = write(tmp_path / "a.jsonl", SCIENCE)
    refused(path, "sciknoweval", "domain is not Botany (3)", "problems.options", options={"domain": "Botany"})


# --- mathematics: column names alone --------------------------------------------------------------------------------


def test_examinations_are_read_by_column_names_and_answers_are_kept_as_given(tmp_path):
    columns = {"prompt": "problem", "answer": "answer", "id": "problem_idx"}
    numbers = [{"problem_idx": n, "problem": f"Find {n}.", "answer": answer} for n, answer in enumerate((204, 9))]
    texts = [row | {"answer": answer} for row, answer in zip(numbers, ("009", "\\frac{1}{2}"), strict=True)]
    for name, rows, expected in (("a", numbers, ["204", "9"]), ("b", texts, ["009", "\\frac{1}{2}"])):
        (tmp_path / name).mkdir()
        for form, source in in_every_form(tmp_path / name, rows).items():
            problems = read(source, None, columns=columns, verifier="math", domain="aime")
            assert [p.reference for p in problems] == expected, form
            assert [p.id for p in problems] == ["0", "1"]


# --- the paper's data -----------------------------------------------------------------------------------------------

SHARED = sorted(DATA.glob("sciknoweval/*.json")) if DATA.is_dir() else []


@pytest.mark.skipif(not SHARED, reason="the development data is not beside the repository (../shared/data)")
@pytest.mark.parametrize("path", SHARED, ids=lambda path: path.stem)
def test_prompts_hold_the_question_and_options_as_the_release_words_them(tmp_path, path):
    """The release's records, taken apart into the columns of the data set that they were made from, and read again."""
    given = [json.loads(line) for line in path.read_text().splitlines()]
    rows = []
    for record in given:
        question, _, rest = record["prompt"].rpartition("\n\nA: ")
        *options, _ = ("A: " + rest).rsplit("\n", 1)
        labels = [label for label in "ABCD" if f"\n{label}: " in "\n" + options[0]]
        texts, left = [], options[0]
        for label in reversed(labels):
            left, _, text = ("\n" + left).removeprefix("\n\n").rpartition(f"{label}: ")
            texts.insert(0, text.removesuffix("\n"))
        rows.append(
            SCIENCE[0]
            | {
                "question": question,
                "choices": {"text": texts, "label": labels},
                "answerKey": record["answer"],
                "type": f"mcq-{len(labels)}-choices",
            }
        )
    problems = read(write(tmp_path / "a.jsonl", rows), "sciknoweval")
    assert [p.reference for p in problems] == [record["answer"] for record in given]
    for problem, record in zip(problems, given, strict=True):
        asked = record["prompt"].removesuffix("\nPlease reason step by step.")
        assert problem.messages[0]["content"].startswith(f"{asked}\n\n")
