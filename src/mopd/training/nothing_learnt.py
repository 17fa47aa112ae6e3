"""A run that learns nothing says so: how many steps, what became of their rollouts, and what to do about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from mopd.config import Config
from mopd.core.types import VERDICT_KINDS

EARLY_STEPS = 3
"""Steps without an update after which a run says so while it goes on."""

TELLING_SHARE = 0.25
"""Share of rollouts of one fate from which on it is named as a cause."""

NO_LESSON = {
    "over_budget": ("contexts over their budget", "raise context.tokens"),
    "no_success": ("no other success to show", "raise group_size"),
    "no_peers": ("no peers to show", "raise group_size"),
    "no_advantage": ("the same reward for a whole group", "raise group_size, or mix easier and harder problems"),
    "teacher_paused": (
        "a teacher that is right less often than the student",
        "let the preflight choose the recipe (peers.recipe = 'auto'), or learn from verdicts (objective.kind = 'grpo')",
    ),
    "grader_error": ("no verdict", "see `feedback` in groups.jsonl"),
}
"""Why rollouts of groups with successes are no lessons, and what to do."""


class EarlyNotice:
    """Tells once, after the first steps of this process, that none of them updated the student."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._rows: list[Mapping[str, Any]] = []

    def after(self, step: int, metrics: Mapping[str, Any]) -> str:
        """What to tell after this step; empty but once. The last step leaves it to the end of the run."""
        if len(self._rows) >= EARLY_STEPS:
            return ""
        self._rows.append(metrics)
        is_time = len(self._rows) == EARLY_STEPS and step + 1 < self.config.steps
        return nothing_learnt(self._rows, self.config) if is_time else ""


def nothing_learnt(rows: Sequence[Mapping[str, Any]], config: Config) -> str:
    """What to tell of steps (lines of metrics.jsonl) none of which updated the student; empty where one did."""
    if not rows or any(_is_update(row) for row in rows):
        return ""
    found = dict([*_gradients(rows), *_successes(rows, config), *_fates(rows, config)])
    causes = "; ".join(found)
    remedies = "; ".join(dict.fromkeys(filter(None, found.values()))) or "see `no_lesson_reason` in groups.jsonl"
    return f"nothing was learnt: 0 of {len(rows)} steps updated: {causes}\n  what to do: {remedies}"


def _is_update(row: Mapping[str, Any]) -> bool:
    return bool(row.get("update/count", 0.0))


def _gradients(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    count = sum(not row["update/skipped_empty_count"] for row in rows)
    do = "lower optimizer.learning_rate, or set compute.dtype = 'float32'"
    return [(f"the gradient was not finite in {count} steps", do)] if count else []


def _successes(rows: Sequence[Mapping[str, Any]], config: Config) -> list[tuple[str, str]]:
    """How many successes there were; where there were any, why nothing came of them."""
    judged = [_verdicts(row).total() - _verdicts(row)["error"] for row in rows]
    successes = sum(round(row["reward/success_share"] * count) for row, count in zip(rows, judged, strict=True))
    total = sum((_verdicts(row) for row in rows), Counter[str]()).total()
    if not successes:
        warmup = "warm it up for longer (warmup.steps)" if config.warmup else "warm the student up ([warmup])"
        return [(f"no success in {total} rollouts", f"give easier problems, or {warmup}")]
    counts = {reason: sum(row.get(f"lessons/none_{reason}_count", 0.0) for row in rows) for reason in NO_LESSON}
    reason = max(counts, key=counts.__getitem__)
    said = [(f"{successes} successes in {total} rollouts", "")]
    if counts[reason]:
        why, do = NO_LESSON[reason]
        said.append((f"{counts[reason]:.0f} rollouts are no lesson: {why}", do))
    return said


def _fates(rows: Sequence[Mapping[str, Any]], config: Config) -> list[tuple[str, str]]:
    """What befell many of the rollouts, other than to be wrong."""
    verdicts = sum((_verdicts(row) for row in rows), Counter[str]())
    tokens = config.sampling.completion_tokens
    fates = {
        "truncated": (f"were cut at {tokens} tokens", f"raise sampling.completion_tokens (now {tokens})"),
        "unparsable": (
            "had no answer that its verifier reads",
            "say in the prompts how to answer (problems.instruction)",
        ),
        "timeout": ("ran over a time limit", "raise sandbox.time_limit_s"),
        "error": ("had no verdict, since graders failed", "see `feedback` in groups.jsonl"),
    }
    shares = {kind: verdicts[kind] / max(1, verdicts.total()) for kind in fates}
    return [
        (f"{shares[kind]:.0%} {what}".replace("%", " %"), do)
        for kind, (what, do) in fates.items()
        if shares[kind] >= TELLING_SHARE
    ]


def _verdicts(row: Mapping[str, Any]) -> Counter[str]:
    return Counter({kind: int(row[f"verdicts/{kind}_count"]) for kind in VERDICT_KINDS})
