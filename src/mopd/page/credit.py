"""What the teacher says of every token of some groups, by the models of the run's newest checkpoint.

Each rollout is scored with the context that it had, with the successful peers left out of it, and with the failed peers
left out. The differences are what those peers contribute.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from mopd.config import Config, DivergenceConfig
from mopd.core.errors import ConfigError
from mopd.core.types import Group, Lesson, LessonRecord, Peers, Rollout
from mopd.learning.choosing import open_teacher
from mopd.learning.teacher import Reading, Teacher
from mopd.method.divergence import token_divergence
from mopd.method.lessons import LessonMaker
from mopd.method.predictions import Predictions
from mopd.models.external import load_external
from mopd.models.student import Student
from mopd.models.tokenizer import ChatTokenizer
from mopd.page.places import alike_and_apart, first_wrong, nearest
from mopd.page.sampling import Row, shown
from mopd.preflight.setup import open_student
from mopd.runs.checkpoint import from_checkpoint, load_teacher, newest_of_run
from mopd.runs.inputs import freeze_day
from mopd.runs.paths import settled
from mopd.runs.reading import moment_of
from mopd.runs.records import rebuild_group
from mopd.scoring.head import loss_parts
from mopd.scoring.rows import student_row
from mopd.scoring.scorer import Scorer

ALTERNATIVES = 5
"""Tokens that the teacher would rather have written, at most, for each token."""

MOST_TOKENS = 30_000
"""Tokens that a page has scores of."""


@dataclass
class Models:
    """Student and teacher as a checkpoint has them, and how contexts are made."""

    config: Config
    student: Student
    teacher: Teacher
    scorer: Scorer
    maker: LessonMaker
    step: int

    @classmethod
    def open(cls, run: Path, config: Config) -> Models:
        """Of the run's newest checkpoint; `config` is in force. Raises MopdError."""
        if config.objective.kind != "distill":
            raise ConfigError("a teacher reads contexts", f"objective.kind = {config.objective.kind}", "nothing is wrong")
        folder, cursor = newest_of_run(run)
        config = settled(config.model_copy(update={"student": str(folder)}))
        with from_checkpoint(folder):
            student = open_student(config)
            asked = config.external_teacher
            external = None if asked is None else load_external(asked, student, config.compute)
            scorer = Scorer.of(config.compute, student.dtype)
            teacher = open_teacher(config, (external or student).model, student.tokenizer.token_ids, scorer)
            assert teacher is not None
            load_teacher(folder, cursor, student, teacher)
        freeze_day(student.tokenizer, moment_of(run))
        maker = LessonMaker(config, student.tokenizer.encode_prompt, student.template)
        return cls(config, student, teacher, scorer, maker, cursor.step)


@dataclass(frozen=True)
class Variants:
    """The contexts of one rollout as lessons: the one that it had, and those without its successes or its failures,
    where it had such peers."""

    whole: Lesson
    without_successes: Lesson | None
    without_failures: Lesson | None

    @property
    def lessons(self) -> list[Lesson]:
        """Those there are, `whole` first."""
        return [lesson for lesson in (self.whole, self.without_successes, self.without_failures) if lesson]


def choose_to_score(recorded: Sequence[Row], count: int) -> list[int]:
    """The groups to score, evenly over those that are mixed; where too few are, others that have a context."""
    taught = [i for i, group in enumerate(recorded) if any(r.get("context_tokens") for r in group["rollouts"])]
    mixed = [i for i in taught if len({bool(r["is_success"]) for r in recorded[i]["rollouts"]}) == 2]
    others = [i for i in taught if i not in set(mixed)]
    return sorted(_evenly(mixed, count) + _evenly(others, count - len(mixed)))


def _evenly(items: Sequence[int], count: int) -> list[int]:
    if count <= 0:
        return []
    return [items[len(items) * n // count] for n in range(count)] if len(items) > count else list(items)


def score_group(models: Models, recorded: Row, neighbours: Sequence[Group]) -> list[dict[str, Any]]:
    """What there is to tell of each rollout that had a context, token by token."""
    group = _with_tokens(recorded, models)
    others = neighbours or [group]
    had = {r["index"] for r in recorded["rollouts"] if r.get("context_tokens")}
    found = {}
    for rollout in group.rollouts:
        record = models.maker.make_one(group, rollout.index, others) if rollout.index in had else None
        if record is not None and record.lesson is not None and record.lesson.context_ids is not None:
            found[rollout.index] = _variants(models.maker, group, rollout, record, record.lesson)
    lessons = [lesson for variants in found.values() for lesson in variants.lessons]
    if not lessons:
        return []
    reading = models.teacher.read(lessons)
    place, told = 0, []
    for index, variants in found.items():
        places = list(range(place, place + len(variants.lessons)))
        place += len(places)
        told.append(_told(models, group, recorded, index, _columns(models, variants, reading, places)))
    return told


def _with_tokens(recorded: Row, models: Models) -> Group:
    """The recorded group with token ids. They are not recorded: texts are encoded again, an end token behind each that
    was not cut."""
    group, tokenizer = rebuild_group(recorded, models.config.success_reward), models.student.tokenizer
    rollouts = []
    for rollout in group.rollouts:
        end = () if rollout.is_truncated else (tokenizer.end_id,)
        ids = (*tokenizer.encode_completion(rollout.text), *end)
        own = (True,) * len(ids)
        rollouts.append(replace(rollout, token_ids=ids, is_own=own, sampler_logprobs=(0.0,) * len(ids)))
    prompt = tuple(tokenizer.encode_prompt(group.problem.messages))
    return replace(group, rollouts=tuple(rollouts), prompt_ids=prompt)


def _variants(maker: LessonMaker, group: Group, rollout: Rollout, record: LessonRecord, lesson: Lesson) -> Variants:
    """The contexts of a rollout. In a contrast of teachers one context has successes, the other failures."""
    peers: Peers = record.peers
    if maker.contrast is not None:
        failing = lesson.failure_context_ids
        other = None if failing is None else replace(lesson, context_ids=failing)
        return Variants(lesson, other, lesson if other else None)
    feedback = next((b.text for b in record.context.blocks if b.kind == "feedback"), "") if record.context else ""

    def without(kind: str) -> Lesson | None:
        if not (peers.successes if kind == "success" else peers.failures):
            return None
        left = {"successes": (), "success_texts": ()} if kind == "success" else {"failures": (), "failure_texts": ()}
        context = maker.render(group, rollout.index, replace(peers, **left), feedback)
        return replace(lesson, context_ids=context.token_ids)

    return Variants(lesson, without("success"), without("failure"))


@dataclass
class Columns:
    """Of one rollout, for each of its tokens: log t(y) - log s(y) under the whole context and without some peers, the
    divergence, all in nats; and what the teacher thinks most probable: (token id, its probability, the student's)."""

    gain: list[float]
    without_successes: list[float] | None
    without_failures: list[float] | None
    divergence: list[float]
    tops: list[list[tuple[int, float, float]]]


@torch.no_grad()
def _columns(models: Models, variants: Variants, reading: Reading, places: Sequence[int]) -> Columns:
    lesson = variants.whole
    states = models.scorer.read(models.student.model, [student_row(lesson)])[0]
    ids = torch.tensor(lesson.rollout.token_ids, device=states.device)
    taught = [reading([place]) for place in places]
    gains: list[list[float]] = [[] for _ in places]
    found = Columns(gains[0], None, None, [], [])
    for part in loss_parts(models.student.model, len(ids)):
        student = models.scorer.predict(models.student.model, states[part], models.config.sampling.temperature)
        numbers = list(range(part.start, part.stop))
        teachers = [of_tokens(numbers) for of_tokens in taught]
        for column, teacher in zip(gains, teachers, strict=True):
            column += (teacher.of(ids[part]) - student.of(ids[part])).tolist()
        found.divergence += token_divergence(student, teachers[0], _divergence(models.config)).tolist()
        found.tops += list(_tops(student, teachers[0]))
    rest = iter(gains[1:])
    found.without_successes = next(rest) if variants.without_successes else None
    found.without_failures = next(rest) if variants.without_failures else None
    return found


def _divergence(config: Config) -> DivergenceConfig:
    """The run's own, where it can be told of a token; else the default."""
    return DivergenceConfig() if config.divergence.kind == "sampled_reverse_kl" else config.divergence


def _tops(student: Predictions, teacher: Predictions) -> Iterator[list[tuple[int, float, float]]]:
    ids = teacher.top(min(ALTERNATIVES, teacher.vocabulary))
    chances = teacher.at(ids).exp().tolist(), student.at(ids).exp().tolist()
    for row in zip(ids.tolist(), *chances, strict=True):
        yield list(zip(*row, strict=True))


def _told(models: Models, group: Group, recorded: Row, index: int, columns: Columns) -> dict[str, Any]:
    """One rollout as JSON. Contributions are the whole context's log-probability minus that without the peers."""
    rollout, tokenizer = group.rollouts[index], models.student.tokenizer
    pieces = text_pieces(tokenizer, rollout.token_ids)
    texts = {r.index: r.text for r in group.rollouts if group.is_success(r.index) and r.index != index}
    place = None if not group.is_failure(index) else first_wrong(columns.gain)
    beside = nearest(rollout.text, texts) if group.is_failure(index) else None
    names: dict[int, str] = {}
    for top in columns.tops:
        names |= {token: shown(tokenizer.inner.decode([token]), 60) for token, *_ in top if token not in names}
    told: dict[str, Any] = {
        "index": index,
        "pieces": [shown(piece) for piece in pieces],
        "is_same_length": len(rollout.token_ids) == recorded["rollouts"][index].get("token_count"),
        "gain": _rounded(columns.gain),
        "divergence": _rounded(columns.divergence),
        "tops": [[[names[token], round(t, 4), round(s, 4)] for token, t, s in top] for top in columns.tops],
        "here": place,
        "beside": None if beside is None else {"index": beside[0], "shared": len(shown(rollout.text[: beside[1]]))},
    }
    for name, column in (("of_successes", columns.without_successes), ("of_failures", columns.without_failures)):
        if column is not None:
            told[name] = _rounded([a - b for a, b in zip(columns.gain, column, strict=True)])
    if columns.without_successes is not None and columns.without_failures is not None:
        success, failure = columns.without_failures, columns.without_successes
        told["alike"] = _rounded([(a + b) / 2 for a, b in zip(success, failure, strict=True)])
        told["apart"] = _rounded([(a - b) / 2 for a, b in zip(success, failure, strict=True)])
        told["moved"] = alike_and_apart(success, failure)
    return told


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(value, 3) for value in values]


def text_pieces(tokenizer: ChatTokenizer, ids: Sequence[int]) -> list[str]:
    """The text of each token. Of tokens that are parts of one character the last has it, the others have none."""
    pieces: list[str] = []
    begin, done = 0, 0
    for end in range(1, len(ids) + 1):
        before, now = tokenizer.inner.decode(ids[begin:done]), tokenizer.inner.decode(ids[begin:end])
        if now.endswith("\ufffd") and end < len(ids):
            pieces.append("")
            continue
        pieces.append(now[len(before) :])
        begin, done = done, end
    return pieces
