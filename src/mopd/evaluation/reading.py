"""Which recipe of peers makes the best teacher of this student: generating from contexts of its own mixed groups.

How a model reads peers cannot be guessed: one solves nearly all problems behind one success and fails behind a failure,
another reads failures first and nothing else. Before the first step the student therefore attempts some training
problems; of those that it solved in some attempts and failed in others it writes again, from each recipe's contexts and
from the problem alone, with the same random numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from typing import Any

from mopd.config import Config
from mopd.core.errors import PreflightError
from mopd.core.statistics import mean_or_zero
from mopd.core.types import Context, Group, Peers
from mopd.evaluation.attempts import A_PROBLEM, Attempts, attempt
from mopd.evaluation.from_contexts import Case, write_from
from mopd.method.lessons import LessonMaker
from mopd.method.readings import Reading, choose
from mopd.method.recipes import Recipe, candidates, is_fixed
from mopd.preflight.setup import Setup
from mopd.runs.progress import ProgressDisplay

ROUNDS = 3
"""Rounds of cases, behind each of which recipes that are far behind are left."""

LEAST_ROUND = 6
"""Cases before any recipe is left."""

MOST_OVER_BUDGET = 0.5
"""Share of contexts of the leanest recipe over their budget, from which on peers do not fit."""


MOSTLY_CUT = 0.5
"""Share of attempts that were cut, from which on longer completions are the first thing to try."""

Cases = Sequence[tuple[Group, int]]
"""Rollouts whose contexts are written from: groups, and indices of rollouts."""


@dataclass(frozen=True)
class Preflight:
    """What was found before the first step: the attempts, how recipes are read, the one that the run goes by, and why.

    `cases` are what was written from, and `alone` is the student without peers. `finding` says what is wrong, if
    anything is; `is_refused` whether the run must not begin. `recipe` is None where the objective has no teacher.
    """

    attempts: Attempts
    cases: Cases = ()
    alone: Reading = field(default_factory=lambda: Reading(None))
    readings: Sequence[Reading] = ()
    recipe: Recipe | None = None
    reason: str = ""
    finding: PreflightError | None = None
    is_refused: bool = False

    @property
    def taken(self) -> Reading | None:
        """The reading of the recipe that the run goes by; None where it has none or nothing was read."""
        return next((reading for reading in self.readings if reading.recipe == self.recipe), None)

    def as_json(self) -> dict[str, Any]:
        """For preflight.json."""
        gain = None if self.taken is None else self.alone.behind(self.taken)
        return {
            "attempts": self.attempts.as_json(),
            "readings": [reading.as_json() for reading in (self.alone, *self.readings) if reading.outcomes],
            "recipe": None if self.recipe is None else self.recipe.as_json(),
            "name": None if self.recipe is None else self.recipe.name,
            "reason": self.reason,
            "gain": None if gain is None else gain[0],
            "gain_interval": None if gain is None else list(gain[1]),
            "finding": None if self.finding is None else str(self.finding),
        }


def find_recipe(setup: Setup, progress: ProgressDisplay) -> Preflight:
    """Attempt training problems, generate from contexts of the attempts, and choose the recipe."""
    config = setup.config
    has_teacher, stops = config.objective.kind == "distill", config.preflight.action == "stop"
    recipes = candidates(config, setup.student.template) if has_teacher else []
    is_alone = config.is_taught_by_another and not any(recipe.count for recipe in recipes)
    attempts = attempt(setup, progress, needs_mixed=not is_alone)
    asked = attempts.mixed
    if is_alone or (config.is_taught_by_another and not asked and not recipes[0].count):
        recipes, asked = recipes[:1], list(attempts.groups)  # of a problem alone, mixed or not
    if not asked:
        nothing = _nothing_mixed(config, attempts)
        return Preflight(attempts, recipe=next(iter(recipes), None), finding=nothing, is_refused=stops)
    if not has_teacher:
        return Preflight(attempts, reason="the objective has no teacher")
    makers = {recipe: maker_of(setup, recipe) for recipe in recipes}
    cases = _cases(asked, makers[recipes[0]], config.preflight.contexts)
    alone, readings = _measure(setup, makers, cases, progress) if cases else (Reading(None), [])
    if finding := _no_contexts(config, attempts, readings, len(cases)):
        return Preflight(attempts, cases, alone, readings, recipes[0], "the leanest", finding, stops)
    best, reason = choose(readings)
    chosen, reason = (readings[0], "fixed by the configuration") if is_fixed(config) else (best, reason)
    worse = _no_better(alone, chosen, best, config.is_taught_by_another)
    return Preflight(attempts, cases, alone, readings, chosen.recipe, reason, worse, stops and not is_fixed(config))


def _nothing_mixed(config: Config, attempts: Attempts) -> PreflightError:
    solved, failed = (attempts.kinds.count(kind) for kind in ("solved", "failed"))
    told = (
        f"{len(attempts.groups)} problems, {config.group_size} attempts each: {solved} solved in all, {failed} in none"
    )
    if solved > failed:
        do = "give harder problems, or see with `mopd verify --audit` whether the verifier passes whatever it is given"
    else:
        warmup = "for longer (warmup.steps)" if config.warmup else "([warmup])"
        do = f"give easier problems, raise group_size, take a larger model, or warm the student up {warmup}"
        cut = mean_or_zero([r.is_truncated for group in attempts.groups for r in group.rollouts])
        do = f"raise sampling.completion_tokens, {do}" if cut > MOSTLY_CUT else do
        told += f"; {round(100 * cut)} % of the attempts were cut at {config.sampling.completion_tokens} tokens"
    return PreflightError("some problems are solved in some attempts and failed in others", told, do)


def maker_of(setup: Setup, recipe: Recipe) -> LessonMaker:
    """With the group's own peers, whatever the run's control shows: a recipe is to be found for what peers wrote. A
    recipe that is a control's itself is made as a run with that control makes it."""
    config = recipe.applied(setup.config)
    peers = config.peers.model_copy(update={"control": recipe.control or "none"})
    own = config.model_copy(update={"peers": peers})
    return LessonMaker(own, setup.student.tokenizer.encode_prompt, setup.student.template)


def _cases(groups: Sequence[Group], maker: LessonMaker, most: int) -> Cases:
    """Rollouts with a context, as (group, rollout index): of each group a failed one, a successful one, and so on."""
    found: list[tuple[Group, int]] = []
    for group in groups:
        failed = [r.index for r in group.rollouts if group.is_failure(r.index)]
        passed = [r.index for r in group.rollouts if group.is_success(r.index)]
        in_turn = [index for pair in zip_longest(failed, passed) for index in pair if index is not None]
        taught = (index for index in in_turn if maker.make_one(group, index, [group]).context is not None)
        found += [(group, index) for index in islice(taught, A_PROBLEM)]
    return found[:most]


def _measure(
    setup: Setup,
    makers: dict[Recipe, LessonMaker],
    cases: Cases,
    progress: ProgressDisplay,
) -> tuple[Reading, list[Reading]]:
    """How the student writes from the problem alone, and the teacher from each recipe's contexts, in three rounds of
    cases. Before the first step the teacher is the student, unless it is external.

    Behind each round recipes leave whose interval is wholly below the best one's.
    """
    alone, readings = Reading(None), {recipe: Reading(recipe) for recipe in makers}
    step = max(LEAST_ROUND, math.ceil(len(cases) / ROUNDS))
    asked = list(makers)
    setup.engine.sync(setup.student.model)
    with progress.phase("preflight: recipes", len(cases)) as phase:
        for begin in range(0, len(cases), step):
            batch = cases[begin : begin + step]
            taught = [(readings[recipe], makers[recipe]) for recipe in asked]
            if not setup.config.is_taught_by_another:
                read_cases(setup, [(alone, None), *taught], batch)
            else:
                read_cases(setup, [(alone, None)], batch)
                read_cases(setup.of_teacher, taught, batch)
            best = max(readings[r].interval[0] for r in asked)
            asked = [r for r in asked if readings[r].interval[1] >= best or r is next(iter(makers))]
            phase.advance(len(batch))
    return alone, list(readings.values())


def read_cases(
    setup: Setup, asked: Sequence[tuple[Reading, LessonMaker | None]], cases: Cases, groups: Sequence[Group] = ()
) -> None:
    """Write once from each case under each recipe, all in one batch, and add what came of it to the readings.

    A maker of None stands for the problem alone. A control takes other problems' peers from `groups`. Where a recipe
    has nothing to show, nothing is written.
    """
    written = [_case(group, index, maker, groups or [group]) for _, maker in asked for group, index in cases]
    outcomes = iter(write_from(setup, [case for case in written if case is not None], step=0))
    every = iter([None if case is None else next(outcomes) for case in written])
    for reading, _ in asked:
        reading.outcomes += islice(every, len(cases))


def _case(group: Group, index: int, maker: LessonMaker | None, groups: Sequence[Group]) -> Case | None:
    key = ("preflight recipes", group.problem.id, index)
    if maker is None:
        return Case(group, group.prompt_ids, key, Peers())
    record = maker.make_one(group, index, groups)
    context = record.context
    if context is None:
        return None
    return Case(group, context.token_ids, key, record.peers, is_cut(context))


def is_cut(context: Context) -> bool:
    """Whether peers were shortened or left out to hold the budget."""
    return bool(context.shortened_count or context.dropped_count)


def _no_contexts(config: Config, attempts: Attempts, readings: Sequence[Reading], count: int) -> PreflightError | None:
    """What is wrong where there are no peers to show, or where even the leanest recipe's are mostly over the budget."""
    if not readings:
        return PreflightError(
            "a rollout of a mixed group has a peer to learn from",
            f"no peers in {len(attempts.mixed)} mixed groups: a lone success has no other success to show",
            "raise group_size, or give easier problems",
        )
    if not is_over_budget(readings, count):
        return None
    over = min(reading.over_budget_count for reading in readings)
    return PreflightError(
        f"most contexts hold their peers whole within context.tokens = {config.context.tokens}",
        f"{over} of {count} contexts are over the budget, even of the leanest recipe",
        "raise context.tokens (with sampling.completion_tokens it must fit the student's window), or lower "
        "sampling.completion_tokens",
    )


def is_over_budget(readings: Sequence[Reading], count: int) -> bool:
    """Whether most of so many contexts are over the budget, even those of the leanest recipe."""
    return bool(readings) and min(reading.over_budget_count for reading in readings) > MOST_OVER_BUDGET * count


def _no_better(alone: Reading, chosen: Reading, best: Reading, is_external: bool) -> PreflightError | None:
    """What is wrong where the chosen recipe's teacher is no better than the student alone."""
    if alone.behind(chosen)[0] > 0:
        return None
    do = (
        "take a teacher that solves these problems, and that reads the student's chat template (teacher.model)"
        if is_external
        else "peers cannot teach this model yet: warm it up ([warmup]), learn from verdicts alone "
        "(objective.kind = 'grpo'), or take a larger model"
    )
    if alone.behind(best)[0] > 0 and best.recipe is not None:
        do = f"set {best.recipe.lines} (right in {best.mean:.2f}), or leave the recipe to peers.recipe = 'auto'"
    return PreflightError(
        "a teacher is right more often than its student",
        f"right in {chosen.counted} behind {chosen.name}, in {alone.counted} without peers"
        if not is_external
        else f"the external teacher is right in {chosen.counted} ({chosen.name}), the student in {alone.counted}",
        do,
    )
