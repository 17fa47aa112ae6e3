"""Tool use: names paired with inputs, JSON read as JSON, calls as a multiset; feedback without the reference."""

import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mopd.core.types import Problem
from mopd.problems import read_jsonl
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


# --- calls in JSON and in blocks ------------------------------------------------------------------------------------


def openai(*calls, as_text=True):
    return [
        {"id": "c1", "type": "function", "function": {"name": n, "arguments": json.dumps(g) if as_text else g}}
        for n, g in calls
    ]


def blocks(*calls):
    return "\n".join(
        f"<tool_call>\n{json.dumps({'name': name, 'arguments': given})}\n</tool_call>" for name, given in calls
    )


TWO = (("a", {"x": {"deep": ["}", "</tool_call>", 2]}}), ("b", {"y": "{Action: "}))

WAYS = {
    "lines": lambda calls: "\n".join(f"Action: {n}\nAction Input: {json.dumps(g)}" for n, g in calls),
    "blocks": lambda calls: blocks(*calls),
    "blocks on one line": lambda calls: blocks(*calls).replace("\n", ""),
    "blocks in prose": lambda calls: "I call:\n" + blocks(*calls) + "\nDone.",
    "tool_calls": lambda calls: json.dumps({"role": "assistant", "content": None, "tool_calls": openai(*calls)}),
    "tool_calls with objects": lambda calls: json.dumps({"tool_calls": openai(*calls, as_text=False)}, indent=1),
    "a list": lambda calls: json.dumps(openai(*calls)),
    "a list of functions": lambda calls: json.dumps([{"name": n, "arguments": g} for n, g in calls]),
    "parameters": lambda calls: json.dumps([{"name": n, "parameters": g} for n, g in calls]),
    "parameters in blocks": lambda calls: blocks(*calls).replace('"arguments"', '"parameters"'),
    "a fenced list": lambda calls: f"```json\n{json.dumps(openai(*calls), indent=2)}\n```",
    "a fenced list in prose": lambda calls: f"I call:\n\n~~~\n{json.dumps(openai(*calls))}\n~~~\nDone.",
    "fenced tool_calls": lambda calls: f"```JSON\n{json.dumps({'tool_calls': openai(*calls)})}\n```\nDone.",
    "a fence for each": lambda calls: "\nand\n".join(
        f"```json\n{json.dumps({'name': n, 'parameters': g})}\n```" for n, g in calls
    ),
    "behind thinking": lambda calls: "<think>Action: z\nAction Input: {}\n<tool_call></think>" + blocks(*calls),
    "JSON behind thinking": lambda calls: "what now?</think>\n" + json.dumps(openai(*calls)),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_the_same_calls_are_right_in_every_format(way):
    assert kind(problem(*TWO), way(TWO)) == "correct"
    assert kind(problem(*TWO), way(TWO[::-1])) == "correct"
    assert kind(problem(*TWO, ordered=True), way(TWO)) == "correct"
    assert kind(problem(*TWO, ordered=True), way(TWO[::-1])) == "wrong"
    swapped = ((TWO[0][0], TWO[1][1]), (TWO[1][0], TWO[0][1]))
    assert kind(problem(*TWO), way(swapped)) == "wrong"
    assert kind(problem(*TWO), way(TWO[:1])) == "wrong"


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_calls_that_repeat_are_counted_in_every_format(way):
    a, b = ("a", {"x": 1}), ("b", {})
    assert kind(problem(a, a, b), way((a, b, a))) == "correct"
    assert kind(problem(a, a, b), way((a, b, b))) == "wrong"
    assert kind(problem(a, b), way((a, a, b))) == "wrong"


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_two_is_two_point_nought_but_one_is_not_true_in_every_format(way):
    asked = problem(("a", {"x": [2, {"y": 1}]}))
    assert kind(asked, way([("a", {"x": [2.0, {"y": 1.0}]})])) == "correct"
    for other in ([2, {"y": True}], ["2", {"y": 1}], [2, {"y": None}], [2.5, {"y": 1}]):
        assert kind(asked, way([("a", {"x": other})])) == "wrong"


@pytest.mark.parametrize(
    "reference",
    [
        openai(*TWO),
        openai(*TWO, as_text=False),
        {"tool_calls": openai(*TWO)},
        [{"name": name, "arguments": given} for name, given in TWO],
        [{"Action": name, "Action_Input": json.dumps(given)} for name, given in TWO],
        [{"Action": name, "Action_Input": given} for name, given in TWO],
    ],
)
def test_a_reference_may_be_written_in_every_form_of_json(reference):
    asked = Problem("p", (), json.dumps(reference), "tool_use")
    assert kind(asked, blocks(*TWO)) == "correct"
    assert kind(asked, demonstration(asked)) == "correct"
    assert kind(asked, blocks(*TWO[:1])) == "wrong"


LINES, BLOCK = WAYS["lines"]([("a", {"x": 1})]), blocks(("a", {"x": 1}))


@pytest.mark.parametrize(
    ("completion", "says"),
    [
        (LINES + "\n" + BLOCK, "mixes"),
        (BLOCK + "\n" + LINES, "mixes"),
        ("Action: a\n" + BLOCK, "has no Action Input"),
        (json.dumps({"tool_calls": openai(("a", {"x": 1}))}) + "\n" + LINES, "whole completion"),
        (LINES + "\n" + json.dumps({"tool_calls": openai(("a", {"x": 1}))}), "whole completion"),
        ("Sure: " + json.dumps({"tool_calls": []}), "whole completion"),
        ("<think>" + LINES, "no call"),
        (BLOCK + "</think>", "no call"),
        ("<think>" + BLOCK + "</think>", "no call"),
        (BLOCK.replace("</tool_call>", ""), "not closed"),
        (BLOCK.replace("</tool_call>", "}</tool_call>"), "not closed"),
        (BLOCK.replace("}}", "}"), "not valid JSON"),
        ("<tool_call></tool_call>", "not valid JSON"),
        ('<tool_call>{"name": "a", "args": {"x": 1}}</tool_call>', "lacks its name or its input"),
        ('<tool_call>{"name": "a", "arguments": {"x": 1}, "parameters": {}}</tool_call>', "twice"),
        ('<tool_call>{"name": 5, "arguments": {}}</tool_call>', "lacks its name or its input"),
        ('<tool_call>{"name": "a", "arguments": [1]}</tool_call>', "not a JSON object"),
        ('<tool_call>{"name": "a", "arguments": "{"}</tool_call>', "not valid JSON"),
        ('<tool_call>{"name": "a", "arguments": []}</tool_call>', "not a JSON object"),
        ('<tool_call>{"name": "a", "arguments": "none"}</tool_call>', "not valid JSON"),
        ("Action: a\nAction Input: none", "not valid JSON"),
        ('Action: a\nAction Input:\n```json\n{"x": 1}\n```', "not valid JSON"),
        ("<tool_call>[1]</tool_call>", "lacks its name or its input"),
        ("Action:\nAction Input: {}", "has no name"),
        ("[]", "no call"),
        ('{"tool_calls": []}', "no call"),
        ('{"tool_calls": {}}', "neither"),
        ('{"temperature": 20}', "neither"),
        (f"```json\n{json.dumps(openai(('a', {'x': 1})))}\n```\n{LINES}", "mixes"),
        (f"{BLOCK}\n```\n{json.dumps(openai(('a', {'x': 1})))}\n```", "mixes"),
        (f"```python\n{json.dumps(openai(('a', {'x': 1})))}\n```", "no call"),
        ('```json\n{"x": 1}\n```', "no call"),
        ('```json\n{"name": "a", "x": 1}\n```', "no call"),
        ("[1]", "lacks its name or its input"),
        ('Action: a\nAction Input: {"x": ' + "[" * 300 + "]" * 300 + "}", "deep"),
        ('[{"name": "a", "arguments": {"x": ' + "[" * 300 + "]" * 300 + "}}]", "deep"),
        ('[{"name": "a", "arguments": {"x": ' + "[" * 3000 + "]" * 3000 + "}}]", "no call"),
    ],
)
def test_calls_that_cannot_be_read_or_mix_formats_are_unparsable_and_the_feedback_says_why(completion, says):
    verdict = tool_use.verify(problem(("a", {"x": 1})), completion)
    assert (verdict.kind, verdict.reward) == ("unparsable", 0.0)
    assert says in verdict.feedback


def test_feedback_is_about_a_call_that_is_wrong_and_not_about_one_that_is_right():
    asked = problem(("a", {"x": 1}), ("b", {"y": 1, "z": 2}))
    verdict = tool_use.verify(asked, blocks(("b", {"y": 1, "z": 2}), ("a", {"x": 5})))
    assert verdict.feedback == "The value of 'x' in the call of 'a' is wrong."
    verdict = tool_use.verify(problem(("a", {"x": True}), ("a", {"x": 2})), blocks(("a", {"x": 1}), ("a", {"x": 2})))
    assert (verdict.kind, verdict.feedback) == ("wrong", "The value of 'x' in the call of 'a' is wrong.")


# --- references -----------------------------------------------------------------------------------------------------

DATA = Path(os.environ.get("MOPD_SHARED_DATA") or Path(__file__).parents[3] / "shared" / "data")
REAL = DATA / "tooluse" / "test-part.jsonl"


@pytest.mark.skipif(not REAL.is_file(), reason="the development data is not beside the repository (../shared/data)")
def test_calls_of_real_records_are_right_in_every_format_and_wrong_when_changed():
    problems = read_jsonl(REAL)
    assert len(problems) == 34
    for asked in problems:
        given = [(call["Action"], json.loads(call["Action_Input"])) for call in json.loads(asked.reference)]
        assert kind(asked, demonstration(asked)) == "correct"
        for way in WAYS.values():
            assert kind(asked, way(given)) == "correct"
            assert kind(asked, way([*given, given[0]])) == "wrong"
            assert kind(asked, way([*given[:-1], (given[-1][0], given[-1][1] | {"surplus": 1})])) == "wrong"
        verdict = tool_use.verify(asked, asked.messages[-1]["content"])
        assert (verdict.kind, verdict.reward) == ("unparsable", 0.0)  # its own instructions are no call


NOTHING = problem(("now", {}))


@pytest.mark.parametrize(
    "completion",
    [
        *("Action: now\nAction Input:", "Action: now\nAction Input: \n\n"),
        "Action: now\nAction Input:\nObservation: it is",
        *("Action: now\nAction Input: {}", "Action: now\nAction Input: null", 'Action: now\nAction Input: ""'),
        *(f'<tool_call>{{"name": "now"{rest}}}</tool_call>' for rest in (
            "", ', "arguments": null', ', "arguments": ""', ', "arguments": " "', ', "arguments": "{}"',
            ', "arguments": "null"', ', "arguments": {}', ', "parameters": {}', ', "parameters": null', ', "id": "c1"',
        )),
        *('{"name": "now"}', '[{"name": "now"}]', '{"function": {"name": "now", "arguments": ""}, "type": "function"}'),
        *('{"tool_calls": {"name": "now"}}', '{"tool_calls": {"function": {"name": "now", "arguments": "{}"}}}'),
        *('- so:\n  ```json\n  {"name": "now"}\n  ```', '> ```json\n> {"name": "now"}\n> ```'),
        *('1. ```\n   [{"name": "now"}]\n   ```',),
        *('```json title="a call"\n{"name": "now"}\n```', '```{.json}\n{"name": "now"}\n```'),
        *('{"Action": "now"}', '[{"Action": "now", "Action_Input": ""}]', '```json\n{"name": "now"}\n```'),
        '{"tool_calls": [{"id": "1", "type": "function", "function": {"name": "now"}}]}',
    ],
)  # fmt: skip
def test_a_call_without_arguments_is_right_however_nothing_is_written(completion):
    assert kind(NOTHING, completion) == "correct"
    assert kind(problem(("now", {"zone": "CET"})), completion) == "wrong"
    assert kind(problem(("now", {}), ("now", {})), completion) == "wrong"


def test_each_of_several_calls_may_be_without_arguments():
    asked = problem(("now", {}), ("say", {"t": "x"}), ("end", {}))
    completion = 'Action: now\nAction Input:\nAction: say\nAction Input: {"t": "x"}\nAction: end\nAction Input:'
    assert kind(asked, completion) == "correct"
    assert kind(asked, completion.replace("x", "y")) == "wrong"


@pytest.mark.parametrize(
    "reference",
    [
        [{"name": "now"}], [{"name": "now", "arguments": ""}], [{"name": "now", "arguments": None}],
        [{"function": {"name": "now", "arguments": ""}}], {"name": "now"}, {"name": "now", "parameters": {}},
        [{"Action": "now", "Action_Input": ""}], [{"Action": "now"}],
    ],
)  # fmt: skip
def test_a_reference_may_write_nothing_in_every_way_too(reference):
    asked = Problem("p", (), json.dumps(reference), "tool_use")
    assert kind(asked, demonstration(asked)) == kind(asked, "Action: now\nAction Input:") == "correct"
    assert kind(asked, 'Action: now\nAction Input: {"x": 1}') == "wrong"


@pytest.mark.parametrize("reference", ["[]", '{"tool_calls": []}', '{"role": "assistant", "tool_calls": null}'])
def test_where_no_call_is_right_an_answer_without_a_call_is_right(reference):
    asked = Problem("p", (), reference, "tool_use")
    for right in ("None of these can do that.", "[]", '{"tool_calls": []}', "<think>call?</think>No.", "```\nx\n```"):
        assert kind(asked, right) == "correct"
    for call in (LINES, BLOCK, json.dumps(openai(("a", {}))), f"```json\n{json.dumps(openai(('a', {})))}\n```"):
        assert kind(asked, call) == "wrong"
    for unreadable in ("", " \n", "<think>no call", "<tool_call>", "Action: a", 'Sure: {"tool_calls": []}'):
        assert kind(asked, unreadable) == "unparsable"
    assert kind(asked, demonstration(asked)) == "correct"


def test_demonstrations_are_written_with_letters():
    for arguments in ({"city": "Zürich"}, '{"city": "Z\\u00fcrich"}'):
        asked = Problem("p", (), json.dumps([{"name": "say", "arguments": arguments}]), "tool_use")
        assert demonstration(asked) == 'Action: say\nAction Input: {"city": "Zürich"}'
    half = Problem("p", (), r'[{"name": "say", "arguments": {"t": "\ud800"}}]', "tool_use")
    assert demonstration(half) == 'Action: say\nAction Input: {"t": "\\ud800"}'


@pytest.mark.parametrize(
    "reference", [None, "", "no json", "{}", "[1]", '[{"Action": "a", "Action_Input": "{"}]', "[" * 9000]
)
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
