"""Seconds of one step by phase: operations over the device's rate, and bytes over its bandwidth where these bound.

Not known before a run, and not counted: verification, and how soon rollouts end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from mopd.config import Config
from mopd.estimating.devices import Device
from mopd.estimating.flops import WITH_BACKWARD, attention_flops, decoder_flops, head_flops
from mopd.estimating.layout import Layout
from mopd.estimating.plan import Keeping, teacher_shapes
from mopd.estimating.sizes import Shapes
from mopd.learning.update_meter import MEASURED
from mopd.scoring.packing import pack_by_tokens
from mopd.scoring.rows import Row
from mopd.scoring.scorer import PACKS_WITHOUT_GRADIENT
from mopd.scoring.trie import build_trie

MOVED_BY_UPDATE = 4 * (2 + 1 + 4 + 2 + 3)
"""Bytes a parameter that an update reads and writes in float32: clipping (gradient twice), a copy of the weights
(once each), AdamW (weights and two moments in, out), the bound's first-order fall, the teacher's average."""


def step_seconds(
    config: Config, shapes: Shapes, layout: Layout, device: Device, keeping: Keeping, shares: bool = True
) -> dict[str, float]:
    """Seconds of `sample`, `teacher`, `student`, `update`, and of the teacher's accuracy spread over all steps. Those
    of a teacher on servers are not known."""
    rate = device.share * device.rates[keeping.products]
    budget = config.compute.microbatch_tokens
    loss = layout.scale * layout.loss_tokens
    reading = 0.0
    teacher = teacher_shapes(config, shapes) if layout.teachers else None
    if teacher is not None:
        readers = len(layout.teachers) / len(layout.students)
        nodes = _flops(teacher, layout.teachers, PACKS_WITHOUT_GRADIENT * budget, shares)
        reading = layout.scale * nodes + readers * head_flops(teacher, round(loss))
    forward = layout.scale * _flops(shapes, layout.students, budget, shares) + head_flops(shapes, round(loss))
    updates = config.optimizer.updates_per_step * config.optimizer.minibatches
    moved = updates * shapes.count / keeping.shards * MOVED_BY_UPDATE / (device.share * device.bandwidth)
    found = {
        "sample": _sampling(config, shapes, layout.prompts, layout.completion, device, keeping),
        "teacher": reading / rate,
        "student": config.optimizer.updates_per_step * WITH_BACKWARD * forward / rate,
        "update": moved + config.optimizer.updates_per_step * forward / MEASURED / rate,
    }
    every = config.evaluation.contexts_every
    if teacher is not None and every:
        asked = min(config.evaluation.reading_contexts, len(layout.teachers))
        contexts = [row.prefix for row in layout.teachers[:asked]]
        once = _sampling(config, teacher, contexts, layout.completion, device, keeping, per_prompt=1)
        found["teacher accuracy"] = once / every
    return found


def _flops(shapes: Shapes, rows: Sequence[Row], budget: int, shares: bool) -> int:
    """A forward pass over rows in packs, without the head."""
    ids = [row.token_ids for row in rows]
    packs = pack_by_tokens(ids, budget, shares)
    return sum(decoder_flops(shapes, build_trie([ids[index] for index in pack])) for pack in packs)


def _sampling(
    config: Config,
    shapes: Shapes,
    prompts: Sequence[tuple[int, ...]],
    completion: int,
    device: Device,
    keeping: Keeping,
    per_prompt: int | None = None,
) -> float:
    """Reading prompts, then a token at a time: all weights are read for each, and the keys of what was written.

    The longer of computing and of reading, for each batch of `compute.sampling_rows`.
    """
    each = per_prompt or config.group_size
    count = (config.problems_per_step if per_prompt is None else len(prompts)) * each
    batches = math.ceil(count / max(each, config.compute.sampling_rows))
    size = keeping.product_bytes
    rows, length = count / batches, sum(map(len, prompts)) / len(prompts)
    weights = shapes.linear_weights + shapes.head_weights
    flops = completion * rows * 2 * weights + attention_flops(
        shapes, round(rows * completion * (length + completion / 2))
    )
    cache = shapes.cache_numbers * rows * (length / each + completion / 2)
    moved = completion * size * (weights + cache)
    rate, bandwidth = device.share * device.rates[keeping.products], device.share * device.bandwidth
    read = 2 * weights * length * rows / each
    return batches * (max(flops / rate, moved / bandwidth) + read / rate)
