"""What one step of learning goes on with: its lessons, how they are split, and what each loss token costs.

A goal is an objective on the lessons that it has, with its share of the whole. Most steps have one. A distillation that
is blended with GRPO has two: lessons with a context, and lessons with an advantage; a lesson may be of both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from mopd.config import Config, DistillObjective, GrpoObjective, ObjectiveConfig
from mopd.core.types import Lesson
from mopd.learning.alike import Alike, LossToken, alike_tokens, loss_tokens
from mopd.learning.teacher import Reading, Teacher
from mopd.learning.update_meter import UpdateMeter
from mopd.method.contrast import contrast_target, with_evidence
from mopd.method.objective import TokenBatch, token_coefficients, token_losses
from mopd.method.predictions import Predictions
from mopd.parallel.ranks import ONE, Ranks
from mopd.parallel.sharing import shared_whole


@dataclass(frozen=True)
class Goal:
    """An objective, and for each of its lessons (by index) the weight of each of its loss tokens, share included."""

    objective: ObjectiveConfig
    coefficients: Mapping[int, float]


@dataclass
class Work:
    """The lessons of a step, and what goes on from one of its updates to the next.

    `readings` are what a teacher read that stays the same within the step, by the lessons' indices; `old_logprobs` are
    the student's at its first look at a token, by (index of the lesson, position), and `evidence` is log t_S - log t_F
    there, where a contrast of teachers shapes advantages. `sums` are over the loss tokens that this rank has scored, of
    all updates, and `done` is what the updates did, the same in every rank.
    """

    config: Config
    lessons: Sequence[Lesson]
    readings: dict[tuple[int, ...], Reading] = field(default_factory=dict)
    old_logprobs: dict[tuple[int, int], float] = field(default_factory=dict)
    evidence: dict[tuple[int, int], float] = field(default_factory=dict)
    sums: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    done: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    ranks: Ranks = ONE

    @property
    def gaps(self) -> list[float]:
        """Of each token seen so far, how far its first log-probability lies above the sampler's, in nats."""
        sampler = [self.lessons[index].rollout.sampler_logprobs[position] for index, position in self.old_logprobs]
        return [old - own for old, own in zip(self.old_logprobs.values(), sampler, strict=True)]

    def parts(self, step: int) -> Iterator[Part]:
        """What each update of the step learns from, in order: the whole's goals and meter, and this rank's lessons."""
        parts = minibatches(self.lessons, self.config.optimizer.minibatches)
        updates = [part for _ in range(self.config.optimizer.updates_per_step) for part in parts]
        for number, indices in enumerate(updates):
            meter = UpdateMeter.of(indices, self.config.seed, step, number)
            own = self._own(indices)
            alike = alike_tokens({index: self.lessons[index] for index in own}, meter.lessons)
            yield Part(self, own, goals(self.config, self.lessons, indices), meter, alike)

    def _own(self, indices: Sequence[int]) -> list[int]:
        """Those of some lessons that this rank learns from: whole groups, balanced by the tokens that are read."""
        lessons = [self.lessons[index] for index in indices]
        prompts, tokens = [lesson.prompt_ids for lesson in lessons], [tokens_read(lesson) for lesson in lessons]
        return [indices[place] for place in shared_whole(prompts, tokens, self.ranks.size)[self.ranks.rank]]

    def batch(self, tokens: Sequence[Alike], student: Predictions, teacher: Predictions | None) -> TokenBatch:
        """What an objective needs of some loss tokens: predictions once for those that are alike."""
        device = student.logits.device
        token_ids = torch.tensor([alike[0].token_id for alike in tokens], device=device)
        each = [token for alike in tokens for token in alike]
        places = torch.tensor([place for place, alike in enumerate(tokens) for _ in alike], device=device)
        logprobs = student.of(token_ids)[places]
        now = zip(each, logprobs.detach().tolist(), strict=True)
        old = [self.old_logprobs.setdefault((token.index, token.position), value) for token, value in now]
        sampler = [token.lesson.rollout.sampler_logprobs[token.position] for token in each]
        return TokenBatch(
            student=student,
            token_ids=token_ids,
            logprobs=logprobs,
            sampler_logprobs=torch.tensor(sampler).to(logprobs),
            old_logprobs=torch.tensor(old, dtype=torch.float64).to(logprobs),
            advantages=torch.tensor([self._advantage(token) for token in each]).to(logprobs),
            teacher=teacher,
            places=places,
        )

    def _advantage(self, token: LossToken) -> float:
        return with_evidence(token.lesson.advantage, self.evidence.get((token.index, token.position), 0.0))


@dataclass
class Part:
    """What one update learns from in this rank: its lessons (indices), the goals and the meter of the whole update, the
    loss tokens that are scored in each lesson, and what the teacher read."""

    work: Work
    indices: Sequence[int]
    goals: Sequence[Goal]
    meter: UpdateMeter
    alike: Mapping[int, Sequence[Alike]]
    reading: Reading | None = None
    failure_reading: Reading | None = None

    def read(self, teacher: Teacher) -> None:
        """Let the teacher read all contexts of this part, unless it has read them and is what it was."""
        lessons = self.work.lessons
        taught = tuple(index for index in self.indices if lessons[index].context_ids is not None)
        contrasted = [index for index in taught if lessons[index].failure_context_ids is not None]
        reading = self.work.readings.get(taught)
        if reading is None or teacher.changes_within_step:
            failing = [replace(lessons[index], context_ids=lessons[index].failure_context_ids) for index in contrasted]
            reading = teacher.read([*(lessons[index] for index in taught), *failing])  # they share their prefixes
            self.work.readings[taught] = reading
        self.reading = _renumbered(reading, taught, 0)
        self.failure_reading = _renumbered(reading, contrasted, len(taught))

    def teacher_of(self, tokens: Sequence[Alike]) -> Callable[[slice, Predictions], Predictions | None]:
        """From a slice of some loss tokens, and the student's predictions before them, to the teacher's.

        Those are before the tokens of lessons that have a context, and None where there is no such token.
        """
        of_success = _of_slices(self.reading, tokens, lambda lesson: lesson.context_ids)
        of_failure = _of_slices(self.failure_reading, tokens, lambda lesson: lesson.failure_context_ids)
        objective = self.work.config.objective

        def teacher(part: slice, student: Predictions) -> Predictions | None:
            success, failure = of_success(part), of_failure(part)
            if success is None or failure is None or not isinstance(objective, DistillObjective):
                return success
            assert objective.contrast is not None
            if objective.contrast.form == "advantage":
                self._remember_evidence(tokens[part], success, failure)
                return None
            own = [row for row, alike in enumerate(tokens[part]) if alike[0].lesson.context_ids is not None]
            rows = [tokens[part][row][0].lesson.failure_context_ids is not None for row in own]
            device = student.logits.device
            anchor = Predictions(student.logits.detach()[torch.tensor(own, device=device)], student.temperature)
            return contrast_target(anchor, success, failure, torch.tensor(rows, device=device), objective.contrast)

        return teacher

    @torch.no_grad()
    def _remember_evidence(self, tokens: Sequence[Alike], success: Predictions, failure: Predictions) -> None:
        """Keep log t_S(y) - log t_F(y) of the tokens y that both predict."""
        shown = [alike for alike in tokens if alike[0].lesson.context_ids is not None]
        both = [row for row, alike in enumerate(shown) if alike[0].lesson.failure_context_ids is not None]
        ids = torch.tensor([alike[0].token_id for alike in shown], device=success.logits.device)
        rows = torch.tensor(both, device=ids.device)
        found = success.of(ids)[rows] - failure.of(ids[rows])
        for row, value in zip(both, found.tolist(), strict=True):
            self.work.evidence |= {(token.index, token.position): value for token in shown[row]}

    def costs(
        self,
        tokens: Sequence[Alike],
        student: Predictions,
        teacher: Predictions | None,
        moved: Float[Tensor, " n"] | None = None,
    ) -> Float[Tensor, " n"]:
        """What each of n loss tokens adds to the objective; those that are alike stand together.

        `moved` is by how much their log-probabilities are other than they were when importance weights were formed. A
        distillation does not lower those, so they stay what they were.
        """
        each = [token for alike in tokens for token in alike]
        total = torch.zeros(len(each), dtype=student.log_normalizers.dtype, device=student.logits.device)
        for goal in self.goals:
            rows = [row for row, token in enumerate(each) if token.index in goal.coefficients]
            if not rows:
                continue
            own = torch.tensor(rows, device=total.device)
            is_distilled = goal.objective.kind == "distill"
            batch = self.work.batch(*_of_goal(goal, tokens, student), teacher if is_distilled else None)
            if moved is not None and is_distilled:
                old, sampler = batch.old_logprobs + moved[own], batch.sampler_logprobs + moved[own]
                batch = replace(batch, old_logprobs=old, sampler_logprobs=sampler)
            coefficients = torch.tensor([goal.coefficients[each[row].index] for row in rows])
            losses = token_losses(batch, self.work.config, goal.objective)
            total = total.index_add(0, own, losses * coefficients.to(losses))
        return total

    def weight(self, indices: Sequence[int]) -> float:
        """The share of the objective that lies on some lessons."""
        return sum(
            goal.coefficients.get(index, 0.0) * self.work.lessons[index].rollout.own_token_count
            for goal in self.goals
            for index in indices
        )


def tokens_read(lesson: Lesson) -> int:
    """The tokens that student and teacher read of a lesson, shared ones counted in each."""
    contexts = [ids for ids in (lesson.context_ids, lesson.failure_context_ids) if ids is not None]
    prefixes = len(lesson.prompt_ids) + sum(map(len, contexts))
    return prefixes + (1 + len(contexts)) * len(lesson.rollout.token_ids)


def _renumbered(reading: Reading, indices: Sequence[int], begin: int) -> Reading:
    """A reading asked by the indices of a step's lessons, of those that were read from number `begin` on."""
    place = {index: begin + number for number, index in enumerate(indices)}
    return lambda asked: reading([place[index] for index in asked])


def _of_slices(
    reading: Reading | None, tokens: Sequence[Alike], context: Callable[[Lesson], object]
) -> Callable[[slice], Predictions | None]:
    """From a slice of tokens to what was predicted before those whose lesson has such a context."""
    shown = [alike[0] for alike in tokens if context(alike[0].lesson) is not None]
    if reading is None or not shown:
        return lambda part: None
    lessons = {token.index: token.lesson for token in shown}
    of_those = reading(list(lessons))
    all_of_those = (token for index, lesson in lessons.items() for token in loss_tokens(index, lesson))
    number = {(token.index, token.position): number for number, token in enumerate(all_of_those)}
    numbers = [number[token.index, token.position] for token in shown]
    before = [0, *accumulate(context(alike[0].lesson) is not None for alike in tokens)]

    def of_slice(part: slice) -> Predictions | None:
        chosen = numbers[before[part.start] : before[part.stop]]
        return of_those(chosen) if chosen else None

    return of_slice


def _of_goal(goal: Goal, tokens: Sequence[Alike], student: Predictions) -> tuple[Sequence[Alike], Predictions]:
    """The tokens of a goal's lessons, and the student's predictions before them."""
    own = [tuple(token for token in alike if token.index in goal.coefficients) for alike in tokens]
    places = [place for place, alike in enumerate(own) if alike]
    if len(places) == len(tokens):
        return own, student
    rows = torch.tensor(places, device=student.logits.device)
    return [own[place] for place in places], Predictions(student.logits[rows], student.temperature)


def goals(config: Config, lessons: Sequence[Lesson], indices: Sequence[int]) -> list[Goal]:
    """The goals of an update on some lessons. Each is normalised over its own."""
    objective = config.objective
    if not isinstance(objective, DistillObjective):
        return [_goal(objective, 1.0, lessons, indices)]
    if objective.contrast is not None and objective.contrast.form == "advantage":
        return [_goal(GrpoObjective(aggregation=objective.aggregation), 1.0, lessons, indices)]
    share = config.grpo_share
    if not share:
        return [_goal(objective, 1.0, lessons, indices)]
    taught = [index for index in indices if lessons[index].context_ids is not None]
    better_or_worse = [index for index in indices if lessons[index].advantage]
    grpo = GrpoObjective(aggregation=objective.aggregation)
    both = ((objective, 1 - share, taught), (grpo, share, better_or_worse))
    return [_goal(goal, part, lessons, own) for goal, part, own in both if own]


def _goal(objective: ObjectiveConfig, share: float, lessons: Sequence[Lesson], indices: Sequence[int]) -> Goal:
    weights = token_coefficients([lessons[index] for index in indices], objective)
    return Goal(objective, {index: share * weight for index, weight in zip(indices, weights, strict=True)})


def minibatches(lessons: Sequence[Lesson], count: int) -> list[list[int]]:
    """The indices of lessons in at most `count` parts of whole groups, as even as they can be; in order."""
    of_group: dict[str, list[int]] = {}
    for index, lesson in enumerate(lessons):
        of_group.setdefault(lesson.problem_id, []).append(index)
    groups, count = list(of_group.values()), min(count, len(of_group))
    edges = [len(groups) * part // count for part in range(count + 1)]
    return [[i for group in groups[a:b] for i in group] for a, b in pairwise(edges)]
