"""Seconds that devices spend on telling each other: gradients, gathered weights, and weights for a server.

A ring of N devices moves (N-1)/N of the bytes over each link to gather a tensor, as many to add up and scatter one, and
twice as many to give all of them its sum. Nothing is taken to be hidden behind computing, so these are upper bounds.
"""

from __future__ import annotations

from mopd.config import Config
from mopd.estimating.devices import Device
from mopd.estimating.layout import Layout
from mopd.estimating.plan import Keeping
from mopd.estimating.sizes import Shapes
from mopd.scoring.packing import pack_by_tokens
from mopd.scoring.rows import Row
from mopd.scoring.scorer import PACKS_WITHOUT_GRADIENT

LINK_SHARE = 0.6
"""Of a link's published rate: assumed, not measured."""

NUMBER = 4
"""Bytes of a number: gradients and shares are sent in float32."""


def exchange_seconds(
    config: Config, shapes: Shapes, layout: Layout, device: Device, keeping: Keeping, devices: int
) -> dict[str, float]:
    """Seconds of `exchange` in a step on some devices of one host; none on one device."""
    if devices == 1:
        return {}
    updates = config.optimizer.updates_per_step * config.optimizer.minibatches
    whole, layers = sum(keeping.adapter or shapes.parameters), 0
    if keeping.shards > 1:
        whole, layers = shapes.count - sum(shapes.by_layer), sum(shapes.by_layer)
    times = 1 + gathered_times(config, layout)  # once for the engine
    moved = NUMBER * (2 * updates * whole + times * layers)
    return {"exchange": moved * (devices - 1) / devices / (LINK_SHARE * device.link)}


def gathered_times(config: Config, layout: Layout) -> float:
    """How often all sharded weights pass a link in a step: once for what the teacher reads at once, three times for a
    microbatch of the student (forward, backward, its gradients)."""
    budget = config.compute.microbatch_tokens
    read = _packs(layout.teachers, PACKS_WITHOUT_GRADIENT * budget)
    learnt = config.optimizer.updates_per_step * _packs(layout.students, budget)
    return layout.scale * (read + 3 * learnt)


def _packs(rows: tuple[Row, ...], budget: int) -> int:
    return len(pack_by_tokens([row.token_ids for row in rows], budget)) if rows else 0
