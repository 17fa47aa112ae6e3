"""The five statistics of scores against success: scipy's values, hand-worked ones, and what is undefined."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mopd.core.signals import (
    SIGNALS,
    auc,
    differences,
    kendall_tau_b,
    over_problems,
    pairwise_accuracy,
    point_biserial,
    signals_of,
    spearman,
)
from mopd.core.statistics import bootstrap_interval

CORRELATIONS = ("spearman", "kendall_tau_b", "point_biserial")


def group(seed):
    """Scores with and without ties, and successes with both outcomes."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 40))
    scores = rng.integers(0, 6, n) / 3 if seed % 2 else rng.normal(-2, 0.7, n)
    successes = rng.permutation(np.arange(n) < rng.integers(1, n))
    return scores, successes


@pytest.mark.parametrize("seed", range(40))
def test_all_five_equal_scipys(seed):
    scores, successes = group(seed)
    found = signals_of(scores, successes)
    statistic = stats.mannwhitneyu(scores[successes], scores[~successes]).statistic
    assert found["auc"] == pytest.approx(statistic / (successes.sum() * (~successes).sum()), abs=1e-12)
    if len(set(scores)) == 1:
        assert [found[name] for name in CORRELATIONS] == [None] * 3
        return
    assert found["spearman"] == pytest.approx(stats.spearmanr(scores, successes).statistic, abs=1e-12)
    assert found["kendall_tau_b"] == pytest.approx(stats.kendalltau(scores, successes).statistic, abs=1e-12)
    assert found["point_biserial"] == pytest.approx(stats.pointbiserialr(successes, scores).statistic, abs=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_rank_statistics_of_graded_rewards_equal_scipys(seed):
    rng = np.random.default_rng(seed)
    scores, rewards = rng.integers(0, 8, 25) / 4, rng.integers(0, 5, 25) / 4
    assert spearman(scores, rewards) == pytest.approx(stats.spearmanr(scores, rewards).statistic, abs=1e-12)
    assert kendall_tau_b(scores, rewards) == pytest.approx(stats.kendalltau(scores, rewards).statistic, abs=1e-12)


@pytest.mark.parametrize("seed", range(40))
def test_pairwise_accuracy_is_auc_less_half_of_the_ties(seed):
    scores, successes = group(seed)
    pairs = [(a, b) for a in scores[successes] for b in scores[~successes]]
    ties = sum(a == b for a, b in pairs) / len(pairs)
    assert pairwise_accuracy(scores, successes) == pytest.approx(auc(scores, successes) - ties / 2, abs=1e-12)


def test_pairwise_accuracy_of_rewards_by_hand():
    # Pairs with different rewards: (1, .5), (1, 0), (1, 0'), (.5, 0), (.5, 0'); right: the first, second, fourth.
    assert pairwise_accuracy([3.0, 2.0, 1.0, 4.0], [1.0, 0.5, 0.0, 0.0]) == 3 / 5
    assert pairwise_accuracy([1.0, 1.0], [True, False]) == 0.0


@pytest.mark.parametrize("successes", [[True, True, True], [False, False, False], [], [True]])
def test_one_outcome_makes_all_five_undefined(successes):
    assert signals_of(np.arange(len(successes), dtype=float), successes) == dict.fromkeys(SIGNALS)


def test_equal_scores_are_a_coin_for_auc_all_errors_for_pairs_and_no_correlation():
    expected = {"auc": 0.5, "pairwise_accuracy": 0.0, **dict.fromkeys(CORRELATIONS)}
    assert signals_of([-1.5] * 4, [True, False, True, False]) == expected


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize(
    ("scores", "told"), [([1.0], "one length"), ([math.nan, 1.0], "finite"), ([-math.inf, 1.0], "finite")]
)
def test_what_is_no_list_of_finite_scores_is_refused(name, scores, told):
    with pytest.raises(ValueError, match=told):
        SIGNALS[name](scores, [True, False])


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=2, max_size=12), st.randoms())
def test_the_order_of_rollouts_and_a_change_of_unit_change_nothing(rollouts, random):
    scores, successes = [s for s, _ in rollouts], [o for _, o in rollouts]
    shuffled = random.sample(rollouts, len(rollouts))
    again = signals_of([3.0 * s - 7.0 for s, _ in shuffled], [o for _, o in shuffled])
    assert again == pytest.approx(signals_of(scores, successes), abs=1e-12)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=2, max_size=12))
def test_turning_scores_round_turns_every_statistic_round(rollouts):
    scores, successes = np.array([s for s, _ in rollouts], dtype=float), [o for _, o in rollouts]
    for name in ("auc", *CORRELATIONS):
        found, turned = SIGNALS[name](scores, successes), SIGNALS[name](-scores, successes)
        if found is None:
            assert turned is None
        else:
            assert turned == pytest.approx(1 - found if name == "auc" else -found, abs=1e-12)


def test_point_biserial_by_hand():
    # Means 3 and 1, deviations (1, -1, 1, -1), of all 4: standard deviation sqrt(2), so (3 - 1) / sqrt(2) * .5.
    assert point_biserial([4.0, 2.0, 2.0, 0.0], [True, True, False, False]) == pytest.approx(1 / math.sqrt(2))


def test_a_mean_over_problems_weighs_problems_alike_and_counts_what_is_undefined():
    found = over_problems([("a", 1.0), ("a", 0.0), ("b", 1.0), ("b", None), ("c", None)])
    assert (found.mean, found.problems, found.undefined) == (0.75, 2, 2)
    assert found.interval == bootstrap_interval([0.5, 1.0])


def test_a_mean_of_nothing_defined_is_none():
    assert over_problems([("a", None)]).as_json() == {"mean": None, "interval": None, "problems": 0, "undefined": 1}


def test_differences_are_paired_on_the_same_groups():
    first, second = [("a", 0.25), ("b", None), ("c", 1.0)], [("a", 1.0), ("b", 0.5), ("c", None)]
    assert differences(first, second) == [("a", 0.75), ("b", None), ("c", None)]
    with pytest.raises(ValueError, match="same problems"):
        differences(first, second[:2])
