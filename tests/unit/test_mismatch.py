"""How far sampler and learner disagree: means, tails, and the effective share of tokens."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mopd.learning.mismatch import mismatch_metrics


def test_without_any_difference_every_token_counts():
    found = mismatch_metrics([0.0] * 50)
    assert found["importance/effective_share"] == 1
    assert found["importance/logprob_gap_max_nats"] == found["importance/logprob_gap_p99_nats"] == 0


def test_what_half_of_the_tokens_are_worth():
    """r = 3 and 1: (4n/2)^2 / (n (9 + 1) n / 2) = 0.8."""
    found = mismatch_metrics([math.log(3), 0.0] * 20)
    assert found["importance/effective_share"] == pytest.approx(0.8)
    assert found["importance/logprob_gap_nats"] == pytest.approx(math.log(3) / 2)


def test_one_token_that_outweighs_all_others_leaves_one_of_them():
    found = mismatch_metrics([0.0] * 99 + [-900.0, 800.0])
    assert found["importance/effective_share"] == pytest.approx(1 / 101)
    assert found["importance/logprob_gap_max_nats"] == 900
    assert found["importance/logprob_gap_p99_nats"] == np.quantile([0.0] * 99 + [800.0, 900.0], 0.99)


def test_a_common_factor_of_all_weights_changes_nothing():
    gaps = np.random.default_rng(0).normal(size=200)
    a, b = mismatch_metrics(list(gaps)), mismatch_metrics(list(gaps + 3))
    assert a["importance/effective_share"] == pytest.approx(b["importance/effective_share"])


def test_nothing_is_not_measured():
    with pytest.raises(ValueError, match="one token at least"):
        mismatch_metrics([])
