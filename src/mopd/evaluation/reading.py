"""Which recipe of peers makes the best teacher of this student: generating from contexts of its own mixed groups.

How a model reads peers cannot be guessed: one solves nearly all problems behind one success and fails behind a failure,
another reads failures first and nothing else. Before the first step the student therefore attempts some training
problems; of those that it solved in some attempts and failed in others it writes again, from each recipe's contexts and
from the problem alone, with the same random numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import islice, zip_longest
from typing import Any

from mopd.config import Config
from mopd.core.errors import PreflightError
from mopd.core.seeding import derive_rng
from mopd.core.statistics import mean_or_zero
from mopd.core.types import Context, Group, Peers, Problem
from mopd.evaluation.from_contexts import Case, write_from
from mopd.evaluation.held_out import warm_up_measured
from mopd.judging.choosing import Given, make_judge, with_functions
from mopd.method.lessons import LessonMaker
from mopd.method.recipes import Reading, Recipe, candidates, choose, is_fixed
from mopd.models.passed import StudentGiven, model_of, with_student
from mopd.preflight.setup import Setup, prepare, prepare_problems
from mopd.problems import Passed, ProblemsGiven, with_passed
from mopd.rollouts.engine import sample_groups
from mopd.runs.paths import settled
from mopd.runs.progress import ProgressDisplay

KINDS = ("mixed", "solved", "failed")
"""Of groups: solved in some attempts and failed in others, solved in all, failed in all."""

A_PROBLEM = 2
"""Contexts of one problem: more would be more alike than they are worth."""

ROUNDS = 3
"""Rounds of cases, behind each of which recipes that are far behind are left."""

LEAST_ROUND = 6
"""Cases before any recipe is left."""

MOST_OVER_BUDGET = 0.5
"""Share of contexts of the leanest recipe over their budget, from which on peers do not fit."""


@dataclass(frozen=True)
class Attempts:
    """The student's own attempts at training problems: verified groups, and those of them that are mixed."""

    groups: Sequence[Group]

    @cached_property
    def kinds(self) -> list[str]:
        """Of each group: `mixed`, `solved` or `failed`, as a whole."""
        return [_kind(group) for group in self.groups]

    @property
    def mixed(self) -> list[Group]:
        """Groups of problems that were solved in some attempts and failed in others."""
        return [group for group, kind in zip(self.groups, self.kinds, strict=True) if kind == "mixed"]

    def as_json(self) -> dict[str, Any]:
        """How many there are of each kind."""
        return {"attempted": len(self.groups)} | {kind: self.kinds.count(kind) for kind in KINDS}


@dataclass(frozen=True)
class Preflight:
    """What was found before the first step: the attempts, how recipes are read, the one that the run goes by, and why.

    `alone` is the student without peers. `finding` says what is wrong, if anything is; `is_refused` whether the run
    must not begin. `recipe` is None where the objective has no teacher.
    """

    attempts: Attempts
    alone: Reading = field(default_factory=lambda: Reading(None))
    readings: Sequence[Reading] = ()
    recipe: Recipe | None = None
    reason: str = ""
    finding: PreflightError | None = None
    is_refused: bool = False

    def as_json(self) -> dict[str, Any]:
        """For preflight.json and `mopd preflight --json`."""
        chosen = next((reading for reading in self.readings if reading.recipe == self.recipe), None)
        gain = None if chosen is None else self.alone.behind(chosen)
        return {
            "attempts": self.attempts.as_json(),
            "readings": [reading.as_json() for reading in (self.alone, *self.readings) if reading.right],
            "recipe": None if self.recipe is None else asdict(self.recipe),
            "name": None if self.recipe is None else self.recipe.name,
            "reason": self.reason,
            "gain": None if gain is None else gain[0],
            "gain_interval": None if gain is None else list(gain[1]),
            "finding": None if self.finding is None else str(self.finding),
        }


def run_preflight(
    config: Config,
    quiet: bool = False,
    reward_functions: Given = None,
    problems: ProblemsGiven | None = None,
    held_out: ProblemsGiven | None = None,
    student: StudentGiven = None,
) -> Preflight:
    """What a run under `config` would find before its first step; nothing is written but a warm-up into the cache.

    `problems`, `held_out`, `student` and `reward_functions` are those that `train` would be given. A model that is
    passed as a student is changed by a warm-up, where there is one. Raises MopdError.
    """
    passed = Passed(problems, held_out)
    config = with_functions(with_passed(settled(with_student(config, student)), passed), reward_functions)
    found = prepare_problems(config, passed)
    judge = make_judge(config, found, reward_functions)
    setup = prepare(config, found, judge, model=model_of(student), trains=False)
    progress = ProgressDisplay(quiet)
    if config.warmup is not None:
        warm_up_measured(setup, progress)
    return find_recipe(setup, progress)


def find_recipe(setup: Setup, progress: ProgressDisplay) -> Preflight:
    """Attempt training problems, generate from contexts of the attempts, and choose the recipe."""
    config = setup.config
    has_teacher, stops = config.objective.kind == "distill", config.preflight.action == "stop"
    recipes = candidates(config, setup.student.template) if has_teacher else []
    is_alone = config.is_taught_by_another and not any(recipe.count for recipe in recipes)
    attempts = _attempts(setup, progress, needs_mixed=not is_alone)
    asked = attempts.mixed
    if is_alone or (config.is_taught_by_another and not asked and not recipes[0].count):
        recipes, asked = recipes[:1], list(attempts.groups)  # of a problem alone, mixed or not
    if not asked:
        nothing = _nothing_mixed(config, attempts)
        return Preflight(attempts, recipe=next(iter(recipes), None), finding=nothing, is_refused=stops)
    if not has_teacher:
        return Preflight(attempts, reason="the objective has no teacher")
    makers = {recipe: _maker(setup, recipe) for recipe in recipes}
    cases = _cases(asked, makers[recipes[0]], config.preflight.contexts)
    alone, readings = _measure(setup, makers, cases, progress) if cases else (Reading(None), [])
    if finding := _no_contexts(config, attempts, readings, len(cases)):
        return Preflight(attempts, alone, readings, recipes[0], "the leanest", finding, stops)
    best, reason = choose(readings)
    chosen, reason = (readings[0], "fixed by the configuration") if is_fixed(config) else (best, reason)
    worse = _no_better(alone, chosen, best, config.is_taught_by_another)
    return Preflight(attempts, alone, readings, chosen.recipe, reason, worse, stops and not is_fixed(config))


def _attempts(setup: Setup, progress: ProgressDisplay, needs_mixed: bool) -> Attempts:
    """Verified groups of training problems in a seeded order, until enough (mixed, where needed) were attempted."""
    config, student = setup.config, setup.student
    asked = _some_problems(setup.problems.train, config)
    wanted = math.ceil(config.preflight.contexts / A_PROBLEM)
    groups: list[Group] = []
    setup.engine.sync(student.model)
    with progress.phase("preflight: attempts", len(asked)) as phase:
        for begin in range(0, len(asked), config.problems_per_step):
            batch = sample_groups(
                setup.engine,
                student.tokenizer.encode_prompt,
                asked[begin : begin + config.problems_per_step],
                config.group_size,
                config.sampling,
                key=lambda problem: (config.seed, "preflight", problem.id),
                success_reward=config.success_reward,
            )
            groups += setup.judge(batch, 0)[0]
            phase.advance(len(batch))
            if sum(not needs_mixed or _kind(group) == "mixed" for group in groups) >= wanted:
                break
    return Attempts(groups)


def _some_problems(train: Sequence[Problem], config: Config) -> list[Problem]:
    rng = derive_rng(config.seed, "preflight", "problems")
    return rng.sample(list(train), min(config.preflight.problems, len(train)))


def _kind(group: Group) -> str:
    found = {group.is_success(r.index) for r in group.rollouts if group.verdicts[r.index].kind != "error"}
    return "mixed" if len(found) == 2 else "solved" if True in found else "failed"


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
        told += f"; {round(100 * cut)} % of the attempts were cut at {config.sampling.completion_tokens} tokens"
    return PreflightError("some problems are solved in some attempts and failed in others", told, do)


def _maker(setup: Setup, recipe: Recipe) -> LessonMaker:
    """With the group's own peers, whatever the run's control shows: a recipe is to be found for what peers wrote."""
    config = recipe.applied(setup.config)
    own = config.model_copy(update={"peers": config.peers.model_copy(update={"control": "none"})})
    return LessonMaker(own, setup.student.tokenizer.encode_prompt, setup.student.template)


def _cases(groups: Sequence[Group], maker: LessonMaker, most: int) -> list[tuple[Group, int]]:
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
    cases: Sequence[tuple[Group, int]],
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
                _read_round(setup, [(alone, None), *taught], batch)
            else:
                _read_round(setup, [(alone, None)], batch)
                _read_round(setup.of_teacher, taught, batch)
            best = max(readings[r].interval[0] for r in asked)
            asked = [r for r in asked if readings[r].interval[1] >= best or r is next(iter(makers))]
            phase.advance(len(batch))
    return alone, list(readings.values())


def _read_round(
    setup: Setup, asked: Sequence[tuple[Reading, LessonMaker | None]], cases: Sequence[tuple[Group, int]]
) -> None:
    """Write once from each case under each recipe, all in one batch, and add what came of it to the readings."""
    written: list[Case] = []
    for reading, maker in asked:
        for group, index in cases:
            key = ("preflight recipes", group.problem.id, index)
            record = None if maker is None else maker.make_one(group, index, [group])
            context = None if record is None else record.context
            reading.over_budget_count += _is_over_budget(context)
            ids = group.prompt_ids if context is None else context.token_ids
            written.append(Case(group, ids, key, Peers() if record is None else record.peers))
    outcomes = iter(write_from(setup, written, step=0))
    for reading, _ in asked:
        for group, _ in cases:
            outcome = next(outcomes)
            reading.problems.append(group.problem.id)
            reading.right.append(outcome.is_right)
            reading.copied_success.append(outcome.is_copied_success)
            reading.copied_failure.append(outcome.is_copied_failure)
            reading.tokens.append(outcome.tokens)


def _is_over_budget(context: Context | None) -> bool:
    return context is not None and bool(context.shortened_count or context.dropped_count)


def _no_contexts(config: Config, attempts: Attempts, readings: Sequence[Reading], count: int) -> PreflightError | None:
    """What is wrong where there are no peers to show, or where even the leanest recipe's are mostly over the budget."""
    if not readings:
        return PreflightError(
            "a rollout of a mixed group has a peer to learn from",
            f"no peers in {len(attempts.mixed)} mixed groups: a lone success has no other success to show",
            "raise group_size, or give easier problems",
        )
    over = min(reading.over_budget_count for reading in readings)
    if over <= MOST_OVER_BUDGET * count:
        return None
    return PreflightError(
        f"most contexts hold their peers whole within context.tokens = {config.context.tokens}",
        f"{over} of {count} contexts are over the budget, even of the leanest recipe",
        "raise context.tokens (with sampling.completion_tokens it must fit the student's window), or lower "
        "sampling.completion_tokens",
    )


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
