"""Statistics of evaluation: pass@k, mean@k, AUC, bootstrap intervals. Pure; numpy in float64."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def pass_at_k(n: int, c: int, k: int) -> float:
    """The unbiased probability that at least one of k attempts drawn from n succeeds, c of the n being right.

    1 - C(n-c, k) / C(n, k) (Chen et al. 2021, arXiv 2107.03374). Raises ValueError unless 0 <= c <= n and 1 <= k <= n.
    """
    if not (0 <= c <= n and 1 <= k <= n):
        raise ValueError(f"pass_at_k needs 0 <= c <= n and 1 <= k <= n, got n={n}, c={c}, k={k}")
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


def mean_at_k(successes: ArrayLike) -> float:
    """The share of attempts that succeed, problems weighted alike: [problems, k] of booleans -> float.

    A flat list is one problem. Raises ValueError where there is no attempt.
    """
    table = np.atleast_2d(np.asarray(successes, dtype=np.float64))
    if table.size == 0:
        raise ValueError("mean_at_k needs at least one attempt, got none")
    return float(table.mean())


def auc(scores: ArrayLike, labels: ArrayLike) -> float:
    """The probability that a positive scores above a negative, ties counted 0.5: [n], [n] -> float.

    Mann-Whitney form. NaN where all labels are alike, so that the caller can exclude and count it. Raises
    ValueError where the lengths differ or a score is NaN.
    """
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(labels).astype(bool)
    if values.shape != truth.shape or values.ndim != 1:
        raise ValueError(f"scores and labels must be lists of one length, got {values.shape} and {truth.shape}")
    if np.isnan(values).any():
        raise ValueError("scores must not be NaN")
    positive, negative = values[truth], np.sort(values[~truth])
    if len(positive) == 0 or len(negative) == 0:
        return math.nan
    below = np.searchsorted(negative, positive, side="left")
    up_to = np.searchsorted(negative, positive, side="right")
    return float((below + up_to).sum() / (2.0 * len(positive) * len(negative)))


DRAWN_AT_ONCE = 2**20
"""Values that a bootstrap draws at a time: 8 MiB of numbers."""


def bootstrap_interval(
    values: ArrayLike, level: float = 0.95, resamples: int = 4000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of `values`, one value a problem: [n] -> (low, high).

    For a paired interval pass the differences. Raises ValueError where `values` is empty or holds NaN, or where
    `level` is outside (0, 1).
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or len(sample) == 0 or np.isnan(sample).any():
        raise ValueError(f"values must be a non-empty list without NaN, got shape {sample.shape}")
    if not 0 < level < 1:
        raise ValueError(f"level must lie strictly between 0 and 1, got {level}")
    rng, count = np.random.default_rng(seed), len(sample)
    at_once = max(1, DRAWN_AT_ONCE // count)
    parts = [min(at_once, resamples - done) for done in range(0, resamples, at_once)]
    means = np.concatenate([sample[rng.integers(0, count, (part, count))].mean(axis=1) for part in parts])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def wilson_interval(successes: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's score interval of a share: sound for few trials and near 0 and 1; (0, 1) where there are none."""
    if count == 0:
        return 0.0, 1.0
    share, shrink = successes / count, 1 + z * z / count
    centre = (share + z * z / (2 * count)) / shrink
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / shrink
    return max(0.0, centre - half), min(1.0, centre + half)


def chance_of_at_least(hits: int, chances: ArrayLike) -> float:
    """The probability that at least `hits` of independent events happen, each with a chance of its own: [n] -> float.

    Raises ValueError where a chance is outside [0, 1].
    """
    each = np.asarray(chances, dtype=np.float64)
    if each.ndim != 1 or not bool(((each >= 0) & (each <= 1)).all()):
        raise ValueError("chances must be a list of numbers from 0 to 1")
    of_count = np.ones(1)
    for chance, n in zip(*np.unique(each, return_counts=True), strict=True):
        of_count = np.convolve(of_count, _binomial(int(n), float(chance)))
    return float(min(1.0, of_count[max(hits, 0) :].sum()))


def _binomial(n: int, chance: float) -> NDArray[np.float64]:
    """The probabilities of 0 to n successes in n trials: [n + 1]."""
    if chance in (0.0, 1.0):
        return np.asarray(np.arange(n + 1) == n * chance, dtype=np.float64)
    log_factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    successes = np.arange(n + 1)
    log_ways = log_factorials[n] - log_factorials - log_factorials[::-1]
    log_chances = log_ways + successes * math.log(chance) + (n - successes) * math.log1p(-chance)
    return np.asarray(np.exp(log_chances), dtype=np.float64)


def standard_deviation(values: Sequence[float]) -> float:
    """Of these values themselves, not of what they were drawn from; 0 for fewer than two."""
    mean = mean_or_zero(values)
    return math.sqrt(mean_or_zero([(value - mean) ** 2 for value in values]))


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed; 0 for no values."""
    if not values:
        return 0.0
    return float(sorted(values)[max(0, math.ceil(share * len(values)) - 1)])


def share_error(by_group: Sequence[float]) -> float:
    """The standard error of the mean of groups' shares, each group one draw; never less than that of one in all."""
    return _error(by_group, 1.0)


def mean_error(by_group: Sequence[float]) -> float:
    """The same of figures that are no shares, such as lengths: their own mean is in the place of all."""
    return _error(by_group, abs(mean_or_zero(by_group)))


def _error(by_group: Sequence[float], whole: float) -> float:
    count = len(by_group)
    if count < 2:
        return whole
    mean = mean_or_zero(by_group)
    spread = math.sqrt(sum((value - mean) ** 2 for value in by_group) / (count - 1) / count)
    return max(spread, 0.5 * whole / count)


def mean_gap(first: Sequence[float], second: Sequence[float]) -> float:
    """The mean distance of two lists of numbers of the same length, at least one."""
    return math.fsum(abs(a - b) for a, b in zip(first, second, strict=True)) / len(first)


def mean_or_zero(values: Sequence[float]) -> float:
    """The mean, or 0.0 for no values, for metrics that count alongside how many there were."""
    return sum(values) / len(values) if values else 0.0
