"""What a step's rollouts, verdicts and lessons were, as figures for metrics.jsonl."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from mopd.core.statistics import mean_error, mean_or_zero, percentile, share_error, standard_deviation
from mopd.core.types import VERDICT_KINDS, Group, LessonRecord, Rollout


def group_metrics(groups: Sequence[Group]) -> dict[str, float]:
    """What the step's rollouts and verdicts were. Rollouts whose grader failed are in no mean."""
    rollouts = [(g, r) for g in groups for r in g.rollouts]
    judged = [(g, r) for g, r in rollouts if g.verdicts[r.index].kind != "error"]
    kinds = Counter(verdict.kind for group in groups for verdict in group.verdicts)
    by_group = [[g.is_success(r.index) for g2, r in judged if g2 is g] for g in groups]
    return {
        "reward/mean": mean_or_zero([g.verdicts[r.index].reward for g, r in judged]),
        "reward/std": standard_deviation([g.verdicts[r.index].reward for g, r in judged]),
        "reward/success_share": mean_or_zero([g.is_success(r.index) for g, r in judged]),
        "reward/success_error": share_error([mean_or_zero(found) for found in by_group if found]),
        "groups/all_success_count": float(sum(bool(found) and all(found) for found in by_group)),
        "groups/all_failure_count": float(sum(bool(found) and not any(found) for found in by_group)),
        "completion/tokens_mean": mean_or_zero([len(r.token_ids) for _, r in rollouts]),
        "completion/tokens_error": mean_error([mean_or_zero([len(r.token_ids) for r in g.rollouts]) for g in groups]),
        "completion/tokens_min": float(min((len(r.token_ids) for _, r in rollouts), default=0)),
        "completion/tokens_max": float(max((len(r.token_ids) for _, r in rollouts), default=0)),
        "completion/tokens_p95": percentile([len(r.token_ids) for _, r in rollouts], 0.95),
        "completion/truncated_share": mean_or_zero([r.is_truncated for _, r in rollouts]),
        "completion/truncated_error": share_error([mean_or_zero([r.is_truncated for r in g.rollouts]) for g in groups]),
        **_repetition(groups),
        **_entropy(groups),
        "completion/empty_count": float(sum(not r.text.strip() for _, r in rollouts)),
        "completion/distinct_share": mean_or_zero(
            [len({r.text for r in g.rollouts}) / len(g.rollouts) for g in groups]
        ),
        **{f"verdicts/{kind}_count": float(kinds[kind]) for kind in VERDICT_KINDS},
    }


REPEATED = 4
"""Tokens in a row that count as a repetition when they come again in a completion."""


def repeated_share(token_ids: Sequence[int]) -> float:
    """The share of a completion's runs of four tokens that have come before in it; 0 for shorter ones."""
    runs = [tuple(token_ids[i : i + REPEATED]) for i in range(len(token_ids) - REPEATED + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def _repetition(groups: Sequence[Group]) -> dict[str, float]:
    by_group = [[repeated_share(r.token_ids) for r in group.rollouts] for group in groups]
    return {
        "completion/repeated_share": mean_or_zero([share for shares in by_group for share in shares]),
        "completion/repeated_error": share_error([mean_or_zero(shares) for shares in by_group]),
    }


def _entropy(groups: Sequence[Group]) -> dict[str, float]:
    """The student's entropy in nats a token, estimated by the sampler's own log-probabilities of what it wrote: groups
    weigh alike, and each gives the mean of -log s(y) over its own tokens. No lesson is needed for it."""
    by_group = [_surprise(group.rollouts) for group in groups]
    return {"completion/entropy_nats": mean_or_zero(by_group), "completion/entropy_error": mean_error(by_group)}


def _surprise(rollouts: Sequence[Rollout]) -> float:
    return mean_or_zero(
        [-p for r in rollouts for p, is_own in zip(r.sampler_logprobs, r.is_own, strict=True) if is_own]
    )


def lesson_metrics(records: Sequence[Sequence[LessonRecord]]) -> dict[str, float]:
    """What became of the step's rollouts: lessons, reasons for none, peers and contexts."""
    flat = [record for group in records for record in group]
    lessons = [record for record in flat if record.lesson is not None]
    taught = [record for record in lessons if record.has_teacher]
    contexts = [record.context for record in flat if record.context is not None]
    reasons = Counter(
        f"{'none' if record.lesson is None else 'grpo_alone'}_{record.reason}" for record in flat if record.reason
    )
    return {
        "lessons/count": float(len(lessons)),
        **{f"lessons/{reason}_count": float(count) for reason, count in sorted(reasons.items())},
        "peers/successes_mean": mean_or_zero([len(r.peers.successes) for r in taught]),
        "peers/failures_mean": mean_or_zero([len(r.peers.failures) for r in taught]),
        "peers/own_text_count": float(sum(r.peers.shows_own_text for r in taught)),
        "context/tokens_mean": mean_or_zero([c.token_count for c in contexts]),
        "context/tokens_max": float(max((c.token_count for c in contexts), default=0)),
        "context/shortened_peers_count": float(sum(c.shortened_count for c in contexts)),
        "context/dropped_peers_count": float(sum(c.dropped_count for c in contexts)),
    }


def nonfinite_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """How many of a step's figures are not finite, where any is; metrics.jsonl has null for each."""
    count = sum(not math.isfinite(value) for value in metrics.values())
    return {"metrics/nonfinite_count": float(count)} if count else {}
