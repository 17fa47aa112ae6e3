"""Checkpoints and trackers: read by `runs/`."""

from __future__ import annotations

from typing import Literal

from mopd.config.table import PositiveInt, Table


class CheckpointConfig(Table):
    """When the run's state is saved."""

    every: PositiveInt = 10
    """Steps between checkpoints; the last step always has one."""
    keep: PositiveInt = 2
    """Checkpoints kept; older ones are removed after a new one is complete."""


class TrackerConfig(Table):
    """Where metrics are sent besides the run directory."""

    kind: Literal["none", "tensorboard", "trackio", "wandb"] = "none"
    """Where metrics are sent besides metrics.jsonl. Each but `none` needs its own package."""
    project: str = "mopd"
    """Project name at the tracker."""
