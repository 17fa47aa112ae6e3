"""How often a model is right, and copies a failed peer, when it *generates* from contexts of the student's rollouts.

A teacher that cannot answer from a context cannot teach from it, and its log-probabilities alone do not show that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mopd.config import Config
from mopd.core.statistics import mean_or_zero
from mopd.core.types import Group, LessonRecord
from mopd.method.lessons import LessonMaker
from mopd.method.peers import cleaner
from mopd.preflight.setup import Setup
from mopd.rollouts.engine import SamplingRequest

RECIPES = ((1, 0), (0, 1), (1, 1), (2, 1))
"""(successes, failures) of the contexts by which a warmed-up student is measured."""


def accuracy_from_contexts(
    setup: Setup, model: Any, cases: Sequence[tuple[Group, LessonRecord]], step: int
) -> dict[str, float]:
    """`model` (the student or its teacher) writes one completion from each lesson's context: shares of right and
    copied.

    `accuracy_from_contexts_share` leaves out completions whose grader failed; `copied_failure_share` is over contexts
    that show a failure. Randomness is from (seed, step, problem id, rollout index).
    """
    config = setup.config
    lessons = [record.lesson for _, record in cases if record.lesson is not None]
    requests = [
        SamplingRequest(
            lesson.context_ids or (), 1, (config.seed, "from context", step, lesson.problem_id, lesson.rollout.index)
        )
        for lesson in lessons
    ]
    setup.engine.sync(model)
    written = setup.engine.sample(requests, config.sampling)
    attempts = [
        Group(step, group.problem, request.prompt_ids, tuple(found), success_reward=config.success_reward)
        for (group, _), request, found in zip(cases, requests, written, strict=True)
    ]
    judged = [g.is_success(0) for g in setup.judge(attempts, step)[0] if g.verdicts[0].kind != "error"]
    clean = cleaner(config.context)  # as peers were: what a model thought before it copied is no part of the copy
    copied = [
        clean(found[0].text) in record.peers.failure_texts
        for (_, record), found in zip(cases, written, strict=True)
        if record.peers.failures
    ]
    return {
        "accuracy_from_contexts_share": mean_or_zero(judged),
        "copied_failure_share": mean_or_zero(copied),
        "contexts_count": float(len(cases)),
    }


def accuracy_by_recipe(setup: Setup, groups: Sequence[Group], most: int) -> dict[str, dict[str, float]]:
    """For each recipe of `RECIPES` how well the student generates from contexts with exactly so many peers.

    One context a group, of the first rollout for which the group has the peers, `most` contexts at most; "1S1F" is one
    success and one failure. Recipes for which no group has the peers (distinct texts!) are left out.
    """
    student = setup.student
    figures: dict[str, dict[str, float]] = {}
    for successes, failures in RECIPES:
        config = _with_recipe(setup.config, successes, failures)
        maker = LessonMaker(config, student.tokenizer.encode_prompt, student.template)
        found = (_first_full(group, maker, groups, successes, failures) for group in groups)
        cases = [case for case in found if case is not None][:most]
        if cases:
            figures[f"{successes}S{failures}F"] = accuracy_from_contexts(setup, student.model, cases, 0)
    return figures


def _with_recipe(config: Config, successes: int, failures: int) -> Config:
    update: dict[str, Any] = {"successes": successes, "failures": failures, "require_success": False}
    return config.model_copy(
        update={
            "peers": config.peers.model_copy(update={**update, "show_failures": "always", "control": "none"}),
            "objective": type(config).model_fields["objective"].get_default(),
        }
    )


def _first_full(
    group: Group, maker: LessonMaker, groups: Sequence[Group], successes: int, failures: int
) -> tuple[Group, LessonRecord] | None:
    for rollout in group.rollouts:
        record = maker.make_one(group, rollout.index, groups)
        peers = record.peers
        if record.lesson and len(peers.successes) == successes and len(peers.failures) == failures:
            return group, record
    return None
