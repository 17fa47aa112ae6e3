"""Verifiers: what each takes as the answer, what it calls right, and that a verdict comes out whatever goes in."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
import time

import pytest

from mopd import verifiers
from mopd.core.errors import VerifierError
from mopd.core.types import VERDICT_KINDS, Group, Problem, Rollout, Verdict
from mopd.judging.verdicts import judge, verify
from mopd.verifiers.exact import verify as exact
from mopd.verifiers.math import MAX_ANSWER_CHARACTERS, MAX_NESTING
from mopd.verifiers.math_boxes import last_boxed, nesting, unboxed
from mopd.verifiers.math_plain import plain
from mopd.verifiers.multiple_choice import last_tagged
from mopd.verifiers.multiple_choice import verify as multiple_choice
from mopd.verifiers.pool import GraderFailure
from mopd.verifiers.reasoning_gym_tasks import extract_answer


def problem(reference, verifier="exact", **columns):
    return Problem("p", ({"role": "user", "content": "?"},), reference, verifier, columns=columns)


def rollout(text, index=0, is_truncated=False):
    return Rollout(index, (1,), (True,), (0.0,), text, is_truncated)


@pytest.fixture
def registered():
    """Registers a function as the verifier "own" for one test."""
    yield verifiers.register("own")
    verifiers._VERIFIERS.pop("own", None)


def test_exact_takes_a_reference_about_thinking_tags():
    for reference in ("<think>", "</think>", "<think>a</think>", "<think>\n", "a <think>"):
        assert exact(problem(reference), f" {reference}\n").kind == "correct"
    assert exact(problem("<think>"), "").kind == exact(problem("<think>"), "<think>a").kind == "unparsable"


# --- exact and multiple choice --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("completion", "kind"),
    [
        ("12", "correct"),
        (" \n12\t", "correct"),
        ("1 2", "wrong"),
        ("12.", "wrong"),
        ("", "unparsable"),
        (" \n", "unparsable"),
    ],
)
def test_exact_compares_the_whole_completion_but_for_white_space_at_its_ends(completion, kind):
    assert exact(problem(" 12\n"), completion).kind == kind


@pytest.mark.parametrize(
    ("completion", "kind", "answer"),
    [
        ("<answer>B</answer>", "correct", "B"),
        ("I think <answer>\n B \n</answer>, so", "correct", "B"),
        ("<answer>A</answer> no: <answer>B</answer>", "correct", "B"),
        ("<answer>B</answer> no: <answer>A</answer>", "wrong", "A"),
        ("<answer>B</answer> and <answer>A", "correct", "B"),
        ("<answer>B</answer></answer>", "correct", "B"),
        ("<answer><answer>B</answer>", "correct", "B"),
        ("</answer><answer>B</answer>", "correct", "B"),
        ("<answer>B: 1.69</answer>", "wrong", "B: 1.69"),  # the prompt lists no texts
        ("<answer>AB</answer>", "wrong", "AB"),
        ("<answer>A or B</answer>", "wrong", "A or B"),
        ("<answer>not B</answer>", "wrong", "not B"),
        ("<answer></answer>", "unparsable", None),
        ("<answer>B</answer><answer> </answer>", "unparsable", None),
        ("<answer>B", "unparsable", None),
        ("B</answer>", "unparsable", None),
        ("</answer>B<answer>", "unparsable", None),
        ("<Answer>B</Answer>", "unparsable", None),
        ("B", "unparsable", None),
        ("", "unparsable", None),
    ],
)
def test_multiple_choice_takes_the_last_closed_tag_and_wants_one_option(completion, kind, answer):
    verdict = multiple_choice(problem("B"), completion)
    assert (verdict.kind, verdict.answer) == (kind, answer)
    assert verdict.reward == float(kind == "correct")


def test_reasoning_gym_takes_the_last_tag_or_where_there_is_none_everything():
    assert extract_answer(" 12 ") == "12"
    assert extract_answer("so <answer>1</answer> <answer>12</answer>.") == "12"
    assert extract_answer("so <answer>12") == ""
    assert extract_answer("<answer></answer>") == ""
    assert extract_answer("") == ""


@pytest.mark.parametrize(
    ("name", "right", "other"),
    [
        ("exact", "B", "A"),
        ("multiple_choice", "<answer>B</answer>", "<answer>A</answer>"),
        ("multiple_choice_letter", "<answer>B</answer>", "<answer>A</answer>"),
        ("math", r"\boxed{B}", r"\boxed{A}"),
    ],
)
def test_no_verifier_reads_an_answer_in_a_thinking_span(name, right, other):
    asked = problem("B", name)
    assert judge(asked, f"<think>{other}</think>\n{right}").kind == "correct"
    assert judge(asked, f"{other}, I think</think>{right}").kind == "correct"
    assert judge(asked, f"{right}<think>or {other}").kind == "correct"
    assert judge(asked, f"<think>{right}</think>{other}").kind == "wrong"
    for nothing in (f"<think>{right}", f"<think>{right}</think>", f"{right}</think>"):
        assert judge(asked, nothing).kind == "unparsable"


# --- mathematics: which box -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"\boxed{5}", "5"),
        (r"\boxed{ 5 }", "5"),
        (r"\boxed {5}", "5"),
        (r"$\boxed{1}$, no, \[\boxed{2}\] holds", "2"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\}}", r"\}"),
        (r"\boxed{\{}", r"\{"),
        (r"\boxed{a \\}", r"a \\"),
        (r"\\boxed{5}", "5"),
        (r"x \\\boxed{5}", "5"),
        (r"\boxed{\boxed{5}}", r"\boxed{5}"),
        (r"\boxed{1} then \boxed{2", None),
        (r"\boxed{1} then \boxed{2} and \boxed {", None),
        (r"\boxed{1 then \boxed{2}", "2"),
        (r"\boxed{ {1 \boxed{2}", "2"),
        (r"} { \boxed{2}", "2"),
        (r"\boxed{2}} }", "2"),
        (r"\boxed{1}, \boxed{}", None),
        (r"\boxed{ }", None),
        (r"\boxed{", None),
        (r"\boxed", None),
        (r"\boxed5", None),
        (r"\boxed(5)", None),
        (r"boxed{5}", None),
        ("5", None),
        ("", None),
        ("\\", None),
    ],
)
def test_the_last_box_is_taken_if_it_is_closed(text, content):
    assert last_boxed(text) == content


@pytest.mark.parametrize(
    ("text", "same"),
    [
        (r"$5$", "5"),
        (r"$$ 5 $$", "5"),
        (r"\(5\)", "5"),
        (r"\[5\]", "5"),
        ("5.", "5"),
        ("$5.$", "5"),
        ("$5$.", "5"),
        ("x  =\n5", "x = 5"),
        ("0.333...", "0.333..."),
        ("$5$ and $6$", "$5$ and $6$"),
        ("1 2 3", "1 2 3"),
        ("", ""),
        ("$", "$"),
        (".", ""),
    ],
)
def test_plain_text_lacks_what_is_around_an_answer(text, same):
    assert plain(text) == same


def test_a_reference_is_the_same_with_its_box_and_without():
    assert unboxed(r"so $x$ is \boxed{\frac12}") == r"\frac12"
    assert unboxed(r"\frac12") == r"\frac12"


def test_nesting_counts_brackets_of_all_kinds():
    assert [nesting(text) for text in ("", "5", "()()", "([{x}])", ")))(", "((")] == [0, 0, 1, 3, 0, 2]


# --- mathematics: what is equal -------------------------------------------------------------------------------------

EQUAL = [
    (r"\frac{1}{2}", "0.5"),
    ("0.5", r"\dfrac{1}{2}"),
    ("1/2", r"\tfrac12"),
    (r"-\frac{1}{2}", r"\frac{-1}{2}"),
    (r"50\%", "50%"),
    (r"50\%", r"\frac{1}{2}"),
    (r"3\frac12", "3.5"),
    ("1 2/3", r"\frac{5}{3}"),
    ("-1 2/3", r"-\frac{5}{3}"),
    ("10,000", "10000"),
    ("1 000", "1000"),
    (r"1.5 \times 10^3", "1500"),
    ("[0,1)", "[0, 1)"),
    (r"(0,1) \cup (2,3)", r"(2,3) \cup (0,1)"),
    (r"\{1,2\}", r"\{2,1\}"),
    ("1, 2", "2, 1"),
    (r"\left(\frac12, 3\right)", "(0.5, 3)"),
    (r"\pm 2", "2, -2"),
    (r"1 \pm \sqrt{2}", r"1+\sqrt2, 1-\sqrt2"),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{bmatrix}1 & 2\\ 3 & 4\end{bmatrix}"),
    (r"5\text{ cm}", "5"),
    ("5", r"5 \mathrm{~cm}"),
    (r"90^\circ", "90"),
    (r"\$12.50", "12.5"),
    (r"\text{Monday}", r"\text{monday}"),
    (r"\text{(A)}", "A"),
    ("x = 5", "5"),
    ("5", "x=5"),
    ("y=2x+3", "y = 3 + 2x"),
    ("x^2+2x+1", "(x+1)^2"),
    (r"\sqrt{8}", r"2\sqrt2"),
    (r"\log_2 8", "3"),
    (r"\emptyset", r"\emptyset"),
    ("5", "5."),
    ("$5$", "5"),
    (r"\boxed{5}", "5"),
    (r"The answer is $\boxed{\frac{1}{2}}$.", "0.5"),
    ("5", r"\boxed{5}"),
    (r"\infty", r"\infty"),
    (r"\frac{1}{0}", r"\frac{1}{0}"),
    (r"p \to q", r"p  \to q"),  # the same text, which math-verify cannot read
    (r"9^{9^{9^{9}}}", r"9^{9^{9^{9}}}"),  # the same text, which nothing can compute
]

UNEQUAL = [
    (r"\frac{1}{2}", "0.51"),
    ("5", "6"),
    ("5", "-5"),
    ("x=5", "y=5"),
    ("(1,2)", "[1,2]"),
    ("(1,2)", "(2,1)"),
    (r"\{1,2\}", r"\{1,3\}"),
    ("5", "5, 6"),
    ("5, 6", "5"),
    ("5", r"4 \text{ or } 5"),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{pmatrix}1&2\\3&5\end{pmatrix}"),
    (r"\text{Monday}", r"\text{Tuesday}"),
    (r"x \le 3", "x < 3"),
    (r"\sqrt{2}", "1.41"),
    ("5", "x"),
    ("0", r"\frac{0}{0}"),
    ("5", r"\text{nan}"),
    ("1000", "1 001"),
]

UNREADABLE = ["?", "((5", r"\foo{", r"\frac{1}", "5 ???", "&", "{" * (MAX_NESTING + 1) + "5" + "}" * (MAX_NESTING + 1)]


@pytest.mark.parametrize(("reference", "answer"), EQUAL)
def test_math_takes_equal_forms(reference, answer):
    verdict = judge(problem(reference, "math"), f"So \\boxed{{{answer}}}.")
    assert (verdict.kind, verdict.reward, verdict.feedback) == ("correct", 1.0, "")


@pytest.mark.parametrize(("reference", "answer"), UNEQUAL)
def test_math_refuses_what_is_not_equal(reference, answer):
    verdict = judge(problem(reference, "math"), f"So \\boxed{{{answer}}}.")
    assert (verdict.kind, verdict.reward) == ("wrong", 0.0)
    assert "wrong" in verdict.feedback


@pytest.mark.parametrize("answer", UNREADABLE)
def test_an_answer_that_is_no_mathematics_is_unparsable(answer):
    assert judge(problem("5", "math"), f"\\boxed{{{answer}}}").kind == "unparsable"


@pytest.mark.parametrize("reference", [r"n \equiv 1", r"\langle a \rangle", r"p \to q", "?"])
def test_where_the_reference_cannot_be_read_only_its_own_text_is_right_and_nothing_is_silently_wrong(reference):
    assert judge(problem(reference, "math"), f"\\boxed{{{reference}}}").kind == "correct"
    for answer in ("3", "1.2", "q"):
        verdict = judge(problem(reference, "math"), f"\\boxed{{{answer}}}")
        assert verdict.kind == "error"
        assert "cannot read the reference" in verdict.feedback


def test_a_box_too_long_to_be_an_answer_is_unparsable_at_once():
    began = time.process_time()
    verdict = judge(problem("5", "math"), "\\boxed{" + "1+" * 5_000_000 + "1}")
    assert verdict.kind == "unparsable"
    assert str(MAX_ANSWER_CHARACTERS) in verdict.feedback
    assert len(verdict.answer) <= 80
    assert time.process_time() - began < 5.0


@pytest.mark.parametrize("name", ["exact", "math", "multiple_choice"])
@pytest.mark.parametrize("reference", [None, "", " \n"])
def test_without_a_reference_nobody_can_judge(name, reference):
    verdict = judge(problem(reference, name), r"<answer>5</answer> \boxed{5}")
    assert verdict.kind == "error"
    assert "no reference" in verdict.feedback


# --- any verifier, any outcome --------------------------------------------------------------------------------------


def test_verifiers_are_found_by_name_and_the_nearest_name_is_offered():
    assert verifiers.get("exact") is exact
    with pytest.raises(VerifierError, match="did you mean multiple_choice"):
        verifiers.get("multiple_choise")
    with pytest.raises(VerifierError, match="register"):
        verifiers.get("zzz")


class Unreadable(Exception):
    def __str__(self):
        raise RuntimeError("no text")


class Unprintable:
    def __repr__(self):
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("fell over"),
        SystemExit(2),
        RecursionError("deep"),
        MemoryError(),
        GraderFailure("failed", "said"),
        Unreadable(),
        StopIteration(),
    ],
)
def test_a_verifier_that_raises_gives_an_error(registered, error):
    @registered
    def verifier(problem, completion):
        raise error

    verdict = judge(problem("5", "own"), "5")
    assert (verdict.kind, verdict.reward, verdict.answer) == ("error", 0.0, None)
    assert "own" in verdict.feedback


@pytest.mark.parametrize(
    "returned",
    [
        None,
        1.0,
        "correct",
        (1.0, "correct"),
        Unprintable(),
        Verdict(math.nan, "wrong"),
        Verdict(math.inf, "correct"),
        Verdict(-math.inf, "wrong"),
        Verdict(None, "wrong"),
        Verdict("1", "correct"),
        Verdict(10**400, "correct"),
        Verdict(1.0, "right"),
        Verdict(1.0, None),
        Verdict(1.0, ["correct"]),
        Verdict(1.0, "correct", 5),
        Verdict(1.0, "correct", "5", None),
    ],
)
def test_a_verifier_that_returns_no_proper_verdict_gives_an_error_that_says_so(registered, returned):
    @registered
    def verifier(problem, completion):
        return returned

    verdict = judge(problem("5", "own"), "5")
    assert (verdict.kind, verdict.reward) == ("error", 0.0)
    assert len(verdict.feedback) > len("The verifier own ")


@pytest.mark.parametrize("reward", [-3.5, 0, 0.25, 1, True, 17.0])
def test_a_proper_verdict_passes_unchanged_with_its_raw_reward(registered, reward):
    given = Verdict(reward, "wrong", "5", "not quite")
    registered(lambda problem, completion: given)
    assert judge(problem("6", "own"), "5") is given


def test_an_unknown_verifier_is_an_error_too():
    assert "did you mean exact" in judge(problem("5", "exakt"), "5").feedback


def test_truncated_rollouts_are_judged_without_the_verifier(registered):
    @registered
    def verifier(problem, completion):
        raise AssertionError("was asked")

    group = Group(0, problem("5", "own"), (1,), (rollout("5", is_truncated=True),))
    (verified,) = verify([group])
    assert [v.kind for v in verified.verdicts] == ["truncated"]
    assert verified.is_failure(0)


def test_verdicts_keep_the_order_of_groups_and_rollouts_however_long_each_takes(registered):
    @registered
    def verifier(problem, completion):
        time.sleep(0.02 if completion.endswith(("0", "3")) else 0.0)
        if completion.endswith("5"):
            raise RuntimeError("fell over")
        return Verdict(1.0, "correct", f"{problem.id}/{completion}")

    groups = [
        Group(1, Problem(f"p{g}", (), "r", "own"), (), tuple(rollout(f"{g}{i}", i, i == 4) for i in range(8)))
        for g in range(4)
    ]
    verified = verify(groups)
    assert [group.problem.id for group in verified] == ["p0", "p1", "p2", "p3"]
    for g, group in enumerate(verified):
        assert group.rollouts == groups[g].rollouts
        assert [v.kind for v in group.verdicts] == ["correct"] * 4 + ["truncated", "error"] + ["correct"] * 2
        assert [v.answer for v in group.verdicts if v.answer] == [f"p{g}/{g}{i}" for i in (0, 1, 2, 3, 6, 7)]


def test_an_error_is_neither_success_nor_failure(registered):
    registered(lambda problem, completion: None)
    (group,) = verify([Group(0, problem("5", "own"), (), (rollout("5"),))])
    assert not group.is_success(0)
    assert not group.is_failure(0)


def test_no_groups_give_no_groups():
    assert verify([]) == []


def test_judging_leaves_no_threads_behind(registered):
    registered(lambda problem, completion: Verdict(1.0, "correct"))
    before = threading.active_count()
    verify([Group(0, problem("5", "own"), (), tuple(rollout("5", i) for i in range(50)))])
    assert threading.active_count() == before


# --- the reference stays unsaid -------------------------------------------------------------------------------------


def raiser(error_of):
    def verifier(problem, completion):
        raise error_of(problem)

    return verifier


@pytest.mark.parametrize(
    "error_of",
    [
        lambda p: ValueError(f"expected {p.reference}"),
        lambda p: ValueError(f"expected {p.reference!r}"),
        lambda p: KeyError(p.reference),
        lambda p: GraderFailure("failed", f"cannot parse {p.reference}"),
        lambda p: SystemExit(p.reference),
    ],
)
@pytest.mark.parametrize("reference", ["ZQX", r"\frac{17}{19}", "it's", "né\n2"])
def test_what_a_failing_verifier_says_of_the_reference_is_withheld(registered, error_of, reference):
    registered(raiser(error_of))
    feedback = judge(problem(reference, "own"), "5").feedback
    assert reference not in feedback
    assert repr(reference)[1:-1] not in feedback
    assert "withheld" in feedback


def test_what_a_failing_verifier_says_otherwise_is_kept(registered):
    registered(raiser(lambda p: RuntimeError("the socket closed")))
    assert judge(problem("5", "own"), "5").feedback == "The verifier own raised RuntimeError: the socket closed"


def test_feedback_has_a_bounded_length(registered):
    registered(raiser(lambda p: RuntimeError("x" * 10**6)))
    assert len(judge(problem("5", "own"), "5").feedback) <= 500


def test_every_kind_a_verifier_can_give_is_a_known_kind():
    completions = ["", "5", r"\boxed{5}", r"\boxed{6}", "<answer>5</answer>", "<answer>6</answer>", "\ud800"]
    for name in ("exact", "math", "multiple_choice"):
        for completion in completions:
            verdict = judge(problem("5", name), completion)
            assert verdict.kind in VERDICT_KINDS
            assert (verdict.reward == 1.0) == (verdict.kind == "correct")


def test_importing_verifiers_imports_no_library_of_graders():
    code = (
        "import sys, mopd.judging.verdicts; print([m for m in ('torch', 'sympy', 'reasoning_gym') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_half_a_surrogate_pair_is_read_like_any_character():
    assert last_tagged("<answer>\ud800</answer>") == "\ud800"
    assert last_boxed("\\boxed{\ud800}") == "\ud800"
    assert judge(problem("5", "math"), "\\boxed{\ud800}").kind == "unparsable"
