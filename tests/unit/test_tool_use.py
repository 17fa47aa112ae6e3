"""Tool use: names paired with inputs, JSON read as JSON, calls as a multiset; feedback without the reference."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mopd.types import Problem
from mopd.verifiers import demonstration, tool_use
from mopd.verifiers.pool import GraderFailure


def problem(*calls, **columns):
    reference = json.dumps([{"Action": name, "Action_Input": json.dumps(given)} for name, given in calls])
    return Problem("p", ({"role": "user", "content": "do it"},), reference, "tool_use", columns=columns)


def kind(of, completion):
    return tool_use.verify(of, completion).kind


WEATHER = problem(("weather", {"city": "Rome", "days": 2}))


@pytest.mark.parametrize(
    "completion",
    [
        'Action: weather\nAction Input: {"city": "Rome", "days": 2}',
        'Thought: easy\nAction: weather\nAction Input: {"days": 2.0, "city": "Rome"}\nThat is all.',
        'Action:weather \nAction Input:\n{"city":\n "Rome",\n "days": 2}',
        '  Action: weather\n  Action Input: {"city": "Rome", "days": 2} Observation: sunny',
    ],
)
def test_the_same_call_is_right_however_it_is_laid_out(completion):
    assert kind(WEATHER, completion) == "correct"


@pytest.mark.parametrize(
    ("completion", "says"),
    [
        ('Action: forecast\nAction Input: {"city": "Rome", "days": 2}', "action 'forecast' is wrong"),
        ('Action: weather\nAction Input: {"city": "Rome"}', "names of the parameters"),
        ('Action: weather\nAction Input: {"city": "Rome", "days": 3}', "value of 'days'"),
        ('Action: weather\nAction Input: {"city": "Rome", "days": "2"}', "value of 'days'"),
        ('Action: weather\nAction Input: {"city": "Rome", "days": true}', "value of 'days'"),
        ('Action: weather\nAction Input: {"city": "Rome", "days": 2}\n' * 2, "number of calls, 2"),
    ],
)
def test_another_call_is_wrong_and_the_feedback_says_where(completion, says):
    verdict = tool_use.verify(WEATHER, completion)
    assert (verdict.kind, verdict.reward) == ("wrong", 0.0)
    assert says in verdict.feedback


@pytest.mark.parametrize(
    "completion",
    [
        "",
        "I would call weather.",
        "Action: weather",
        'Action Input: {"city": "Rome"}',
        "Action: weather\nAction Input: {city: Rome}",
        'Action: weather\nAction Input: {"city": "Rome"',
        "Action: weather\nAction Input: [1]",
        "Action: weather\nAction Input: " + "[" * 5000,
        'Action: weather\nAction: weather\nAction Input: {"city": "Rome", "days": 2}',
        "x" * 10_000_000,
    ],
)
def test_what_is_no_call_is_unparsable(completion):
    began = time.perf_counter()
    assert kind(WEATHER, completion) == "unparsable"
    assert time.perf_counter() - began < 1


def test_each_name_is_paired_with_its_own_input():
    two = problem(("a", {"x": 1}), ("b", {"x": 2}))
    right = ['Action: a\nAction Input: {"x": 1}', 'Action: b\nAction Input: {"x": 2}']
    assert kind(two, "\n".join(right)) == "correct"
    assert kind(two, "\n".join(right[::-1])) == "correct"
    assert kind(two, 'Action: a\nAction Input: {"x": 2}\nAction: b\nAction Input: {"x": 1}') == "wrong"


def test_the_order_counts_where_the_record_says_so():
    calls = [("a", {"x": 1}), ("b", {"x": 2})]
    ordered = problem(*calls, ordered=True)
    completion = tool_use.demonstrate(problem(*calls[::-1]).reference)
    assert kind(problem(*calls), completion) == "correct"
    verdict = tool_use.verify(ordered, completion)
    assert (verdict.kind, verdict.feedback) == ("wrong", "The action 'b' is wrong.")


def test_nested_json_and_braces_in_strings_are_read():
    given = {"filter": {"tags": ["}", "{x", 'Action: "no"'], "deep": {"n": [1, {"m": 2}]}}}
    assert kind(problem(("find", given)), f"Action: find\nAction Input: {json.dumps(given)}") == "correct"


@pytest.mark.parametrize("reference", [None, "", "no json", "{}", "[1]", '[{"Action": "a", "Action_Input": "{"}]'])
def test_a_reference_that_cannot_be_read_is_the_graders_failure(reference):
    asked = Problem("p", ({"role": "user", "content": "do it"},), reference, "tool_use")
    with pytest.raises(GraderFailure):
        tool_use.verify(asked, 'Action: a\nAction Input: {"x": 1}')


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
CALLS = st.lists(
    st.tuples(st.text("abc_", min_size=1, max_size=6), st.dictionaries(st.text(max_size=5), JSON, max_size=3)),
    min_size=1,
    max_size=4,
)


@given(CALLS)
def test_a_demonstration_of_any_reference_is_correct(calls):
    asked = problem(*calls)
    assert kind(asked, demonstration(asked)) == "correct"


@given(
    st.text(max_size=300)
    | st.lists(st.sampled_from(["Action:", "Action Input:", "{", "}", '"', "\n", " a", "[", "1"])).map("".join)
)
def test_any_text_gets_a_verdict_and_the_feedback_keeps_the_reference(text):
    secret = problem(("hidden_tool", {"hidden_key": "hidden value"}))
    verdict = tool_use.verify(secret, text)
    assert verdict.kind in ("wrong", "unparsable")
    assert "hidden" not in verdict.feedback
