"""Problems: read with errors that name file, line and field; split without overlap; taken in seeded passes."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mopd.config import ProblemsConfig, load_config
from mopd.core.errors import ConfigError, ProblemError
from mopd.core.types import Problem
from mopd.judging.verdicts import judge
from mopd.problems import ProblemSet, load_problems, read_jsonl
from mopd.problems.tool_calls import TOOLS
from mopd.verifiers import demonstration

ROOT = Path(__file__).parents[2]


def a_problem(number, prompt=None):
    return Problem(f"p{number}", ({"role": "user", "content": prompt or str(number)},), str(number), "exact")


def a_set(size):
    return ProblemSet(tuple(a_problem(number) for number in range(size)), ())


def write(tmp_path, *records):
    """A problem file with one record a line; text and bytes are written as they are."""
    lines = [r if isinstance(r, bytes) else (r if isinstance(r, str) else json.dumps(r)).encode() for r in records]
    path = tmp_path / "problems.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def record(number, **fields):
    return {"id": f"r{number}", "prompt": f"What is {number}?", "answer": str(number)} | fields


# --- reading --------------------------------------------------------------------------------------------------------


def test_a_record_becomes_a_problem_with_the_record_whole_as_its_columns(tmp_path):
    path = write(tmp_path, record(1, system="Be brief.", kind="math", domain="biology", elo=1500, tests="-"))
    (problem,) = read_jsonl(path)
    assert problem == Problem(
        id="r1",
        messages=({"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 1?"}),
        reference="1",
        verifier="math",
        domain="biology",
        columns=record(1, system="Be brief.", kind="math", domain="biology", elo=1500, tests="-"),
    )


def test_a_record_with_prompt_and_answer_alone_is_enough(tmp_path):
    path = write(tmp_path, "", {"prompt": "1+1", "answer": 2}, " \t", {"prompt": "2+2", "answer": [4]}, "")
    problems = list(read_jsonl(path))
    assert [p.id for p in problems] == ["2", "4"]  # its line
    assert [p.reference for p in problems] == ["2", "[4]"]
    assert {(p.verifier, p.domain) for p in problems} == {("exact", "default")}


def test_a_conversation_is_kept_turn_by_turn(tmp_path):
    turns = [{"role": r, "content": c} for r, c in (("user", "1+1"), ("assistant", "2"), ("user", "2+2"))]
    (problem,) = read_jsonl(write(tmp_path, record(1, prompt=turns, system="Be brief.")))
    assert problem.messages == ({"role": "system", "content": "Be brief."}, *turns)


def test_white_space_in_prompts_and_systems_is_kept(tmp_path):
    (problem,) = read_jsonl(write(tmp_path, record(1, prompt="\n a \n", system="\nb\n")))
    assert [turn["content"] for turn in problem.messages] == ["\nb\n", "\n a \n"]


@pytest.mark.parametrize("system", [None, "", " \n"])
def test_an_empty_system_turn_is_none(tmp_path, system):
    (problem,) = read_jsonl(write(tmp_path, record(1, system=system)))
    assert [turn["role"] for turn in problem.messages] == ["user"]


def test_null_is_the_same_as_absent(tmp_path):
    (problem,) = read_jsonl(write(tmp_path, record(1, id=None, idx=7, kind=None, domain=None, dataset="x")))
    assert (problem.id, problem.verifier, problem.domain) == ("7", "exact", "x")


def test_windows_line_ends_and_a_byte_order_mark_do_no_harm(tmp_path):
    lines = "\r\n".join(json.dumps(record(number), ensure_ascii=False) for number in range(3))
    path = write(tmp_path, b"\xef\xbb\xbf" + lines.encode())
    assert [p.id for p in read_jsonl(path)] == ["r0", "r1", "r2"]


def test_line_separators_inside_text_are_no_line_ends(tmp_path):
    (problem,) = read_jsonl(write(tmp_path, json.dumps(record(1, prompt="a\u2028b\x85c"), ensure_ascii=False)))
    assert problem.messages[0]["content"] == "a\u2028b\x85c"


def test_a_verifier_that_is_named_holds_for_all_kinds(tmp_path):
    problems = list(read_jsonl(write(tmp_path, record(1, kind="code"), record(2)), verifier="own"))
    assert [p.verifier for p in problems] == ["own", "own"]
    assert problems[0].columns["kind"] == "code"


BAD_LINES = {
    "malformed JSON": ('{"prompt": "x", ', "one JSON object", "line 2"),
    "a list": ("[1, 2]", "one JSON object", "list"),
    "a number": ("5", "one JSON object", "int"),
    "deep nesting": ("[" * 100_000, "one JSON object", "line 2"),
    "a long number": ("9" * 5000, "one JSON object", "line 2"),
    "two objects": ("{} {}", "one JSON object", "Extra data"),
    "no prompt": ({"answer": "1"}, "'prompt'", "nothing"),
    "an empty prompt": ({"prompt": "", "answer": "1"}, "'prompt'", "''"),
    "a blank prompt": ({"prompt": " \n", "answer": "1"}, "'prompt'", "line 2"),
    "a number as prompt": ({"prompt": 5, "answer": "1"}, "'prompt'", "5"),
    "an object as prompt": ({"prompt": {"role": "user", "content": "x"}, "answer": "1"}, "'prompt'", "role"),
    "no messages": ({"prompt": [], "answer": "1"}, "'prompt'", "[]"),
    "messages that are text": ({"prompt": ["x"], "answer": "1"}, "'prompt'", "['x']"),
    "a message without role": ({"prompt": [{"content": "x"}], "answer": "1"}, "'prompt'", "content"),
    "a message without content": ({"prompt": [{"role": "user"}], "answer": "1"}, "'prompt'", "role"),
    "an unknown role": ({"prompt": [{"role": "tool", "content": "x"}], "answer": "1"}, "'prompt'", "system, user"),
    "an unhashable role": ({"prompt": [{"role": [], "content": "x"}], "answer": "1"}, "'prompt'", "[]"),
    "parts as content": ({"prompt": [{"role": "user", "content": [{"text": "x"}]}], "answer": "1"}, "'prompt'", "text"),
    "a blank message": ({"prompt": [{"role": "user", "content": ""}], "answer": "1"}, "'prompt'", "''"),
    "an assistant turn at the end": (
        {"prompt": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}], "answer": "1"},
        "ends with a user turn",
        "assistant",
    ),
    "half a surrogate pair": ('{"prompt": "\\ud800", "answer": "1"}', "'prompt'", "ud800"),
    "a number as system": ({"prompt": "x", "answer": "1", "system": 5}, "'system'", "5"),
    "two systems": (
        {
            "prompt": [{"role": "system", "content": "a"}, {"role": "user", "content": "x"}],
            "answer": "1",
            "system": "b",
        },
        "'system'",
        "'b'",
    ),
    "no answer": ({"prompt": "x"}, "'answer'", "nothing"),
    "null as answer": ({"prompt": "x", "answer": None}, "'answer'", "nothing"),
    "an empty answer": ({"prompt": "x", "answer": " "}, "'answer'", "' '"),
    "an unknown kind": ({"prompt": "x", "answer": "1", "kind": "essay"}, "'kind'", "essay"),
    "a list as kind": ({"prompt": "x", "answer": "1", "kind": ["math"]}, "'kind'", "math"),
    "a list as id": ({"prompt": "x", "answer": "1", "id": [1]}, "'id'", "[1]"),
    "an empty id": ({"prompt": "x", "answer": "1", "id": ""}, "'id'", "''"),
    "true as idx": ({"prompt": "x", "answer": "1", "idx": True}, "'idx'", "True"),
}


@pytest.mark.parametrize(("line", "must", "got"), BAD_LINES.values(), ids=BAD_LINES.keys())
def test_a_bad_line_is_refused_naming_file_line_and_field(tmp_path, line, must, got):
    path = write(tmp_path, record(1), line, record(3))
    with pytest.raises(ProblemError) as error:
        list(read_jsonl(path))
    assert must in error.value.must
    assert got in str(error.value)
    assert f"{path}, line 2" in error.value.got
    assert error.value.do
    assert len(str(error.value)) < 1000


def test_bytes_that_are_no_utf8_are_refused_with_their_line(tmp_path):
    path = write(tmp_path, record(1), record(2), b'{"prompt": "caf\xe9", "answer": "1"}')
    with pytest.raises(ProblemError, match="UTF-8") as error:
        list(read_jsonl(path))
    assert f"{path}, line 3" in error.value.got


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_an_empty_file_is_refused(tmp_path, content):
    (tmp_path / "problems.jsonl").write_text(content)
    with pytest.raises(ProblemError, match=r"problems\.jsonl is empty\n.*at least one problem"):
        list(read_jsonl(tmp_path / "problems.jsonl"))


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(ProblemError, match="No such file"):
        list(read_jsonl(tmp_path / "none.jsonl"))
    with pytest.raises(ProblemError, match="Is a directory"):
        list(read_jsonl(tmp_path))


@pytest.mark.parametrize(
    ("first", "second", "shown"),
    [({"id": "a"}, {"id": "a"}, "'a'"), ({"id": 5}, {"id": "5"}, "'5'"), ({"id": None, "idx": 9}, {"id": "9"}, "'9'")],
)
def test_an_id_given_twice_is_refused_naming_both_lines(tmp_path, first, second, shown):
    path = write(tmp_path, record(1), "", record(2, **first), record(3), record(4, **second))
    with pytest.raises(ProblemError) as error:
        list(read_jsonl(path))
    assert f"id {shown} in lines 3 and 5 of {path}" in error.value.got


def test_options_do_not_belong_to_a_file(tmp_path):
    config = ProblemsConfig(source=str(write(tmp_path, record(1))), held_out=0, options={"length": 3})
    with pytest.raises(ConfigError, match=r"problems\.options"):
        load_problems(config)


# --- splitting ------------------------------------------------------------------------------------------------------


def load(tmp_path, records, held_out, seed=0):
    return load_problems(ProblemsConfig(source=str(write(tmp_path, *records)), held_out=held_out, seed=seed))


def prompts_of(problems):
    return [problem.messages[-1]["content"] for problem in problems]


def test_a_split_loses_nothing_shares_nothing_and_depends_on_the_seed_alone(tmp_path):
    records = [record(number) for number in range(50)]
    problems = load(tmp_path, records, 12)
    assert len(problems.held_out) == 12
    assert sorted(p.id for p in problems.train + problems.held_out) == sorted(r["id"] for r in records)
    assert [p.id for p in problems.train] == [r["id"] for r in records if r["id"] in {p.id for p in problems.train}]
    assert problems == load(tmp_path, records, 12)
    assert problems.held_out != load(tmp_path, records, 12, seed=1).held_out


def test_a_larger_held_out_set_contains_the_smaller(tmp_path):
    records = [record(number) for number in range(50)]
    small, large = (load(tmp_path, records, count).held_out for count in (5, 20))
    assert large[:5] == small


@settings(max_examples=40, deadline=None)
@given(prompts=st.lists(st.sampled_from("abcdefgh"), min_size=2, max_size=30), share=st.floats(0, 0.9))
def test_a_prompt_is_on_one_side_only_whatever_the_references(tmp_path_factory, prompts, share):
    held_out = int(share * len(prompts))
    records = [record(number, prompt=prompt) for number, prompt in enumerate(prompts)]
    try:
        problems = load(tmp_path_factory.mktemp("split"), records, held_out)
    except ProblemError:
        assert held_out
        assert min(Counter(prompts).values()) > held_out
        return
    assert not set(prompts_of(problems.train)) & set(prompts_of(problems.held_out))
    assert len(problems.train) + len(problems.held_out) == len(prompts)
    assert len(problems.held_out) <= held_out
    left = Counter(prompts_of(problems.train))
    assert all(count > held_out - len(problems.held_out) for count in left.values())


def test_the_same_question_under_another_system_turn_is_another_prompt(tmp_path):
    records = [record(0, prompt="a"), record(1, prompt="a", system="Be brief.")]
    assert len(load(tmp_path, records, 1).held_out) == 1


@pytest.mark.parametrize("held_out", [3, 4])
def test_holding_out_every_problem_is_refused(tmp_path, held_out):
    with pytest.raises(ProblemError, match=r"lower problems\.held_out"):
        load(tmp_path, [record(number) for number in range(3)], held_out)


def test_a_split_that_repeated_prompts_make_impossible_is_refused(tmp_path):
    with pytest.raises(ProblemError, match="repeated problems"):
        load(tmp_path, [record(number, prompt="a") for number in range(5)], 2)


def test_nothing_need_be_held_out(tmp_path):
    assert len(load(tmp_path, [record(1)], 0).train) == 1


# --- taking ---------------------------------------------------------------------------------------------------------


def taken_ids(problems, steps, count, seed=0):
    return [[p.id for p in problems.take(step, count, seed)] for step in range(steps)]


@settings(max_examples=150, deadline=None)
@given(size=st.integers(1, 23), share=st.floats(0, 1), seed=st.integers(0, 3))
def test_every_pass_holds_every_problem_once_and_no_step_one_twice(size, share, seed):
    count = max(1, round(share * size))
    steps = taken_ids(a_set(size), 5 * size, count, seed)
    assert all(len(set(step)) == count for step in steps)
    in_order = [number for step in steps for number in step]
    passes = [in_order[begin : begin + size] for begin in range(0, len(in_order) - size + 1, size)]
    assert all(len(set(one)) == size for one in passes)


def test_taking_depends_on_step_and_seed_alone_not_on_what_was_taken_before():
    problems = a_set(37)
    forward = taken_ids(problems, 60, 8)
    assert [[p.id for p in a_set(37).take(step, 8, 0)] for step in reversed(range(60))] == forward[::-1]
    assert taken_ids(problems, 60, 8, seed=1) != forward
    assert problems.take(41, 8, 0) == a_set(37).take(41, 8, 0)


def test_passes_differ_in_order():
    in_order = [number for step in taken_ids(a_set(12), 12, 4) for number in step]
    orders = {tuple(in_order[begin : begin + 12]) for begin in range(0, 48, 12)}
    assert len(orders) == 4


def test_the_first_pass_is_unchanged_by_how_many_a_step_takes():
    one, three = taken_ids(a_set(12), 12, 1), taken_ids(a_set(12), 4, 3)
    assert [number for step in one for number in step] == [number for step in three for number in step]


@pytest.mark.parametrize("size", [0, 7])
def test_more_problems_a_step_than_there_are_is_refused(size):
    with pytest.raises(ProblemError, match="lower problems_per_step") as error:
        a_set(size).take(0, 8, 0)
    assert f"8 problems a step, {size} training problems" in error.value.got


def test_taking_is_cheap_on_large_sets_and_late_steps():
    problem = a_problem(0)
    problems = ProblemSet((problem,) * 200_000, ())
    began = time.process_time()
    for step in range(500):
        problems.take(step, 64, 0)
    problems.take(10_000, 64, 0)
    assert time.process_time() - began < 5.0


# --- generated ------------------------------------------------------------------------------------------------------


def generated(**fields):
    return load_problems(ProblemsConfig(**({"source": "sort-digits", "size": 60, "held_out": 10} | fields)))


def test_sort_digits_is_deterministic_distinct_and_right():
    problems = generated()
    assert problems == generated()
    assert problems != generated(seed=1)
    everything = problems.train + problems.held_out
    assert len(set(prompts_of(everything))) == 60
    for problem in everything:
        prompt = problem.messages[0]["content"]
        assert (len(prompt), problem.reference) == (8, "".join(sorted(prompt)))
        assert problem.id == f"sort-digits-{prompt}"


def test_more_sort_digits_problems_begin_with_the_same():
    small, large = generated(held_out=0), generated(size=90, held_out=0)
    assert large.train[:60] == small.train


@pytest.mark.parametrize("options", [{"length": 0}, {"length": 33}, {"length": "8"}, {"length": True}, {"lenght": 8}])
def test_wrong_options_of_sort_digits_are_refused(options):
    with pytest.raises(ConfigError, match="one option, length"):
        generated(options=options)


def test_more_digit_strings_than_there_are_are_refused():
    with pytest.raises(ConfigError, match=r"lower problems\.size"):
        generated(size=6, held_out=1, options={"length": 1})
    assert len(generated(size=5, held_out=1, options={"length": 1}).train) == 4


CALLS = {"source": "tool-calls", "size": 200}


def test_requests_of_tool_calls_are_the_same_wherever_the_tools_are_listed():
    listed, alone = (generated(**CALLS, options=options) for options in ({}, {"tools": "template"}))
    for ours, theirs in zip(listed.train, alone.train, strict=True):
        assert ours.messages[0]["content"] == f"{TOOLS}\n\n{theirs.messages[0]['content']}"
        assert (ours.id, ours.reference, ours.verifier) == (theirs.id, theirs.reference, theirs.verifier)


def test_the_tools_that_a_template_lists_are_those_of_the_references():
    config = load_config(ROOT / "configs" / "qwen-tool-calls.toml")
    functions = [tool["function"] for tool in config.chat.options["tools"]]
    named = {function["name"]: set(function["parameters"]["properties"]) for function in functions}
    assert all(set(function["parameters"]["required"]) == named[function["name"]] for function in functions)
    called = [json.loads(problem.reference)[0] for problem in load_problems(config.problems).train]
    assert {call["Action"]: set(json.loads(call["Action_Input"])) for call in called} == named


@pytest.mark.parametrize("options", [{"tools": "nowhere"}, {"tools": True}, {"tool": "prompt"}])
def test_wrong_options_of_tool_calls_are_refused(options):
    with pytest.raises(ConfigError, match="one option, tools"):
        generated(**CALLS, options=options)


# --- references -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("Zürich", "Zürich"),
        (["Zürich", "東京", "😀"], '["Zürich", "東京", "😀"]'),
        ({"Straße": {"città": ["é"]}}, '{"Straße": {"città": ["é"]}}'),
        (42, "42"),
        (42.0, "42"),
        (-0.5, "-0.5"),
        (1e22, "1" + "0" * 22),
        (1e-7, "0.0000001"),
        (0.1, "0.1"),
        (100.0, "100"),
        (10**30, "1" + "0" * 30),
        ([42.0, 0.5, {"x": 7.0}], '[42, 0.5, {"x": 7}]'),
        (True, "true"),
        ("42.0", "42.0"),
    ],
)
def test_an_answer_is_written_as_people_write_it_and_a_text_stays(tmp_path, answer, reference):
    for escaped in (True, False):
        path = tmp_path / "in.jsonl"
        path.write_text(json.dumps({"prompt": "?", "answer": answer}, ensure_ascii=escaped), encoding="utf-8")
        (problem,) = read_jsonl(path)
        assert problem.reference == reference
        assert judge(problem, reference).kind == "correct"


def test_demonstrations_have_letters_and_no_escapes(tmp_path):
    calls = [{"name": "say", "arguments": {"wört": ["Zürich", "東京"]}}]
    for answer in (calls, json.dumps(calls), calls[0]):
        path = tmp_path / "in.jsonl"
        path.write_text(json.dumps({"prompt": "?", "answer": answer, "kind": "tooluse"}))
        (problem,) = read_jsonl(path)
        assert demonstration(problem) == 'Action: say\nAction Input: {"wört": ["Zürich", "東京"]}'
        assert judge(problem, demonstration(problem)).kind == "correct"
