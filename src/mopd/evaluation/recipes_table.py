"""Every recipe on every case, with the teacher's scores of the attempts: the rows of `mopd preflight`.

A run leaves recipes that are far behind after a third of the cases. Here they are written from to the end, and further
recipes, feedback and controls beside them, with the same random numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from mopd.core.statistics import mean_or_zero
from mopd.core.types import Group
from mopd.evaluation.reading import Preflight, maker_of, read_cases
from mopd.evaluation.token_scores import TokenScores, own_teacher, score_group, scores_of_all, teacher_of
from mopd.method.lessons import LessonMaker
from mopd.method.readings import Reading
from mopd.method.recipes import Control, Recipe, others
from mopd.preflight.setup import Setup
from mopd.report.steps import duration
from mopd.runs.progress import ProgressDisplay, say

CONTROLS: tuple[Control, ...] = ("random_peer", "unrelated_problem")

A_READING = 0.3
"""Seconds of scoring an attempt behind a context, as a part of those of writing one: a first guess, for people."""

WORTH_A_WORD_S = 10.0
"""Work that takes less is not told in advance."""


@dataclass(frozen=True)
class Row:
    """One recipe: what was written behind it, what its teacher makes of the attempts, and the share of the attempted
    groups in which it gives some rollout a lesson (None: of the student alone)."""

    reading: Reading
    scores: TokenScores
    taught_share: float | None = None

    @property
    def is_control(self) -> bool:
        """Whether its contexts show what is no peer."""
        return self.reading.recipe is not None and self.reading.recipe.control is not None

    def as_json(self, alone: Row) -> dict[str, Any]:
        """With its gaps over the student alone, and the outcome of each case: None where there is nothing to show."""
        gap, interval = alone.reading.behind(self.reading)
        is_alone = self.reading.recipe is None
        return self.reading.as_json() | {
            "gap": None if is_alone else gap,
            "gap_interval": None if is_alone else list(interval),
            "auc_gap": None if is_alone else self.scores.auc_over(alone.scores).as_json(),
            "taught_groups_share": self.taught_share,
            "outcomes": [None if outcome is None else asdict(outcome) for outcome in self.reading.outcomes],
            "scores": self.scores.as_json(),
        }


def table_of(
    setup: Setup, found: Preflight, progress: ProgressDisplay, seconds: float
) -> tuple[list[Row], Sequence[str]]:
    """The student alone and every recipe; and what is left out, with why. What was found already took `seconds`."""
    if found.taken is None or not found.cases:
        told = "recipes: the objective has no teacher; objective.kind = 'distill' would measure them"
        return [], [told] if setup.config.objective.kind != "distill" else []
    assert found.recipe is not None
    more, left_out = _more(setup, found, found.recipe)
    readings = [replace(reading, outcomes=[*reading.outcomes]) for reading in found.readings]
    readings += [Reading(recipe) for recipe in more]
    makers = {reading.recipe: maker_of(setup, reading.recipe) for reading in readings if reading.recipe is not None}
    _tell_time(found, readings, progress, seconds)
    _write_on(setup, found, readings, makers, progress)
    scores = _score(setup, found, makers, progress)
    rows = [Row(found.alone, scores[None])]
    rows += [Row(one, scores[one.recipe], _taught_share(makers[one.recipe], found)) for one in readings if one.recipe]
    return rows, left_out


def _more(setup: Setup, found: Preflight, taken: Recipe) -> tuple[list[Recipe], list[str]]:
    """Recipes that a run does not try, and why some are not tried here either."""
    config, known = setup.config, [reading.recipe for reading in found.readings if reading.recipe is not None]
    if not any(recipe.count for recipe in known):
        return [], ["peers, feedback and controls: the teacher is told to read the problem alone"]
    more, left_out = others(config, setup.student.template, known), []
    quoted = [recipe for recipe in more if recipe.wording != "peers_as_turns"]
    if len(quoted) < len(more) and not setup.student.tokenizer.shows_answers(setup.problems.train[0].messages):
        more = quoted
        left_out.append("peers as turns: the student's chat template hides earlier answers")
    if why := _why_no_feedback(setup, found.attempts.groups):
        left_out.append(f"feedback: {why}")
    else:
        more += [Recipe(0, 0, taken.order, taken.wording, feedback=True)]
        more += [replace(taken, feedback=True)] if taken.count else []
    if taken.count:
        more += [replace(taken, control=control) for control in CONTROLS]
    else:
        left_out.append(f"controls: {taken.name} are shown")
    return more, left_out


def _why_no_feedback(setup: Setup, groups: Sequence[Group]) -> str:
    """Why no recipe with feedback is tried; empty where there is no reason."""
    if setup.config.context.feedback != "never":
        return f"every recipe shows it already (context.feedback = '{setup.config.context.feedback}')"
    said = {(v.kind, v.feedback) for group in groups for v in group.verdicts if v.kind != "error" and v.feedback}
    if not {kind for kind, _ in said} - {"truncated"}:  # of which a verifier is not asked
        return "the problems' verifiers give none"
    try:
        for _, text in sorted(said):
            setup.student.tokenizer.encode_completion(text)
    except Exception:  # whatever a tokenizer raises at characters that it does not know
        return "the student's vocabulary cannot write it"
    return ""


def _tell_time(found: Preflight, readings: Sequence[Reading], progress: ProgressDisplay, seconds: float) -> None:
    """Say roughly how long the rest takes, from what was written so far."""
    done = sum(len(group.rollouts) for group in found.attempts.groups)
    done += sum(len(reading.outcomes) for reading in (found.alone, *found.readings))
    writing = sum(len(found.cases) - len(reading.outcomes) for reading in readings)
    scoring = (1 + len(readings)) * sum(len(group.rollouts) for group in found.attempts.mixed)
    left = seconds / done * (writing + A_READING * scoring)
    if not progress.quiet and left > WORTH_A_WORD_S:
        say(f"preflight: {writing} completions to write and {scoring} to score, about {duration(left)}")


def _write_on(
    setup: Setup,
    found: Preflight,
    readings: Sequence[Reading],
    makers: Mapping[Recipe, LessonMaker],
    progress: ProgressDisplay,
) -> None:
    """Write from the cases that a recipe has not had yet."""
    of_teacher = setup.of_teacher if setup.config.is_taught_by_another else setup
    with progress.phase(
        "preflight: all recipes", sum(len(found.cases) - len(one.outcomes) for one in readings)
    ) as phase:
        for reading in readings:
            assert reading.recipe is not None
            missing = found.cases[len(reading.outcomes) :]
            if missing:
                read_cases(of_teacher, [(reading, makers[reading.recipe])], missing, found.attempts.groups)
                phase.advance(len(missing), reading.name)


def _score(
    setup: Setup,
    found: Preflight,
    makers: Mapping[Recipe, LessonMaker],
    progress: ProgressDisplay,
) -> dict[Recipe | None, TokenScores]:
    """The scores of all rollouts of mixed groups, behind their prompt (None) and behind each recipe."""
    mixed, every = found.attempts.mixed, found.attempts.groups
    model = setup.student.model
    teacher, student = teacher_of(setup), own_teacher(setup, model)
    scored = {}
    with progress.phase("preflight: scores", (1 + len(makers)) * len(mixed)) as phase:
        for recipe, maker in ((None, None), *makers.items()):
            whole = None if maker is None else scores_of_all(maker)
            reads, groups = student if maker is None else teacher, []
            for group in mixed:
                groups.append(score_group(reads, model, whole, group, every))
                phase.advance()
            scored[recipe] = TokenScores(tuple(groups))
    return scored


def _taught_share(maker: LessonMaker, found: Preflight) -> float:
    """Of the attempted groups, those in which some rollout would have a teacher."""
    records = maker.make(found.attempts.groups)
    return mean_or_zero([any(record.has_teacher for record in group) for group in records])
