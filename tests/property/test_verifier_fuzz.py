"""Extractors and verifiers on any text: they never raise, take linear time, find what is there, leak no reference."""

from __future__ import annotations

import gc
import json
import time
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from mopd import verifiers
from mopd.config import ProblemsConfig
from mopd.core.thinking import strip_thinking
from mopd.core.types import VERDICT_KINDS, Problem, Verdict
from mopd.judging.verdicts import judge
from mopd.problems import load_problems
from mopd.verifiers import pool
from mopd.verifiers.math_boxes import last_boxed, last_sentence_boxes, nesting, outer_boxes, unboxed
from mopd.verifiers.math_notation import latex
from mopd.verifiers.math_plain import plain
from mopd.verifiers.multiple_choice import last_tagged
from mopd.verifiers.reasoning_gym_tasks import extract_answer
from mopd.verifiers.tool_use import read_calls

PIECES = [
    *(
        "\\boxed{",
        "\\boxed",
        "\\boxed {",
        "\\fbox{",
        "{",
        "}",
        "\\{",
        "\\}",
        "\\",
        "\\\\",
        "$",
        "$$",
        ".",
        " ",
        "\n",
        "\0",
        "\ud800",
    ),
    *(
        "<answer>",
        "</answer>",
        "<answer",
        "answer>",
        "<think>",
        "</think>",
        "A",
        "5",
        "1 2/3",
        "\\frac{1}{2}",
        "\\left(",
        "%",
        "é",
    ),
    *(
        "<tool_call>",
        "</tool_call>",
        "Action:",
        "Action Input:",
        "\nAction: a",
        '"tool_calls"',
        '{"x":',
        "[",
        "]",
        '"',
        ":",
    ),
    *(",", "null", "true", "1e999", "NaN", "\u2028", "\r"),
]
any_text = st.text(max_size=40) | st.lists(st.sampled_from(PIECES), max_size=40).map("".join)

plain_text = st.text(alphabet=st.characters(exclude_characters="{}\\", exclude_categories=["Cs"]), max_size=8)
balanced = st.recursive(
    plain_text | st.sampled_from([r"\{", r"\}", r"\frac12", r"\\"]),
    lambda inner: inner.map(lambda x: "{" + x + "}") | st.lists(inner, max_size=4).map("".join),
    max_leaves=12,
)
"""Text whose braces balance, escaped ones aside."""

FUZZ = max(1, settings.default.max_examples // 100)
"""How many times as many examples as usual: 1, and more under `make fuzz`."""


def examples(usual):
    """Settings of a law that usually sees so many examples; how long one may take is a law of its own."""
    suppressed = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=usual * FUZZ, deadline=None, suppress_health_check=suppressed)


quick = examples(200)


@quick
@given(any_text)
@example("\\boxed{" * 500 + "}" * 499)
@example("<answer>" * 500 + "</answer>" * 500)
def test_extractors_never_raise_and_return_stripped_text_or_nothing(text):
    for extract in (last_boxed, last_tagged):
        found = extract(text)
        assert found is None or (found and found == found.strip() and found in text)
    assert extract_answer(text) == extract_answer(text).strip()
    calls = read_calls(text)
    assert calls or calls == []
    assert isinstance(calls, str) or all(name == name.strip() and isinstance(given, dict) for name, given in calls)
    assert nesting(text) >= 0
    assert isinstance(plain(text), str)
    assert isinstance(latex(text), str)
    assert isinstance(unboxed(text), str | None)
    assert last_sentence_boxes(text) == [] or not outer_boxes(text)[1]


@quick
@given(before=any_text, inside=balanced, after=plain_text)
def test_a_balanced_box_is_found_behind_anything(before, inside, after):
    assert last_boxed(before + "\\boxed{" + inside + "}" + after) == (inside.strip() or None)


@quick
@given(before=any_text, inside=balanced, after=any_text.filter(lambda text: "{" not in text and "}" not in text))
def test_an_unclosed_box_behind_a_balanced_one_leaves_no_answer(before, inside, after):
    assert last_boxed(before + "\\boxed{" + inside + "}" + " \\boxed{" + after) is None


@quick
@given(inside=balanced, depth=st.integers(0, 5))
def test_of_boxes_in_each_other_the_outer_one_counts(inside, depth):
    nested = inside
    for _ in range(depth):
        nested = "\\boxed{" + nested + "}"
    assert last_boxed("\\boxed{" + nested + "}") == (nested.strip() or None)


@quick
@given(before=any_text, inside=st.text(max_size=20), after=any_text)
def test_the_last_closed_tag_is_found_behind_anything(before, inside, after):
    assume("answer>" not in inside and "answer>" not in after)
    assert last_tagged(before + "<answer>" + inside + "</answer>" + after) == (inside.strip() or None)


@quick
@given(any_text)
def test_plain_text_stays_plain(text):
    once = plain(text)
    assert len(once) <= len(" ".join(text.split())) + len("\\frac{}{}")
    assert once == once.strip()


MARK = "qZx41903"
CALLS = json.dumps(
    [
        {"name": f"tool_{MARK}", "arguments": {f"key_{MARK}": f"value_{MARK}", "n": [1, {"deep": True}]}},
        {"name": "other", "arguments": {}},
    ]
)


# --- linear time ----------------------------------------------------------------------------------------------------

HOSTILE = {
    "boxes that open": lambda n: "\\boxed{" * (n // 7),
    "boxes in boxes": lambda n: "\\boxed{" * (n // 8) + "}" * (n // 8),
    "boxes in a row": lambda n: "\\boxed{1}" * (n // 9),
    "braces that open": lambda n: "{" * n,
    "braces in braces": lambda n: "\\boxed{" + "{" * (n // 2) + "}" * (n // 2) + "}",
    "braces that close": lambda n: "\\boxed{1}" + "}" * n,
    "backslashes": lambda n: "\\" * n,
    "boxes without braces": lambda n: "\\boxed" * (n // 6),
    "boxes before spaces": lambda n: ("\\boxed" + " " * 500) * (n // 506),
    "spaces": lambda n: "\\boxed{" + " " * n + "}",
    "tags that open": lambda n: "<answer>" * (n // 8),
    "tags that close": lambda n: "</answer>" * (n // 9),
    "tags in tags": lambda n: "<answer>" * (n // 17) + "</answer>" * (n // 17),
    "tags in a row": lambda n: "<answer>1</answer>" * (n // 18),
    "half tags": lambda n: "<answer" * (n // 7) + "</answer>",
    "letters": lambda n: "a" * n,
    "thoughts": lambda n: "<think>" * (n // 15) + "</think>" * (n // 15),
    "thoughts that end": lambda n: "</think>x" * (n // 9),
    "blocks that open": lambda n: "<tool_call>" * (n // 11),
    "calls in a row": lambda n: 'Action: a\nAction Input: {"x": 1}\n' * (n // 33),
    "blocks in a row": lambda n: '<tool_call>{"name": "a", "arguments": {}}</tool_call>' * (n // 53),
    "actions": lambda n: "Action: a\n" * (n // 10),
    "labels in a line": lambda n: "Action: " + " Action:" * (n // 8),
    "lists in lists": lambda n: 'Action: a\nAction Input: {"x": ' + "[" * n,
    "JSON lists in lists": lambda n: "[" * (n // 2) + "]" * (n // 2),
    "spaces before labels": lambda n: ("\n" + " " * 500) * (n // 501),
}


EXTRACTORS = (last_boxed, last_sentence_boxes, unboxed, last_tagged, extract_answer, strip_thinking, read_calls)


def seconds_for(text):
    gc.disable()  # what a collection takes depends on all that the process holds, and not on the text
    try:
        began = time.process_time()
        for extract in EXTRACTORS:
            extract(text)
        return time.process_time() - began
    finally:
        gc.enable()


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE.keys())
def test_eight_times_the_text_takes_no_more_than_linear_time(hostile):
    short, long = hostile(50_000), hostile(400_000)
    base = max(min(seconds_for(short) for _ in range(3)), 0.002)  # below that a clock sees nothing
    assert min(seconds_for(long) for _ in range(2)) < 8 * base * 3  # quadratic: 64 times


@pytest.mark.parametrize("name", ["boxes in boxes", "tags in tags", "spaces"])
def test_ten_megabytes_are_no_trouble(name):
    text = HOSTILE[name](10_000_000)
    began = time.process_time()
    for verifier in ("exact", "multiple_choice", "math"):
        assert judge(Problem("p", (), "5", verifier), text).kind in ("wrong", "unparsable")
    assert judge(Problem("p", (), CALLS, "tool_use"), text).kind == "unparsable"
    assert time.process_time() - began < 20.0


# --- verdicts -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def spelling():
    """One reasoning-gym problem; its reference is a marker of its own."""
    config = ProblemsConfig(source="reasoning_gym:spell_backward", size=2, held_out=1, options={"min_word_len": 8})
    (problem,) = load_problems(config).train
    return problem


@examples(60)
@given(any_text.filter(lambda text: MARK not in text))
@example("\\boxed{5}")
@example("\\boxed{\\frac{1}{0}}")
@example("\\boxed{x = }")
@example("<answer>A</answer>")
@example("<answer>" + "x" * 30_000)
def test_no_verdict_on_any_text_holds_the_reference(spelling, text):
    references = (MARK, f"\\text{{{MARK}}}", f"{MARK} \\to ((", f"\\boxed{{{MARK}}}")
    problems = [Problem("p", (), r, verifier) for r in references for verifier in ("exact", "multiple_choice", "math")]
    assume(spelling.reference not in text)
    for problem in (*problems, spelling):
        marker = spelling.reference if problem is spelling else MARK
        verdict = judge(problem, text)
        assert marker not in verdict.feedback
        assert marker not in (verdict.answer or "")
        assert verdict.kind in VERDICT_KINDS
        assert verdict.reward == 0.0


@examples(100)
@given(
    returned=st.none()
    | st.floats()
    | st.text()
    | st.builds(Verdict, st.floats() | st.none() | st.text(), any_text, st.none()),
    raises=st.booleans(),
    said=any_text,
)
def test_judge_gives_a_verdict_whatever_a_verifier_does(returned, raises, said):
    @verifiers.register("fuzzed")
    def verifier(problem, completion):
        if raises:
            raise ValueError(said)
        return returned

    try:
        verdict = judge(Problem("p", (), MARK, "fuzzed"), "5")
    finally:
        verifiers._VERIFIERS.pop("fuzzed")
    assert verdict.kind in VERDICT_KINDS
    assert MARK not in verdict.feedback


# --- whatever is near a right answer, or far from any ---------------------------------------------------------------

TIME_LIMIT_S = 3.0
NUMBER = "48271936"

BRACKETS = [("{", "}"), ("[", "]"), ("(", ")"), ("\\boxed{", "}"), ("\\frac{1}{", "}"), ("\\left(", "\\right)")]
BRACKETS += [
    ("<think>", "</think>"),
    ("<answer>", "</answer>"),
    ("<tool_call>", "</tool_call>"),
    ('{"x":', "}"),
    ("9^{", "}"),
]

deep_text = st.builds(
    lambda pair, depth, inside, lost: pair[0] * depth + inside + pair[1] * max(0, depth - lost),
    st.sampled_from(BRACKETS),
    st.integers(1, 3000),
    any_text,
    st.sampled_from([0, 0, 1, 5]),
)
long_text = st.builds(
    lambda piece, count: piece * count, st.sampled_from(PIECES) | st.text(max_size=4), st.integers(1, 9000)
)
far_text = any_text | deep_text | long_text | st.tuples(any_text, deep_text, long_text).map("".join)

short_text = any_text | st.builds(
    lambda pair, depth: pair[0] * depth + "1" + pair[1] * depth, st.sampled_from(BRACKETS), st.integers(1, 40)
)
edits = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 9), short_text), max_size=4)


def edited(text, changes):
    """Text with a few characters at some places taken out and others put in."""
    for place, removed, put_in in changes:
        at = int(place * len(text))
        text = text[:at] + put_in + text[at + removed :]
    return text


def written(calls, way):
    calls = json.loads(calls)
    if way == "lines":
        return "\n".join(f"Action: {c['name']}\nAction Input: {json.dumps(c['arguments'])}" for c in calls)
    if way == "blocks":
        return "\n".join(f"<tool_call>\n{json.dumps(call)}\n</tool_call>" for call in calls)
    return json.dumps({"tool_calls": [{"type": "function", "function": call} for call in calls]})


CASES = {
    "exact": (Problem("p", (), MARK, "exact"), [MARK, f"<think>x</think>{MARK}"]),
    "multiple_choice": (
        Problem("p", ({"role": "user", "content": f"Which?\nA: one\nB: {MARK}\nC: two"},), "B", "multiple_choice"),
        ["<answer>\nB\n</answer>", f"<answer>**(B)** {MARK}.</answer>", f"<answer>\\text{{B: {MARK}}}</answer>"],
    ),
    "a number": (
        Problem("p", (), NUMBER, "math"),
        [f"so \\boxed{{{NUMBER}}}.", f"$\\boxed{{x = \\frac{{{NUMBER}}}{{1}}}}$"],
    ),
    "a fraction": (Problem("p", (), f"$\\frac{{{NUMBER}}}{{7}}$", "math"), [f"\\boxed{{\\frac{{{NUMBER}}}{{7}}}}"]),
    "an interval": (
        Problem("p", (), f"[0, {NUMBER}) \\cup \\{{-1\\}}", "math"),
        [f"\\boxed{{[0,{NUMBER}) \\cup \\{{-1\\}}}}"],
    ),
    "a word": (Problem("p", (), f"\\text{{{MARK}}}", "math"), [f"\\boxed{{\\text{{{MARK}}}}}"]),
    **{
        f"calls in {way}": (
            Problem("p", (), CALLS, "tool_use", columns={"ordered": way == "lines"}),
            [written(CALLS, way)],
        )
        for way in ("lines", "blocks", "JSON")
    },
}


@pytest.fixture
def short_limit():
    yield pool.configure(1, TIME_LIMIT_S)
    pool.configure(2, 10.0)


def check_verdict(problem, text, secrets):
    """The laws of any verdict on any completion of a problem with a good reference."""
    began = time.monotonic()
    verdict = judge(problem, text)
    assert time.monotonic() - began < TIME_LIMIT_S + 5.0  # a worker that was killed is started again
    assert verdict.kind in VERDICT_KINDS
    assert (verdict.reward == 1.0) == (verdict.kind == "correct")
    assert verdict.kind != "error" or "time limit" in verdict.feedback, verdict.feedback
    assert json.loads(json.dumps([verdict.answer, verdict.feedback])) == [verdict.answer, verdict.feedback]
    own = strip_thinking(
        text
    )  # without a span in its middle, a secret may be whole; and "\\ue07" may stand before 4827
    written = {text, own, repr(own)}
    for secret in secrets:
        if not any(secret in version for version in written):
            assert secret not in verdict.feedback
            assert secret not in (verdict.answer or "")
    return verdict


@pytest.mark.parametrize("name", CASES)
def test_right_answers_are_right(name, short_limit):
    problem, rights = CASES[name]
    assert {check_verdict(problem, right, []).kind for right in rights} == {"correct"}


@pytest.mark.parametrize("name", CASES)
@examples(60)
@given(data=st.data())
def test_near_right_answers_get_verdicts_in_time_that_leak_nothing(name, short_limit, data):
    problem, rights = CASES[name]
    right = data.draw(st.sampled_from(rights))
    check_verdict(problem, edited(right, data.draw(edits)), [MARK, NUMBER])


@pytest.mark.parametrize("name", CASES)
@examples(40)
@given(text=far_text)
@example("\\boxed{9^{9^{9^{9}}}}")
@example("\\boxed{" + "1," * 900 + "1}")
@example("\\boxed{\\int_0^1 \\lim_{x \\to 0} \\sum_{n=1}^{10^{9}} n}")
@example("\\boxed{\\text{" + "\\" * 400 + "}}")
@example("Action: a\nAction Input: " + '{"x":' * 70 + "1" + "}" * 70)
@example("Action: a\nAction Input: " + '{"x":' * 990 + "1" + "}" * 990)
@example('[{"name": "a", "arguments": "' + "[" * 2000 + '"}]')
@example('[{"name": "a", "arguments": {"n": ' + "9" * 5000 + "}}]")
@example('[{"name": "a", "arguments": {"n": [NaN, -Infinity, 1e999, 1e308]}}]')
def test_any_text_gets_a_verdict_in_time_that_leaks_nothing(name, short_limit, text):
    problem, _ = CASES[name]
    assert check_verdict(problem, text, [MARK, NUMBER]).kind in ("wrong", "unparsable", "error")


@examples(150)
@given(case=st.sampled_from(list(CASES)), changes=edits, again=edits, text=short_text | st.just(r"\boxed{5}"))
@pytest.mark.long
def test_a_reference_that_may_be_unreadable_gets_a_verdict_in_time_that_does_not_quote_it(
    case, short_limit, changes, again, text
):
    problem, rights = CASES[case]
    odd = replace(problem, reference=edited(problem.reference, changes))
    for completion in (text, edited(rights[0].replace(MARK, "x").replace(NUMBER, "5"), again)):
        began = time.monotonic()
        verdict = judge(odd, completion)
        assert time.monotonic() - began < TIME_LIMIT_S + 5.0
        assert verdict.kind in VERDICT_KINDS
        assert MARK not in verdict.feedback
        assert NUMBER not in verdict.feedback


@examples(60)
@given(changes=edits, tagged=st.booleans())
def test_near_right_answers_to_a_reasoning_gym_task_get_verdicts_in_time_that_leak_nothing(
    spelling, short_limit, changes, tagged
):
    right = f"<answer>{spelling.reference}</answer>" if tagged else spelling.reference
    check_verdict(spelling, edited(right, changes), [spelling.reference])
