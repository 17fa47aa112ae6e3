"""Code records: tests are read and checked when problems are loaded, and what is wrong with them is named."""

from __future__ import annotations

import json

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mopd.config import SourceConfig
from mopd.core.errors import ProblemError
from mopd.problems import read_problems
from mopd.verifiers import demonstration
from mopd.verifiers.code_tests import AssertTests, FunctionalTests, StdinTests, read_tests

STDIN = {"testtype": "stdin", "inputs": ["1 2\n", "3 4\n"], "outputs": ["3\n", "7\n"]}
FUNCTIONAL = {"testtype": "functional", "fn_name": "add", "inputs": ["1\n2", "[3]\n4\n"], "outputs": ["3", "[3, 4]"]}
ASSERT = {"testtype": "assert", "code": "assert add(1, 2) == 3"}


# --- the forms ------------------------------------------------------------------------------------------------------


def test_stdin_tests_are_texts_unchanged():
    assert read_tests(STDIN) == StdinTests(("1 2\n", "3 4\n"), ("3\n", "7\n"))
    assert read_tests(STDIN | {"fn_name": "", "time_limit": None}) == read_tests(STDIN)


def test_functional_tests_as_livecodebench_writes_them_have_one_json_value_a_line():
    assert read_tests(FUNCTIONAL) == FunctionalTests("add", ((1, 2), ([3], 4)), (3, [3, 4]))
    escaped = FUNCTIONAL | {"inputs": ['"a\\nb"\nnull', ""], "outputs": ["true", '"x"']}
    assert read_tests(escaped) == FunctionalTests("add", (("a\nb", None), ()), (True, "x"))


def test_arguments_that_are_lists_already_stay_and_text_beside_them_is_no_json():
    tests = FUNCTIONAL | {"inputs": [[1, "2"], []], "outputs": ["3", [None]]}
    assert read_tests(tests) == FunctionalTests("add", ((1, "2"), ()), ("3", [None]))


@given(
    calls=st.lists(
        st.tuples(
            st.lists(st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=4)),
            st.text() | st.integers(),
        ),
        min_size=1,
    )
)
def test_both_ways_to_write_functional_tests_say_the_same(calls):
    plain = FUNCTIONAL | {"inputs": [given for given, _ in calls], "outputs": [wanted for _, wanted in calls]}
    text = FUNCTIONAL | {
        "inputs": ["\n".join(json.dumps(argument) for argument in given) for given, _ in calls],
        "outputs": [json.dumps(wanted) for _, wanted in calls],
    }
    assert read_tests(text) == read_tests(plain) == read_tests(json.dumps(text))


def test_assert_tests_are_code_and_the_function_that_it_asks_for():
    assert read_tests(ASSERT) == AssertTests("assert add(1, 2) == 3", None)
    assert read_tests(ASSERT | {"entry_point": "add"}).entry_point == "add"


@pytest.mark.parametrize("tests", [STDIN, FUNCTIONAL, ASSERT], ids=lambda tests: tests["testtype"])
def test_every_form_has_a_time_limit_and_may_be_json_text(tests):
    assert read_tests(tests).time_limit_s is None
    assert read_tests(tests | {"time_limit": 6}).time_limit_s == 6.0
    assert read_tests(json.dumps(tests)) == read_tests(tests)


BAD_TESTS = {
    "broken JSON": ('{"inputs": [', ["JSON text", "inputs"]),
    "deep nesting": ("[" * 100_000, ["JSON text"]),
    "a list": ([STDIN], ["an object"]),
    "JSON text of a number": ("5", ["an object", "5"]),
    "no testtype": ({"inputs": [], "outputs": []}, ["testtype is one of stdin, functional, assert", "nothing"]),
    "an unknown testtype": (STDIN | {"testtype": "call"}, ["testtype is one of", "'call'"]),
    "an unhashable testtype": (STDIN | {"testtype": ["stdin"]}, ["testtype is one of", "['stdin']"]),
    "fewer outputs": (STDIN | {"outputs": ["3\n"]}, ["2 inputs and 1 outputs"]),
    "fewer functional inputs": (FUNCTIONAL | {"inputs": []}, ["0 inputs and 2 outputs"]),
    "no tests": (STDIN | {"inputs": [], "outputs": []}, ["at least one test"]),
    "no inputs": ({"testtype": "stdin", "outputs": ["3"]}, ["inputs is a list", "nothing"]),
    "text as outputs": (STDIN | {"outputs": "3"}, ["outputs is a list", "'3'"]),
    "a number as input": (STDIN | {"inputs": ["1 2", 5]}, ["inputs of stdin tests are texts", "test 2 has 5"]),
    "a list as output": (STDIN | {"outputs": ["3", ["7"]]}, ["outputs of stdin tests are texts", "test 2"]),
    "functional without fn_name": (FUNCTIONAL | {"fn_name": None}, ["fn_name"]),
    "functional with an empty fn_name": (FUNCTIONAL | {"fn_name": ""}, ["fn_name"]),
    "a call as fn_name": (FUNCTIONAL | {"fn_name": "add()"}, ["fn_name is the name of a function", "'add()'"]),
    "an argument that is no JSON": (FUNCTIONAL | {"inputs": ["1\n2", "[3\n4"]}, ["one argument as JSON", "test 2"]),
    "an output that is no JSON": (FUNCTIONAL | {"outputs": ["3", "x"]}, ["output is JSON text", "test 2"]),
    "an object as input": (FUNCTIONAL | {"inputs": ["1", {"a": 1}]}, ["list of arguments", "test 2"]),
    "no code": ({"testtype": "assert"}, ["code", "nothing"]),
    "blank code": ({"testtype": "assert", "code": " \n"}, ["code"]),
    "code that is no Python": ({"testtype": "assert", "code": "assert (1"}, ["Python", "SyntaxError"]),
    "a number as entry_point": (ASSERT | {"entry_point": 5}, ["entry_point", "5"]),
    "no time": (STDIN | {"time_limit": 0}, ["time_limit", "0"]),
    "true as time": (STDIN | {"time_limit": True}, ["time_limit", "True"]),
    "endless time": (STDIN | {"time_limit": float("inf")}, ["time_limit", "inf"]),
    "text as time": (STDIN | {"time_limit": "6 s"}, ["time_limit", "'6 s'"]),
}


@pytest.mark.parametrize(("tests", "says"), BAD_TESTS.values(), ids=BAD_TESTS.keys())
def test_malformed_tests_are_refused_with_what_must_hold(tests, says):
    with pytest.raises(ValueError) as caught:
        read_tests(tests)
    text = str(caught.value)
    assert all(word in text for word in says), text
    assert len(text) < 400


# --- records --------------------------------------------------------------------------------------------------------


def record(number, **fields):
    return {"id": f"r{number}", "prompt": f"Add {number}.", "kind": "code", "tests": STDIN} | fields


def write(path, *records):
    path.write_text("".join(json.dumps(each) + "\n" for each in records))
    return path


def read(path, **fields):
    return read_problems(SourceConfig(source=str(path), **fields), 0)


@pytest.mark.parametrize("answer", [None, "-", " - ", ""])
def test_a_code_record_needs_tests_and_no_answer(tmp_path, answer):
    (problem,) = read(write(tmp_path / "a.jsonl", record(1, answer=answer)))
    assert (problem.verifier, problem.reference) == ("code", None)
    assert read_tests(problem.columns["tests"]) == read_tests(STDIN)
    assert demonstration(problem) is None


def test_an_answer_of_a_code_record_is_kept_and_its_solution_is_a_demonstration(tmp_path):
    (problem,) = read(write(tmp_path / "a.jsonl", record(1, answer="print(3)", solution="```python\nprint(3)\n```")))
    assert problem.reference == "print(3)"
    assert demonstration(problem) == "```python\nprint(3)\n```"


def test_a_record_of_the_release_with_tests_as_json_text_loads_unchanged(tmp_path):
    tests = json.dumps(STDIN | {"fn_name": "", "time_limit": 6})
    given = record(1, idx=7, dataset="livecodebench", answer="-", tests=tests, system=None, elo=1500, embedding=[])
    (problem,) = read(write(tmp_path / "a.jsonl", given))
    assert (problem.domain, problem.columns) == ("livecodebench", given)


def test_tests_and_what_belongs_to_them_are_mapped_to_their_standard_names(tmp_path):
    row = {"q": "Add.", "k": "code", "hidden": {"t": FUNCTIONAL}, "shown": STDIN, "how": "float", "in_order": True}
    columns = {"prompt": "q", "kind": "k", "tests": "hidden.t", "public_tests": "shown", "compare": "how"}
    path = write(tmp_path / "a.jsonl", row)
    (problem,) = read(path, columns=columns | {"ordered": "in_order"})
    assert problem.columns == row | {"tests": FUNCTIONAL, "public_tests": STDIN, "compare": "float", "ordered": True}
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / "a.parquet")
    (problem,) = read(tmp_path / "a.parquet", columns=columns)
    assert read_tests(problem.columns["tests"]) == read_tests(FUNCTIONAL)


@pytest.mark.parametrize("name", ["tests", "public_tests"])
@pytest.mark.parametrize("tests", [tests for tests, _ in BAD_TESTS.values() if tests != [STDIN]])
def test_malformed_tests_of_a_record_are_named_with_file_line_and_field_before_any_training(tmp_path, name, tests):
    path = write(tmp_path / "a.jsonl", record(1), record(2, **{name: tests}))
    with pytest.raises(ProblemError, match=f"'{name}'") as caught:
        read(path)
    assert f"{path}, line 2" in caught.value.got
    assert caught.value.do
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("tests", [None, "-", ""])
def test_a_code_record_without_tests_is_refused_and_without_public_tests_it_is_not(tmp_path, tests):
    path = write(tmp_path / "a.jsonl", record(1, public_tests=tests), record(2, tests=tests))
    with pytest.raises(ProblemError, match="'tests'") as caught:
        read(path)
    assert f"{path}, line 2" in caught.value.got


def test_tests_under_another_name_are_suggested(tmp_path):
    path = write(tmp_path / "a.jsonl", {"prompt": "Add.", "kind": "code", "test_cases": STDIN})
    with pytest.raises(ProblemError, match=r"problems\.columns\.tests = 'test_cases'"):
        read(path)


@pytest.mark.parametrize("compare", ["fuzzy", 5, ["exact"]])
def test_an_unknown_comparison_is_refused(tmp_path, compare):
    with pytest.raises(ProblemError, match="'compare' is one of exact, tokens, float"):
        read(write(tmp_path / "a.jsonl", record(1, compare=compare)))


@pytest.mark.parametrize("ordered", ["false", 0, []])
def test_the_order_of_tool_calls_counts_or_not_and_text_says_neither(tmp_path, ordered):
    rows = [{"prompt": "Call.", "answer": "[]", "kind": "tooluse", "ordered": each} for each in (True, None, ordered)]
    with pytest.raises(ProblemError, match="'ordered' is true or false") as caught:
        read(write(tmp_path / "a.jsonl", *rows))
    assert "line 3" in caught.value.got


def test_a_verifier_that_is_named_needs_what_it_needs(tmp_path):
    path = write(tmp_path / "a.jsonl", {"prompt": "Add.", "tests": STDIN})
    assert [p.verifier for p in read(path, verifier="code")] == ["code"]
    path = write(tmp_path / "b.jsonl", record(1, tests="-", answer="1"))
    assert [p.verifier for p in read(path, verifier="own")] == ["own"]
