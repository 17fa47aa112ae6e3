"""How well scores of rollouts tell successes from failures: five statistics of a group, and means over problems.

A score is one number a rollout, such as the mean log-probability that a teacher gives its tokens. Every statistic is
`None` where it is undefined: without both outcomes, or, for the three correlations, without two different scores. It is
never 0 there, so that whoever averages can leave it out and count it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mopd.core import statistics

Floats = NDArray[np.float64]


def auc(scores: ArrayLike, successes: ArrayLike) -> float | None:
    """The chance that a success scores above a failure, ties counted .5: [n], [n] -> 0 to 1. Equal scores give .5.

    None without a success and a failure. Raises ValueError where lengths differ or a score is not finite.
    """
    values, truth = _lists(scores, successes)
    found = statistics.auc(values, truth)
    return None if math.isnan(found) else found


def pairwise_accuracy(scores: ArrayLike, outcomes: ArrayLike) -> float | None:
    """The share of pairs with different outcomes in which the better one scores strictly higher: [n], [n] -> 0 to 1.

    A tie of scores is an error here, where AUC counts it .5: whoever must rank two rollouts by equal scores has no
    answer. Outcomes may be successes or rewards. None where all outcomes are alike. Raises ValueError as `auc`.
    """
    values, truth = _lists(scores, outcomes)
    right = pairs = 0
    for score, outcome in zip(values, truth, strict=True):
        worse = truth < outcome
        pairs += int(worse.sum())
        right += int((values[worse] < score).sum())
    return right / pairs if pairs else None


def spearman(scores: ArrayLike, outcomes: ArrayLike) -> float | None:
    """Spearman's rank correlation, ties at their mean rank: [n], [n] -> -1 to 1. None where either list is constant.

    Raises ValueError as `auc`.
    """
    values, truth = _lists(scores, outcomes)
    return _pearson(_ranks(values), _ranks(truth))


def kendall_tau_b(scores: ArrayLike, outcomes: ArrayLike) -> float | None:
    """Kendall's tau-b: concordant minus discordant pairs, over the geometric mean of the pairs untied in each.

    [n], [n] -> -1 to 1. None where either list is constant. Raises ValueError as `auc`.
    """
    values, truth = _lists(scores, outcomes)
    agreeing = of_scores = of_outcomes = 0.0
    for i in range(len(values) - 1):
        ours, theirs = np.sign(values[i + 1 :] - values[i]), np.sign(truth[i + 1 :] - truth[i])
        agreeing += float(ours @ theirs)
        of_scores += float(np.abs(ours).sum())
        of_outcomes += float(np.abs(theirs).sum())
    return agreeing / math.sqrt(of_scores * of_outcomes) if of_scores and of_outcomes else None


def point_biserial(scores: ArrayLike, successes: ArrayLike) -> float | None:
    """Pearson's correlation of scores with success as 0 or 1: [n], [n] -> -1 to 1. None where either list is constant.

    Raises ValueError as `auc`.
    """
    values, truth = _lists(scores, successes)
    return _pearson(values, (truth != 0).astype(np.float64))


SIGNALS: Mapping[str, Callable[[ArrayLike, ArrayLike], float | None]] = {
    "auc": auc,
    "pairwise_accuracy": pairwise_accuracy,
    "spearman": spearman,
    "kendall_tau_b": kendall_tau_b,
    "point_biserial": point_biserial,
}
"""The five statistics under the names that files and metrics call them by."""


def signals_of(scores: ArrayLike, successes: ArrayLike) -> dict[str, float | None]:
    """All five statistics of one group: [n] scores, [n] booleans. Raises ValueError as `auc`."""
    return {name: statistic(scores, successes) for name, statistic in SIGNALS.items()}


@dataclass(frozen=True)
class Estimate:
    """A mean over problems with its 95 % interval (both None where no problem has a value), from how many problems, and
    how many values were undefined and left out."""

    mean: float | None
    interval: tuple[float, float] | None
    problems: int
    undefined: int

    def as_json(self) -> dict[str, Any]:
        """The fields under their names."""
        return asdict(self)


OfProblems = Sequence[tuple[str, float | None]]
"""Values with the id of the problem that each belongs to; a problem that came in several groups has several."""


def over_problems(values: OfProblems) -> Estimate:
    """The mean over problems, each the mean of its own values, with a percentile bootstrap interval over problems."""
    by_problem: dict[str, list[float]] = {}
    for problem, value in values:
        if value is not None:
            by_problem.setdefault(problem, []).append(value)
    undefined = sum(value is None for _, value in values)
    if not by_problem:
        return Estimate(None, None, 0, undefined)
    means = [statistics.mean_or_zero(of_one) for of_one in by_problem.values()]
    return Estimate(statistics.mean_or_zero(means), statistics.bootstrap_interval(means), len(by_problem), undefined)


def differences(first: OfProblems, second: OfProblems) -> list[tuple[str, float | None]]:
    """The second's values minus the first's, of the same groups in the same order; None where either is.

    Raises ValueError where they are not of the same groups.
    """
    if [problem for problem, _ in first] != [problem for problem, _ in second]:
        raise ValueError("differences are of values of the same problems in the same order")
    return [
        (problem, None if ours is None or theirs is None else theirs - ours)
        for (problem, ours), (_, theirs) in zip(first, second, strict=True)
    ]


def _lists(scores: ArrayLike, outcomes: ArrayLike) -> tuple[Floats, Floats]:
    """Both as float64 lists of one length, finite. Raises ValueError."""
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(outcomes, dtype=np.float64)
    if values.shape != truth.shape or values.ndim != 1:
        raise ValueError(f"scores and outcomes must be lists of one length, got {values.shape} and {truth.shape}")
    if not (np.isfinite(values).all() and np.isfinite(truth).all()):
        raise ValueError("scores and outcomes must be finite numbers")
    return values, truth


def _ranks(values: Floats) -> Floats:
    """Ranks from 1, equal values at the mean of their places: [n] -> [n]."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return np.asarray((last - (count - 1) / 2)[place], dtype=np.float64)


def _pearson(first: Floats, second: Floats) -> float | None:
    """Pearson's correlation, None where either list is constant: [n], [n] -> -1 to 1."""
    if len(first) == 0 or first.min() == first.max() or second.min() == second.max():
        return None
    ours, theirs = first - first.mean(), second - second.mean()
    found = float(ours @ theirs) / (float(np.linalg.norm(ours)) * float(np.linalg.norm(theirs)))
    return max(-1.0, min(1.0, found))
