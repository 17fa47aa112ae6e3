"""Seconds that devices spend on telling each other: gradients, gathered weights, and weights for a server.

A ring of N devices moves (N-1)/N of the bytes over each link to gather a tensor, as many to add up and scatter one, and
twice as many to give all of them its sum. Nothing is taken to be hidden behind computing, so these are upper bounds.
"""

from __future__ import annotations

from mopd.config import Config, VllmEngineConfig
from mopd.estimating.devices import Device
from mopd.estimating.layout import Layout
from mopd.estimating.plan import Keeping
from mopd.estimating.sizes import Shapes
from mopd.scoring.packing import pack_by_tokens
from mopd.scoring.rows import Row
from mopd.scoring.scorer import PACKS_WITHOUT_GRADIENT

LINK_SHARE = 0.6
"""Of a link's published rate: assumed, not measured."""

FOLDER = 1e9
"""Bytes a second into and out of the folder through which servers get weights: assumed, of a disk of flash memory."""

NUMBER = 4
"""Bytes of a number: gradients and shares are sent in float32."""


def exchange_seconds(
    config: Config, shapes: Shapes, layout: Layout, device: Device, keeping: Keeping, devices: int
) -> dict[str, float]:
    """Seconds of `exchange`, where several devices of one host share a step, and `push`, where servers sample."""
    found = {} if devices == 1 else {"exchange": _exchange(config, shapes, layout, device, keeping, devices)}
    if isinstance(config.engine, VllmEngineConfig):
        found["push"] = _pushed(shapes, keeping) * (1 + len(config.engine.servers)) / FOLDER
    return found


def _pushed(shapes: Shapes, keeping: Keeping) -> int:
    """Bytes that a server is given: the student in the dtype of products, or an adapter's float32."""
    if keeping.adapter is not None:
        return NUMBER * sum(keeping.adapter)
    return shapes.count * keeping.product_bytes


def _exchange(config: Config, shapes: Shapes, layout: Layout, device: Device, keeping: Keeping, devices: int) -> float:
    updates = config.optimizer.updates_per_step * config.optimizer.minibatches
    whole, layers = sum(keeping.adapter or shapes.parameters), 0
    if keeping.shards > 1:
        whole, layers = shapes.count - sum(shapes.by_layer), sum(shapes.by_layer)
    times = gathered_times(config, layout) + 1  # once for the engine
    moved = NUMBER * (2 * updates * whole + times * layers)
    return moved * (devices - 1) / devices / (LINK_SHARE * device.link)


def gathered_times(config: Config, layout: Layout) -> float:
    """How often all sharded weights pass a link in a step: once for what the teacher reads at once, three times for a
    microbatch of the student (forward, backward, its gradients)."""
    budget = config.compute.microbatch_tokens
    read = _packs(layout.teachers, PACKS_WITHOUT_GRADIENT * budget)
    learnt = config.optimizer.updates_per_step * _packs(layout.students, budget)
    return layout.scale * (read + 3 * learnt)


def _packs(rows: tuple[Row, ...], budget: int) -> int:
    return len(pack_by_tokens([row.token_ids for row in rows], budget)) if rows else 0
