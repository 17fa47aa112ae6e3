"""Diversity of completions: hand-worked values, an edit distance by the table, and what must change nothing."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mopd.analysis.diversity import (
    ast_jaccard,
    distinct,
    diversity_of,
    edit_distance,
    self_bleu,
    text_distance,
    tokens_of,
    unique_ratio,
)

TEXTS = st.lists(st.text("ab c", max_size=12), min_size=2, max_size=5)


def test_tokens_are_words_and_other_visible_characters():
    assert tokens_of("f(x_1) = 3.5\n") == ("f", "(", "x_1", ")", "=", "3", ".", "5")
    assert tokens_of(" \t\n") == ()


def test_distinct_by_hand():
    # a b a, a b: unigrams a b a a b, 2 of 5 different; bigrams ab ba ab, 2 of 3.
    assert distinct(["a b a", "a b"], 1) == 2 / 5
    assert distinct(["a b a", "a b"], 2) == 2 / 3
    assert distinct(["a", "b"], 2) is None


def test_self_bleu_of_equal_texts_is_one_however_short():
    for text in ("7", "a b", "the cat sat on the mat"):
        assert self_bleu([text] * 3) == pytest.approx(1.0, abs=1e-12)


def test_self_bleu_by_hand():
    # a b c d e against a b c d f: precisions 4/5, 3/4, 2/3, 1/2; lengths are equal. Both ways alike.
    expected = math.exp((math.log(4 / 5) + math.log(3 / 4) + math.log(2 / 3) + math.log(1 / 2)) / 4)
    assert self_bleu(["a b c d e", "a b c d f"]) == pytest.approx(expected, abs=1e-12)


def test_self_bleu_clips_counts_smooths_and_punishes_shortness_by_hand():
    # a a b against a b: a is matched once (clipped), so 2/3; aa ab: 1/2; order 3: aab, no match, .1/1; no penalty.
    long = math.exp((math.log(2 / 3) + math.log(1 / 2) + math.log(0.1)) / 3)
    # a b against a a b: 2/2, 1/1, orders up to 2; penalty exp(1 - 3/2).
    short = math.exp(1 - 3 / 2)
    assert self_bleu(["a a b", "a b"]) == pytest.approx((long + short) / 2, abs=1e-12)


def test_self_bleu_takes_the_most_of_any_other_text_and_the_nearest_length_by_hand():
    # a a against {a, a b b}: the most of any other is 1, so 1/2; aa: .1/1; lengths 1 and 3 are as near, the shorter
    # counts, so no penalty.
    first = math.exp((math.log(1 / 2) + math.log(0.1)) / 2)
    # a against {a a, a b b}: 1/1; nearest length 2, penalty exp(1 - 2).
    second = math.exp(-1)
    # a b b against {a a, a}: a once, 1/3; ab bb: .1/2; abb: .1/1; nearest 2, no penalty.
    third = math.exp((math.log(1 / 3) + math.log(0.1 / 2) + math.log(0.1)) / 3)
    assert self_bleu(["a a", "a", "a b b"]) == pytest.approx((first + second + third) / 3, abs=1e-12)


def by_table(first, second):
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(second, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


@settings(deadline=None, max_examples=300)
@given(st.lists(st.sampled_from("abc"), max_size=70), st.lists(st.sampled_from("abc"), max_size=70))
def test_the_edit_distance_is_that_of_the_table(first, second):
    assert edit_distance(first, second) == by_table(first, second)


def test_text_distance_by_hand():
    # a b c - a x c: 1 of 3; a b c - (nothing): 3 of 3; a x c - (nothing): 3 of 3.
    assert text_distance(["a b c", "a x c", ""]) == pytest.approx((1 / 3 + 1 + 1) / 3)
    assert text_distance(["a b", "a b"]) == 0.0


def test_unique_ratio_by_hand():
    assert unique_ratio(["7", "7\n", "8", "9"]) == 3 / 4


def program(text):
    return f"Here it is:\n```python\n{text}\n```\n"


def test_ast_jaccard_counts_kinds_of_nodes_by_hand():
    # x = 1: Module, Assign, Name, Store, Constant. x += 1: Module, AugAssign, Name, Store, Add, Constant.
    # Shared: Module, Name, Store, Constant = 4; in either: 7.
    assert ast_jaccard([program("x = 1\nprint()"), program("y = 'a'\nprint()")]) == 1.0
    assert ast_jaccard([program("import a\nx = 1"), program("import a\nx += 1")]) == pytest.approx(6 / 9)


def test_what_is_no_program_in_a_block_is_no_code():
    assert ast_jaccard(["4", "5"]) is None
    assert ast_jaccard([program("x = 1\nprint(x)"), program("x = = 1")]) is None


@settings(deadline=None)
@given(TEXTS, st.randoms())
def test_the_order_of_texts_changes_nothing(texts, random):
    shuffled = random.sample(texts, len(texts))
    assert diversity_of(shuffled) == pytest.approx(diversity_of(texts), abs=1e-12)


@settings(deadline=None)
@given(TEXTS)
def test_every_measure_is_none_or_between_zero_and_one(texts):
    for value in diversity_of(texts).values():
        assert value is None or -1e-12 <= value <= 1 + 1e-12


def test_too_few_texts_leave_every_pair_undefined():
    assert diversity_of([]) == dict.fromkeys(diversity_of([]))
    found = diversity_of(["a b"])
    assert (found["self_bleu_4"], found["text_distance"], found["unique_ratio"]) == (None, None, 1.0)
