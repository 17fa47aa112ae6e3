"""What the teacher says of every token of some groups, by the models of the run's newest checkpoint.

Each rollout is scored with the context that it had, with the successful peers left out of it, and with the failed peers
left out: the differences are what those peers contribute. It is scored as well from one success alone and from one
failure alone, whatever its context showed: what both do to a token is style, what parts them content.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from rich.console import Console

from mopd.analysis.opened import LONGEST, Models, with_tokens
from mopd.config import Config, ContrastConfig, DivergenceConfig
from mopd.core.errors import RunError
from mopd.core.types import Group, Lesson, LessonRecord, Peers, Rollout
from mopd.learning.teacher import Reading
from mopd.method.contrast import contrast_target
from mopd.method.divergence import token_divergence
from mopd.method.lessons import LessonMaker
from mopd.method.peers import choose_peers, cleaner
from mopd.method.predictions import Predictions
from mopd.models.tokenizer import ChatTokenizer
from mopd.page.places import alike_and_apart, first_wrong, nearest
from mopd.page.sampling import Row, shown
from mopd.report.contexts import ReadAgain
from mopd.report.showing import print_plain
from mopd.runs.records import rebuild_group
from mopd.scoring.head import loss_parts
from mopd.scoring.rows import student_row

ALTERNATIVES = 5
"""Tokens that the teacher would rather have written, at most, for each token."""

MOST_TOKENS = 30_000
"""Tokens that a page has scores of."""


LEAST_NATS = -16.0
"""Log-probability of what a contrast of teachers rules out, to be shown: minus infinity is no number of a page."""

Contexts = dict[str, Lesson]
"""Of one rollout: `whole`, the context that it had; `against`, that of a contrast's second teacher; else
`without_successes` and `without_failures`, where it had such peers; `success` and `failure`, one peer alone, where its
group has both."""


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


def score_group(models: Models, recorded: Row, neighbours: Sequence[Group]) -> tuple[list[dict[str, Any]], int]:
    """What there is to tell of each rollout that had a context, token by token; and how many are too long for it."""
    group = with_tokens(rebuild_group(recorded, models.config.success_reward), models.student.tokenizer)
    others = neighbours or [group]
    had = {r["index"] for r in recorded["rollouts"] if r.get("context_tokens")}
    found, too_long = {}, 0
    room = min(LONGEST, models.student.window)
    for rollout in group.rollouts:
        record = models.maker.make_one(group, rollout.index, others) if rollout.index in had else None
        if record is not None and record.lesson is not None and record.lesson.context_ids is not None:
            contexts = _contexts(models.maker, group, rollout, record, record.lesson)
            longest = max(len(lesson.context_ids or ()) for lesson in contexts.values())
            if longest + len(rollout.token_ids) > room:
                too_long += 1
            else:
                found[rollout.index] = contexts
    lessons = [lesson for contexts in found.values() for lesson in contexts.values()]
    if not lessons:
        return [], too_long
    reading, numbers = models.teacher.read(lessons), iter(range(len(lessons)))
    told = []
    for index, contexts in found.items():
        columns = _columns(models, contexts["whole"], reading, {name: next(numbers) for name in contexts})
        told.append(_told(models, group, recorded, index, columns))
    return told, too_long


def score_again(asked: ReadAgain, models: Models) -> dict[str, Any]:
    """The same of one rollout of a run. Raises RunError where it is too long to be scored."""
    others = [r if r["index"] == asked.index else {**r, "context_tokens": None} for r in asked.recorded["rollouts"]]
    told, _ = score_group(models, {**asked.recorded, "rollouts": others}, asked.groups)
    if not told:
        raise RunError(
            f"a rollout that is scored fits {min(LONGEST, models.student.window)} tokens with each of its contexts",
            f"one of {asked.rollout['token_count']} tokens behind {asked.context.token_count}",
            "choose another with --problem and --rollout",
        )
    return told[0]


def print_scores(asked: ReadAgain, console: Console) -> None:
    """A line for each token of a rollout: its log-probabilities under teacher and student, by the newest checkpoint."""
    models = Models.open(asked.run, asked.config)
    told = score_again(asked, models)
    console.rule(f"log-probabilities of its tokens in nats, by the weights after {models.step} steps")
    if not told["is_same_length"]:
        print_plain(console, "encoded again it has another number of tokens than when it was sampled")
    print_plain(console, "teacher  student  teacher - student")
    for place, (piece, student, gain) in enumerate(zip(told["pieces"], told["student"], told["gain"], strict=True)):
        here = "  <- here: the first token that the teacher strongly doubts" if place == told["here"] else ""
        print_plain(console, f"{student + gain:7.2f}  {student:7.2f}  {gain:+7.2f}  {piece!r}{here}")


def _contexts(maker: LessonMaker, group: Group, rollout: Rollout, record: LessonRecord, whole: Lesson) -> Contexts:
    """The contexts of a rollout that had the context of `whole`, as lessons."""
    peers, blocks = record.peers, record.context.blocks if record.context else ()
    feedback = next((block.text for block in blocks if block.kind == "feedback"), "")

    def showing(successes: int, failures: int, of: Peers) -> Lesson:
        shown = Peers(
            of.successes[:successes],
            of.failures[:failures],
            of.success_texts[:successes],
            of.failure_texts[:failures],
        )
        return replace(whole, context_ids=maker.render(group, rollout.index, shown, feedback).token_ids)

    found = {"whole": whole}
    if whole.failure_context_ids is not None:
        found["against"] = replace(whole, context_ids=whole.failure_context_ids)
    shown_kinds = {block.kind for block in blocks} if maker.contrast is None else set()
    if "success" in shown_kinds:
        found["without_successes"] = showing(0, len(peers.failures) if "failure" in shown_kinds else 0, peers)
    if "failure" in shown_kinds:
        found["without_failures"] = showing(len(peers.successes), 0, peers)
    both = maker.config.peers.model_copy(update={"successes": 1, "failures": 1, "show_failures": "always"})
    pair = choose_peers(group, rollout.index, both, maker.config.seed, cleaner(maker.config.context))
    if pair.successes and pair.failures:
        found |= {"success": showing(1, 0, pair), "failure": showing(0, 1, pair)}
    return found


@dataclass
class Columns:
    """Of one rollout, for each of its tokens y, in nats: log t(y) - log s(y) under each context; log s(y); the
    divergence under the whole context, and by how much another token is more probable to its teacher than y. And the
    teacher's most probable tokens: (token id, its probability, the student's)."""

    gains: dict[str, list[float]]
    student: list[float] = field(default_factory=list)
    divergence: list[float] = field(default_factory=list)
    doubt: list[float] = field(default_factory=list)
    tops: list[list[tuple[int, float, float]]] = field(default_factory=list)


@torch.no_grad()
def _columns(models: Models, lesson: Lesson, reading: Reading, numbers: Mapping[str, int]) -> Columns:
    """The scores of a rollout, whose contexts have these numbers in a reading."""
    states = models.scorer.read(models.student.model, [student_row(lesson)])[0]
    ids = torch.tensor(lesson.rollout.token_ids, device=states.device)
    taught = {name: reading([number]) for name, number in numbers.items()}
    found = Columns({name: [] for name in numbers})
    for part in loss_parts(models.student.model, len(ids)):
        student = models.scorer.predict(models.student.model, states[part], models.config.sampling.temperature)
        places = list(range(part.start, part.stop))
        own = student.of(ids[part])
        found.student += own.tolist()
        for name, of_tokens in taught.items():
            teacher = of_tokens(places)
            if name == "whole" and "against" in taught:
                teacher = _target(models.maker.contrast, student, teacher, taught["against"](places))
            found.gains[name] += (teacher.of(ids[part]).clamp_min(LEAST_NATS) - own).tolist()
            if name == "whole":
                found.divergence += token_divergence(student, teacher, _divergence(models.config)).tolist()
                best = teacher.at(teacher.top(1)).squeeze(-1)
                found.doubt += (best - teacher.of(ids[part]).clamp_min(LEAST_NATS)).tolist()
                found.tops += list(_tops(student, teacher))
    return found


def _target(
    contrast: ContrastConfig | None, student: Predictions, success: Predictions, failure: Predictions
) -> Predictions:
    """What a contrast of teachers moves the student toward; where it shapes advantages alone, the first teacher."""
    if contrast is None or contrast.form != "target":
        return success
    every = torch.ones(len(student), dtype=torch.bool, device=student.logits.device)
    return contrast_target(student, success, failure, every, contrast)


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
    rollout, tokenizer, gains = group.rollouts[index], models.student.tokenizer, columns.gains
    texts = {r.index: r.text for r in group.rollouts if group.is_success(r.index) and r.index != index}
    has_failed = group.is_failure(index)
    beside = nearest(rollout.text, texts) if has_failed else None
    names: dict[int, str] = {}
    for token in {token for top in columns.tops for token, *_ in top}:
        names[token] = shown(tokenizer.inner.decode([token]), 60)
    told: dict[str, Any] = {
        "index": index,
        "pieces": [shown(piece) for piece in text_pieces(tokenizer, rollout.token_ids)],
        "is_same_length": len(rollout.token_ids) == recorded["rollouts"][index].get("token_count"),
        "student": _rounded(columns.student),
        "gain": _rounded(gains["whole"]),
        "divergence": _rounded(columns.divergence),
        "doubt": _rounded(columns.doubt),
        "tops": [[[names[token], round(t, 4), round(s, 4)] for token, t, s in top] for top in columns.tops],
        "here": first_wrong(columns.doubt) if has_failed else None,
        "beside": None if beside is None else {"index": beside[0], "shared": len(shown(rollout.text[: beside[1]]))},
    }
    for name, left_out in (("of_successes", "without_successes"), ("of_failures", "without_failures")):
        if left_out in gains:
            told[name] = _rounded([a - b for a, b in zip(gains["whole"], gains[left_out], strict=True)])
    if "success" in gains:
        pairs = list(zip(gains["success"], gains["failure"], strict=True))
        told["alike"] = _rounded([(a + b) / 2 for a, b in pairs])
        told["apart"] = _rounded([(a - b) / 2 for a, b in pairs])
        told["moved"] = alike_and_apart(gains["success"], gains["failure"])
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
