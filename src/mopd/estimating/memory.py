"""Bytes of one step, part by part, and the phase in which most of them are held at once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mopd.config import Config
from mopd.estimating.layout import Layout
from mopd.estimating.plan import PHASES, Part, Phase, teacher_shapes
from mopd.estimating.sizes import Shapes, architecture_of, empty_model
from mopd.estimating.tracing import StandIn
from mopd.learning.update_meter import MEASURED
from mopd.models.weights import convert_weights
from mopd.rollouts.decoding import GROWTH
from mopd.scoring.head import LOGITS_AT_ONCE
from mopd.scoring.rows import Row
from mopd.scoring.scorer import PACKS_WITHOUT_GRADIENT

DRAWING = 4
"""float32 tensors [rows, vocabulary] that drawing a token makes beside the logits: scaled, log-probabilities,
probabilities, and those in whole blocks."""


@dataclass(frozen=True)
class Traced:
    """A model whose reading is estimated: the student, or another model that teaches it."""

    shapes: Shapes
    stand_in: StandIn


def teacher_of(config: Config, student: Traced) -> Traced | None:
    """What reads contexts on this device, as `plan.teacher_shapes` tells."""
    shapes, scorer = teacher_shapes(config, student.shapes), student.stand_in.scorer
    if shapes is None or config.external_teacher is None:
        return None if shapes is None else student
    model = empty_model(architecture_of(config.external_teacher.model))
    convert_weights(model, scorer.dtype)
    return Traced(shapes, StandIn(model, scorer, student.stand_in.on_gpu))


def varying_parts(config: Config, layout: Layout, student: Traced, teacher: Traced | None) -> list[Part]:
    """What depends on lengths: activations, logits, hidden states, the sampling cache."""
    shapes, stand_in = student.shapes, student.stand_in
    scorer, size = stand_in.scorer, stand_in.scorer.dtype.itemsize
    budget = scorer.microbatch_tokens
    rows = layout.students
    measured = rows[: math.ceil(len(rows) / MEASURED)]
    logits = logits_bytes(config, shapes, layout.completion * len(measured), size)
    read: frozenset[Phase] = frozenset({"teacher", "first microbatch", "other microbatches", "update", "measure"})
    parts = [
        *_microbatches(config, shapes, layout, stand_in),
        Part("reading a few lessons again", _reading(stand_in, measured, budget) + logits, frozenset({"measure"})),
        *_sampling(config, layout, student, teacher, size),
    ]
    if teacher is not None:
        states = len(layout.teachers) * layout.completion * teacher.shapes.hidden * size
        parts.append(Part("teacher's hidden states", round(layout.scale * states), read))
        parts.append(
            Part("reading contexts", _reading(teacher.stand_in, layout.teachers, budget), frozenset({"teacher"}))
        )
    return [part for part in parts if part.bytes]


def _microbatches(config: Config, shapes: Shapes, layout: Layout, stand_in: StandIn) -> Iterator[Part]:
    """The largest microbatch, of a step that has no gradient yet but the output embedding's; and the next."""
    scorer, size = stand_in.scorer, stand_in.scorer.dtype.itemsize
    packs = scorer.packs(stand_in.model, layout.students, scorer.microbatch_tokens)
    if len(packs) < layout.scale:  # what is laid out is one pack of several
        packs = [*packs, packs[0]]
    phases: tuple[Phase, ...] = ("first microbatch", "other microbatches")
    for phase, name, indices in zip(phases, ("largest", "next"), packs, strict=False):
        pack = [layout.students[index] for index in indices]
        kept, on_top = stand_in.learning(pack)
        logits = logits_bytes(config, shapes, sum(len(row.completion) for row in pack), size)
        head = _head_gradient(config, shapes) if name == "largest" else 0
        held = frozenset({phase})
        yield Part(f"activations, {name} microbatch", kept, held)
        yield Part(f"logits and gradients, {name} microbatch", max(on_top, logits) + head, held)


def _head_gradient(config: Config, shapes: Shapes) -> int:
    """An adapter leaves the output embedding as it is."""
    return 0 if config.lora else (4 if config.compute.weights == "float32" else 2) * shapes.head_weights


def _largest(stand_in: StandIn, rows: Sequence[Row], budget: int) -> list[Row]:
    return [rows[index] for index in stand_in.scorer.packs(stand_in.model, rows, budget)[0]]


def _reading(stand_in: StandIn, rows: Sequence[Row], budget: int) -> int:
    return stand_in.reading(_largest(stand_in, rows, PACKS_WITHOUT_GRADIENT * budget)) if rows else 0


def logits_bytes(config: Config, shapes: Shapes, loss_tokens: int, size: int) -> int:
    """The logits of one part of a microbatch's loss tokens: the student's, their gradient, and the teacher's."""
    at_once = min(loss_tokens, max(1, LOGITS_AT_ONCE // shapes.vocabulary)) * shapes.vocabulary
    tensors = 2 if config.objective.kind != "distill" or config.served_teacher is not None else 3
    return at_once * size * tensors


def _sampling(config: Config, layout: Layout, student: Traced, teacher: Traced | None, size: int) -> list[Part]:
    """Of rollouts, or of the teacher that writes from a few contexts where its accuracy is measured: what is larger."""
    count = config.problems_per_step * config.group_size
    rows = min(config.compute.sampling_rows, count)
    prompts = max(1, rows // config.group_size) * max(map(len, layout.prompts))
    asked = [_written(student.shapes, rows, prompts, layout.completion, size)]
    if teacher is not None and layout.contexts and config.evaluation.contexts_every:
        rows = min(config.compute.sampling_rows, config.evaluation.reading_contexts, count)
        asked.append(_written(teacher.shapes, rows, rows * max(map(len, layout.contexts)), layout.completion, size))
    cache, drawing = max(asked, key=sum)
    sampling: frozenset[Phase] = frozenset({"sample"})
    return [Part("sampling cache", cache, sampling), Part("logits of sampling", drawing, sampling)]


def _written(shapes: Shapes, rows: int, prompts: int, completion: int, size: int) -> tuple[int, int]:
    """Keys and values of each of `prompts` tokens once, and of each row for the room that it was given, which grows by
    doubling: the old room is there until the new one is filled. And what drawing a token of each row takes."""
    room = GROWTH * 2 ** max(0, math.ceil(math.log2(completion / GROWTH)))
    written = rows * (room + (room // 2 if room > GROWTH else 0))
    return shapes.cache_numbers * size * (prompts + written), rows * shapes.vocabulary * (size + 4 * DRAWING)


def by_phase(parts: Sequence[Part]) -> dict[Phase, int]:
    """Bytes on the device in each phase."""
    return {phase: sum(part.bytes for part in parts if phase in part.phases) for phase in PHASES}


def peak(parts: Sequence[Part]) -> tuple[Phase, int]:
    """The phase in which most is held, and how many bytes that is."""
    sums = by_phase(parts)
    phase = max(sums, key=lambda name: sums[name])
    return phase, sums[phase]
