"""Extractors and verifiers on any text: they never raise, take linear time, find what is there, leak no reference."""

from __future__ import annotations

import time

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from mopd import verifiers
from mopd.config import ProblemsConfig
from mopd.problems import load_problems
from mopd.types import VERDICT_KINDS, Problem, Verdict
from mopd.verification import judge
from mopd.verifiers.math import last_boxed, nesting, plain
from mopd.verifiers.multiple_choice import last_tagged
from mopd.verifiers.reasoning_gym_tasks import extract_answer

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
]
any_text = st.text(max_size=40) | st.lists(st.sampled_from(PIECES), max_size=40).map("".join)

plain_text = st.text(alphabet=st.characters(exclude_characters="{}\\", exclude_categories=["Cs"]), max_size=8)
balanced = st.recursive(
    plain_text | st.sampled_from([r"\{", r"\}", r"\frac12", r"\\"]),
    lambda inner: inner.map(lambda x: "{" + x + "}") | st.lists(inner, max_size=4).map("".join),
    max_leaves=12,
)
"""Text whose braces balance, escaped ones aside."""

quick = settings(max_examples=200, deadline=None)


@quick
@given(any_text)
@example("\\boxed{" * 500 + "}" * 499)
@example("<answer>" * 500 + "</answer>" * 500)
def test_extractors_never_raise_and_return_stripped_text_or_nothing(text):
    for extract in (last_boxed, last_tagged):
        found = extract(text)
        assert found is None or (found and found == found.strip() and found in text)
    assert extract_answer(text) == extract_answer(text).strip()
    assert nesting(text) >= 0
    assert isinstance(plain(text), str)


@quick
@given(before=any_text, inside=balanced, after=plain_text)
def test_a_balanced_box_is_found_behind_anything(before, inside, after):
    assert last_boxed(before + "\\boxed{" + inside + "}" + after) == (inside.strip() or None)


@quick
@given(before=any_text, inside=balanced, after=any_text.filter(lambda text: "{" not in text and "}" not in text))
def test_an_unclosed_box_behind_a_balanced_one_changes_nothing(before, inside, after):
    text = before + "\\boxed{" + inside + "}"
    assert last_boxed(text + " \\boxed{" + after) == last_boxed(text)


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
}


def seconds_for(text):
    began = time.process_time()
    for extract in (last_boxed, last_tagged, extract_answer):
        extract(text)
    return time.process_time() - began


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
    assert time.process_time() - began < 20.0


# --- verdicts -------------------------------------------------------------------------------------------------------

MARK = "qZx41903"


@pytest.fixture(scope="module")
def spelling():
    """One reasoning-gym problem; its reference is a marker of its own."""
    config = ProblemsConfig(source="reasoning_gym:spell_backward", size=2, held_out=1, options={"min_word_len": 8})
    (problem,) = load_problems(config).train
    return problem


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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


@settings(max_examples=100, deadline=None)
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
