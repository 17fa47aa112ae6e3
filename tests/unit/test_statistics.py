"""Statistics of evaluation: values, errors, determinism."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mopd.core.statistics import auc, bootstrap_interval, chance_of_at_least, mean_at_k, mean_or_zero, pass_at_k


@pytest.mark.parametrize(
    ("n", "c", "k", "expected"),
    [(8, 1, 8, 1.0), (8, 1, 1, 0.125), (8, 0, 8, 0.0), (8, 8, 1, 1.0), (4, 2, 2, 5 / 6), (8, 3, 4, 1 - 5 / 70)],
)
def test_pass_at_k_by_hand(n, c, k, expected):
    assert pass_at_k(n, c, k) == pytest.approx(expected, abs=1e-15)


def test_pass_at_k_of_many_attempts_does_not_overflow():
    assert pass_at_k(100_000, 1, 50_000) == pytest.approx(0.5, abs=1e-12)


@pytest.mark.parametrize(("n", "c", "k"), [(8, 9, 1), (8, -1, 1), (8, 1, 0), (8, 1, 9), (0, 0, 0)])
def test_pass_at_k_refuses_impossible_counts(n, c, k):
    with pytest.raises(ValueError, match=f"n={n}, c={c}, k={k}"):
        pass_at_k(n, c, k)


def test_mean_at_k_is_the_share_of_successful_attempts():
    assert mean_at_k([[True, False, False, False], [True, True, True, False]]) == 0.5


def test_a_flat_list_is_one_problem():
    assert mean_at_k([True, False, False, False]) == 0.25


@pytest.mark.parametrize("nothing", [[], [[]]])
def test_mean_at_k_of_nothing_is_refused(nothing):
    with pytest.raises(ValueError, match="at least one attempt"):
        mean_at_k(nothing)


@pytest.mark.parametrize(
    ("scores", "labels", "expected"),
    [
        ([1, 2, 3, 4], [0, 0, 1, 1], 1.0),
        ([1, 2, 3, 4], [1, 1, 0, 0], 0.0),
        ([5, 5, 5], [1, 0, 0], 0.5),
        ([1, 2, 2, 3], [0, 1, 0, 1], 3.5 / 4),
        ([-math.inf, 0.0, math.inf], [False, True, True], 1.0),
    ],
)
def test_auc_by_hand(scores, labels, expected):
    assert auc(scores, labels) == expected


@pytest.mark.parametrize("labels", [[True, True], [False, False], []])
def test_auc_of_one_class_is_nan(labels):
    assert math.isnan(auc([0.5] * len(labels), labels))


def test_auc_refuses_lists_of_different_lengths():
    with pytest.raises(ValueError, match="one length"):
        auc([1.0, 2.0], [True])


def test_auc_refuses_a_score_that_is_nan():
    with pytest.raises(ValueError, match="NaN"):
        auc([1.0, math.nan], [True, False])


def sample(n, seed=3):
    return np.random.default_rng(seed).random(n)


def test_an_interval_is_determined_by_its_seed():
    assert bootstrap_interval(sample(20), seed=5) == bootstrap_interval(sample(20), seed=5)
    assert bootstrap_interval(sample(20), seed=5) != bootstrap_interval(sample(20), seed=6)


def test_an_interval_contains_the_mean():
    low, high = bootstrap_interval(sample(20))
    assert low < sample(20).mean() < high


def test_an_interval_narrows_as_one_over_the_root_of_n():
    widths = [high - low for low, high in (bootstrap_interval(sample(n)) for n in (25, 100, 400))]
    assert widths[0] / widths[1] == pytest.approx(2, rel=0.25)
    assert widths[1] / widths[2] == pytest.approx(2, rel=0.25)


def test_a_higher_level_gives_a_wider_interval():
    (low, high), (lower, higher) = bootstrap_interval(sample(20), 0.5), bootstrap_interval(sample(20), 0.99)
    assert lower < low < high < higher


@pytest.mark.parametrize("n", [1, 2, 3, 37, 128, 300])
def test_an_interval_is_that_of_one_resample_after_another(n):
    """However many are drawn at a time, the numbers drawn and their means are the same to the last bit."""
    rng, values = np.random.default_rng(4), sample(n)
    means = [values[rng.integers(0, n, n)].mean() for _ in range(4000)]
    assert bootstrap_interval(values, seed=4) == tuple(np.quantile(means, [(1 - 0.95) / 2, (1 + 0.95) / 2]))


def test_an_interval_of_equal_values_is_a_point():
    assert bootstrap_interval([0.25] * 7) == (0.25, 0.25)


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [[1.0, 2.0]]])
def test_an_interval_of_no_values_is_refused(values):
    with pytest.raises(ValueError, match="values must be"):
        bootstrap_interval(values)


@pytest.mark.parametrize("level", [0.0, 1.0, -0.5, 95])
def test_an_interval_refuses_an_impossible_level(level):
    with pytest.raises(ValueError, match="level"):
        bootstrap_interval([1.0, 2.0], level)


def test_the_mean_of_no_values_is_zero():
    assert mean_or_zero([]) == 0.0
    assert mean_or_zero([1.0, 2.0]) == 1.5


@pytest.mark.parametrize(("n", "p"), [(1, 0.5), (20, 0.25), (80, 0.25), (400, 0.1)])
def test_the_chance_of_hits_with_one_chance_each_is_binomial(n, p):
    for hits in (0, 1, n // 4, n // 2, n, n + 1):
        assert chance_of_at_least(hits, [p] * n) == pytest.approx(stats.binom.sf(hits - 1, n, p), rel=1e-9, abs=1e-300)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), max_size=6), st.integers(0, 7))
def test_the_chance_of_hits_is_that_of_all_outcomes_with_so_many(chances, hits):
    expected = sum(
        math.prod(p if happens else 1 - p for p, happens in zip(chances, outcome, strict=True))
        for outcome in itertools.product((True, False), repeat=len(chances))
        if sum(outcome) >= hits
    )
    assert chance_of_at_least(hits, chances) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("chances", [[1.5], [-0.1], [math.nan], [[0.5]]])
def test_what_is_no_chance_is_refused(chances):
    with pytest.raises(ValueError, match="from 0 to 1"):
        chance_of_at_least(1, chances)
