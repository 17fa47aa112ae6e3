"""Multiple choice: what a prompt lists, which option a text means, and references that mean none."""

import json
import time

import pytest

from mopd.core.types import Problem
from mopd.judging.verdicts import judge
from mopd.problems import read_jsonl
from mopd.verifiers import MULTIPLE_CHOICE, demonstration
from mopd.verifiers.options import chosen, listed_options

PROMPT = "Which?\n\nA: 1\nB: 2.5\nC: Co\nD: CO\n\nThink first."
TEXTS = {"A": "1", "B": "2.5", "C": "Co", "D": "CO"}


def asked(reference, prompt=PROMPT, verifier="multiple_choice"):
    return Problem("p", ({"role": "user", "content": prompt},), reference, verifier)


def kind(reference, answer, prompt=PROMPT, verifier="multiple_choice"):
    return judge(asked(reference, prompt, verifier), f"<answer>{answer}</answer>").kind


# --- what a prompt lists --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prompt",
    [
        "Which?\nA: 1\nB: 2.5\nC: Co\nD: CO",
        "Which?\n(A) 1\n(B) 2.5\n(C) Co\n(D) CO",
        "Which?\n[A] 1\n[B] 2.5\n[C] Co\n[D] CO",
        "Which?\nA. 1\nB. 2.5\nC. Co\nD. CO",
        "Which?\nA) 1\nB) 2.5\nC) Co\nD) CO\n\nThink.",
        "Which?\n  a) 1\n  b) 2.5\n  c) Co\n  d) CO",
        "Which?\n- **A.** 1\n- **B.** 2.5\n- **C.** Co\n- **D.** CO",
        "A: a speaker\nB: another\n\nWhich?\nA: 1\nB: 2.5\nC: Co\nD: CO",
        "1. one\n2. two\nWhich?\nA: 1\nB: 2.5\nC: Co\nD: CO",
        "Which? (A) 1 (B) 2.5 (C) Co (D) CO",
        "Which?\nA：1\nB：2.5\nC：Co\nD：CO",
        "Which?\nA、1\nB、2.5\nC、Co\nD、CO",
    ],
)
def test_options_are_found_however_they_are_listed(prompt):
    found = listed_options(prompt)
    assert {label: text for label, (_, text) in found.items()} == TEXTS


@pytest.mark.parametrize("prompt", ["", "Which?", "A: alone", "B: 1\nC: 2", "A: 1\nC: 2"])
def test_what_is_no_run_from_a_on_is_no_list(prompt):
    assert listed_options(prompt) == {}


def test_numbers_are_labels_where_there_are_no_letters():
    prompt = "Which?\n1. red\n2. blue\n3. green"
    assert [*listed_options(prompt)] == ["1", "2", "3"]
    assert kind("2", "2", prompt) == kind("2", "(2)", prompt) == kind("2", "2. blue", prompt) == "correct"
    assert kind("2", "1", prompt) == "wrong"


# --- completions ----------------------------------------------------------------------------------------------------

FORMS = [
    *("B", " B\n", "b", "(B)", "[B]", "B.", "B)", "(B).", "B:", "**B**", "**(B)**", "**B.**", "`B`", '"B"', "$B$"),
    *(r"\text{B}", r"$\textbf{B}$", r"\(\mathrm{B}\)", r"\boxed{B}", "option B", "Option (B)"),
    *("B: 2.5", "(B) 2.5", "B) 2.5", "B. 2.5", "B - 2.5", "**B**: 2.5", "**B: 2.5**", "B 2.5", "b: 2.5."),
    *("(B) **2.5**", "B (2.5)", "“B”", "‘B’", "B,", "B;", "B!", "Answer: B", "answer (B)"),
    *("<b>B</b>", "（B）", "B：2.5"),
]  # fmt: skip


@pytest.mark.parametrize("answer", FORMS)
def test_a_letter_means_its_option_in_every_form_and_with_its_own_text(answer):
    assert kind("B", answer) == "correct"
    assert kind("A", answer) == kind("C", answer) == "wrong"


@pytest.mark.parametrize(
    "answer",
    [
        *("B: 1", "B: Co", "(B) 2.50", "B or C", "A or B", "B?", "not B", "2.5", "B because of 2.5", "B, C", "BC"),
        *(
            "B 2.5 and A 1",
            "every option",
            "The answer is B",
            "B (1)",
            "Answer: A, B",
            "A B C D",
            "A: 2.5",
            "-",
            "1B",
            "B/C",
            "(",
            "B" * 6000,
            "*" * 5000,
            "(" * 5000,
        ),
    ],
)
def test_what_does_not_mean_this_option_alone_is_wrong(answer):
    began = time.process_time()
    assert kind("B", answer) == "wrong"
    assert time.process_time() - began < 1


def test_texts_of_options_differ_by_case():
    assert kind("C", "C: Co") == kind("D", "D: CO") == "correct"
    assert kind("C", "C: CO") == "wrong"


def test_an_option_of_several_lines_may_be_given_whole_or_by_its_first_line():
    prompt = "Which?\nA: x = 1\n   y = 2\nB: x = 2\n   y = 3\n\nThink."
    assert kind("A", "A: x = 1 y = 2", prompt) == kind("A", "A: x = 1", prompt) == "correct"
    assert kind("B", "B: x = 2", prompt) == "correct"
    assert kind("A", "A: y = 2", prompt) == "wrong"


@pytest.mark.parametrize("answer", ["A, C", "C, A", "A and C", "(A), (C)", "A; C", "A C", "AC", "a, c", "A & C"])
def test_several_letters_mean_several_options_whatever_their_order(answer):
    for reference in ("A, C", '["A", "C"]', "A and C", "AC"):
        assert kind(reference, answer) == "correct"
    assert kind("A", answer) == kind("A, B", answer) == kind("A, B, C", answer) == "wrong"


def test_the_papers_rule_wants_the_letter_and_nothing_else():
    assert kind("B", "B", verifier="multiple_choice_letter") == "correct"
    for answer in FORMS[2:]:
        assert kind("B", answer, verifier="multiple_choice_letter") == "wrong"
    assert kind("(B)", "B", verifier="multiple_choice_letter") == "correct"
    assert kind("seven", "B", verifier="multiple_choice_letter") == "error"


# --- references -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reference", [*FORMS, '["B"]', "2.5"])
def test_a_reference_in_any_form_is_read(reference):
    assert kind(reference, "B") == kind(reference, "(B)") == "correct"
    assert kind(reference, "A") == "wrong"


@pytest.mark.parametrize(
    "reference", ["1", "3", "seven", "E", "T", "A, E", "B or C", "B: 1", "-1", "[]", "{}", "A or B"]
)
@pytest.mark.parametrize("verifier", MULTIPLE_CHOICE)
def test_a_reference_that_means_no_option_for_certain_is_an_error_and_never_wrong(reference, verifier):
    for answer in "ABCD":
        verdict = judge(asked(reference, verifier=verifier), f"<answer>{answer}</answer>")
        assert (verdict.kind, verdict.reward) == ("error", 0.0)
        assert "no letter of an option" in verdict.feedback
    assert kind(reference, reference, verifier=verifier) == "correct"  # the same text is right whatever it means


def read(tmp_path, *answers, **columns):
    path = tmp_path / "in.jsonl"
    rows = [{"idx": i, "kind": "mcq", "prompt": PROMPT, "answer": answer} | columns for i, answer in enumerate(answers)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_jsonl(path)


def test_a_record_says_its_option_by_letter_number_text_or_list(tmp_path):
    problems = read(tmp_path, "B", "b", "(B)", "B: 2.5", ["B"], 1, 1.0, [1], "2.5", ["A", "C"], [0, 2])
    assert [problem.reference for problem in problems] == ["B"] * 9 + ["A, C"] * 2
    for problem in problems:
        assert judge(problem, demonstration(problem)).kind == "correct"
    assert problems[5].columns["answer"] == 1


@pytest.mark.parametrize("answer", [4, -1, 1.5, True, "1", "4", ["B", "x"], {"B": 1}])
def test_a_number_that_counts_no_option_stays_and_is_an_error(tmp_path, answer):
    (problem,) = read(tmp_path, answer)
    assert {judge(problem, f"<answer>{letter}</answer>").kind for letter in "ABCD"} == {"error"}


def test_a_number_counts_letters_where_the_prompt_lists_no_options(tmp_path):
    (problem,) = read(tmp_path, 2, prompt="Which of the three?")
    assert problem.reference == "C"


def test_a_number_is_a_label_where_options_have_numbers(tmp_path):
    two, none = read(tmp_path, 2, 0, prompt="Which?\n1. red\n2. blue\n3. green")
    assert judge(two, "<answer>2. blue</answer>").kind == "correct"
    assert judge(none, "<answer>1</answer>").kind == "error"


def test_small_texts_mean_what_they_say():
    assert chosen("a cat", {"A": ("cat", "cat"), "B": ("dog", "dog")}) == {"A"}
    assert chosen("a cat", {"A": ("dog", "dog"), "B": ("cat", "cat")}) == frozenset()
