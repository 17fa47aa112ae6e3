"""The teacher's signal: how well its scores of recorded rollouts tell successes from failures, context by context.

A score is the mean log-probability, in nats a token and at the run's sampling temperature, that the teacher gives a
rollout's own tokens behind a context. The same rollouts are scored in every context, by the weights of one checkpoint.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mopd.analysis.contexts import ContextMaker, Reason, Shown
from mopd.analysis.opened import LONGEST, Models, with_tokens
from mopd.core.errors import MopdError, ProblemError
from mopd.core.files import finite
from mopd.core.signals import SIGNALS, OfProblems, differences, over_problems, signals_of
from mopd.core.statistics import mean_or_zero
from mopd.core.types import Context, Group, Lesson, Peers
from mopd.learning.scores import mean_logprobs
from mopd.runs.progress import ProgressDisplay

FULLEST = "2S1F"
"""What every other context is set beside, besides `base`."""


@dataclass
class Scores:
    """Of one group: its successes, and for each context the score of each rollout, None where it has none there."""

    step: int | None
    problem: str
    rollouts: list[int]
    successes: list[bool]
    of_context: dict[str, list[float | None]] = field(default_factory=dict)

    def pairs(self, name: str, *others: str) -> tuple[list[float], list[bool]]:
        """Scores in one context with successes, of the rollouts that have a score there and in the others."""
        columns = [self.of_context[one] for one in (name, *others)]
        kept = [i for i in range(len(self.rollouts)) if all(column[i] is not None for column in columns)]
        return [float(columns[0][i] or 0.0) for i in kept], [self.successes[i] for i in kept]

    def as_json(self) -> dict[str, Any]:
        """For analysis.json: everything that the statistics are made of."""
        return {
            "step": self.step,
            "problem_id": self.problem,
            "rollouts": self.rollouts,
            "successes": self.successes,
            "scores": self.of_context,
        }


@dataclass
class Tally:
    """Of one context over all groups: rollouts without a score by reason, and what its contexts were like."""

    unscored: Counter[str] = field(default_factory=Counter)
    scored: int = 0
    fewer: int = 0
    own_text: int = 0
    shortened: int = 0
    tokens: list[int] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Counts of rollouts; `tokens_mean` of their contexts."""
        return {
            "rollouts": self.scored,
            "unscored": dict(self.unscored),
            "fewer_peers_count": self.fewer,
            "own_text_count": self.own_text,
            "shortened_count": self.shortened,
            "context_tokens_mean": mean_or_zero(self.tokens),
        }


class SignalReader:
    """Scores groups in some contexts."""

    def __init__(self, models: Models, contexts: Sequence[Shown], is_whole: bool) -> None:
        self.models, self.is_whole = models, is_whole
        self.makers = {shown.name: ContextMaker(shown, models) for shown in contexts}
        self.tallies = {shown.name: Tally() for shown in contexts}

    def encoded(self, group: Group) -> Group:
        """The group with token ids. Raises whatever its tokenizer raises at a prompt or completion."""
        return with_tokens(group, self.models.student.tokenizer, self.is_whole)

    def read(self, told: Group, groups: Sequence[Group], step: int | None) -> Scores:
        """The scores of the judged rollouts of a group with token ids."""
        judged = [rollout.index for rollout in told.rollouts if told.verdicts[rollout.index].kind != "error"]
        found = Scores(step, told.problem.id, judged, [told.is_success(index) for index in judged])
        for name in self.makers:
            found.of_context[name] = self._in_context(name, told, groups, judged)
        return found

    def _in_context(
        self, name: str, group: Group, groups: Sequence[Group], judged: Sequence[int]
    ) -> list[float | None]:
        """The score of each judged rollout in one context, None where it has none."""
        lessons = [self._lesson(name, group, index, groups) for index in judged]
        scored = [lesson for lesson in lessons if lesson is not None]
        scores = iter(mean_logprobs(self.models.teacher, self.models.student.model, scored))
        found = [None if lesson is None else next(scores) for lesson in lessons]
        lost = sum(score is not None and not math.isfinite(score) for score in found)
        if lost:
            self.tallies[name].unscored["not_finite"] += lost
            self.tallies[name].scored -= lost
        return [finite(score) for score in found]

    @staticmethod
    def _made(maker: ContextMaker, group: Group, index: int, groups: Sequence[Group]) -> tuple[Context, Peers] | Reason:
        try:
            return maker.of(group, index, groups)
        except ProblemError:  # as feedback in words that an embedded student has no tokens for
            return "not_encoded"

    def _lesson(self, name: str, group: Group, index: int, groups: Sequence[Group]) -> Lesson | None:
        """A rollout behind its context; None, and the reason counted, where it has none."""
        tally, maker, rollout = self.tallies[name], self.makers[name], group.rollouts[index]
        made = self._made(maker, group, index, groups) if rollout.token_ids else "no_tokens"
        if isinstance(made, str):
            tally.unscored[made] += 1
            return None
        context, peers = made
        if context.token_count + len(rollout.token_ids) > min(LONGEST, self.models.student.window):
            tally.unscored["too_long"] += 1
            return None
        tally.scored += 1
        tally.fewer += peers.count < maker.shown.successes + maker.shown.failures
        tally.own_text += peers.shows_own_text
        tally.shortened += bool(context.shortened_count or context.dropped_count)
        tally.tokens.append(context.token_count)
        return Lesson(group.problem.id, group.problem.domain, rollout, group.prompt_ids, context.token_ids)


def read_all(
    reader: SignalReader, groups: Sequence[tuple[int | None, Group]], progress: ProgressDisplay
) -> tuple[list[Scores], list[str]]:
    """The scores of all groups, and which could not be scored, with why.

    `unrelated_problem` takes its peers from the others among them.
    """
    everything = [group for _, group in groups]
    found, refused = [], []
    with progress.phase("score groups", len(groups)) as phase:
        for step, group in groups:
            try:
                encoded = reader.encoded(group)
            except Exception as error:  # whatever a tokenizer raises at characters that it does not know
                told = error.got if isinstance(error, MopdError) else f"{type(error).__name__}: {error}"
                refused.append(f"the signal of {group.problem.id}: {told}"[:300])
            else:
                found.append(reader.read(encoded, everything, step))
            phase.advance()
    return found, refused


def statistics_of(scores: Sequence[Scores], name: str, *others: str) -> dict[str, OfProblems]:
    """For each statistic its value in each group, in one context, over the rollouts that the others have as well."""
    by_group = [(one.problem, signals_of(*one.pairs(name, *others))) for one in scores]
    return {statistic: [(problem, values[statistic]) for problem, values in by_group] for statistic in SIGNALS}


def describe(scores: Sequence[Scores], tallies: Mapping[str, Tally]) -> dict[str, Any]:
    """All contexts with their statistics, and differences between contexts, paired on the same rollouts."""
    names = list(tallies)
    contexts = [
        {
            "name": name,
            **tallies[name].as_json(),
            "statistics": {k: over_problems(v).as_json() for k, v in statistics_of(scores, name).items()},
        }
        for name in names
    ]
    found = [(name, minus) for minus in ("base", FULLEST) for name in names if minus in names and name != minus]
    return {
        "contexts": contexts,
        "differences": [
            _difference(scores, name, minus) for name, minus in found if (minus, name) != (FULLEST, "base")
        ],
        "groups": [one.as_json() for one in scores],
    }


def _difference(scores: Sequence[Scores], name: str, minus: str) -> dict[str, Any]:
    """One context's statistics minus another's, over the rollouts of each group that both have."""
    ours, theirs = statistics_of(scores, name, minus), statistics_of(scores, minus, name)
    measured = {key: over_problems(differences(theirs[key], ours[key])).as_json() for key in SIGNALS}
    return {"context": name, "minus": minus, "statistics": measured}
