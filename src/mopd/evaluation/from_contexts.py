"""How often a model is right, and copies a peer, when it *generates* from contexts of the student's rollouts.

A teacher that cannot answer from a context cannot teach from it, and its log-probabilities alone do not show that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mopd.core.statistics import mean_or_zero
from mopd.core.types import Group, LessonRecord, Peers
from mopd.method.peers import cleaner
from mopd.method.readings import Outcome
from mopd.preflight.setup import Setup
from mopd.rollouts.engine import SamplingRequest


@dataclass(frozen=True)
class Case:
    """A context to write one completion from: the problem's group, the context's token ids, what the randomness is for
    besides the seed, the peers shown, and whether some of them were cut or left out to hold the budget."""

    group: Group
    context_ids: tuple[int, ...]
    key: tuple[int | str, ...]
    peers: Peers
    is_over_budget: bool = False


def write_from(setup: Setup, cases: Sequence[Case], step: int) -> list[Outcome]:
    """One completion from each context, by the weights that the engine has."""
    config = setup.config
    requests = [SamplingRequest(case.context_ids, 1, (config.seed, *case.key)) for case in cases]
    written = setup.engine.sample(requests, config.sampling)
    attempts = [
        Group(step, case.group.problem, case.context_ids, tuple(found), success_reward=config.success_reward)
        for case, found in zip(cases, written, strict=True)
    ]
    clean = cleaner(config.context)  # as peers were: what a model thought before it copied is no part of the copy
    outcomes = []
    for case, judged in zip(cases, setup.judge(attempts, step)[0], strict=True):
        text = clean(judged.rollouts[0].text)
        outcomes.append(
            Outcome(
                case.group.problem.id,
                None if judged.verdicts[0].kind == "error" else judged.is_success(0),
                text in case.peers.success_texts if case.peers.successes else None,
                text in case.peers.failure_texts if case.peers.failures else None,
                len(judged.rollouts[0].token_ids),
                len(case.context_ids),
                case.is_over_budget,
            )
        )
    return outcomes


def accuracy_from_contexts(
    setup: Setup, model: Any, records: Sequence[tuple[Group, LessonRecord]], step: int
) -> dict[str, float]:
    """`model` (the student or its teacher) writes one completion from each lesson's context: shares of right and
    copied.

    `accuracy_from_contexts_share` leaves out completions whose grader failed; `copied_failure_share` is over contexts
    that show a failure. Randomness is from (seed, step, problem id, rollout index).
    """
    cases = [
        Case(
            group,
            record.lesson.context_ids or (),
            ("from context", step, record.lesson.problem_id, record.lesson.rollout.index),
            record.peers,
        )
        for group, record in records
        if record.lesson is not None
    ]
    setup.engine.sync(model)
    outcomes = write_from(setup, cases, step)
    copied = [o.is_copied_failure for o in outcomes if o.is_copied_failure is not None]
    return {
        "accuracy_from_contexts_share": mean_or_zero([o.is_right for o in outcomes if o.is_right is not None]),
        "copied_failure_share": mean_or_zero(copied),
        "contexts_count": float(len(cases)),
    }
