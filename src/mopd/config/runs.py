"""Checkpoints and trackers, read by `runs/`; alarms and the processes of a run, read by `training/`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mopd.config.table import LARGEST, PositiveFloat, PositiveInt, Table


class CheckpointConfig(Table):
    """When the run's state is saved."""

    every: PositiveInt = 10
    """Steps between checkpoints; the last step always has one."""
    keep: PositiveInt = 2
    """Checkpoints kept; older ones are removed after a new one is complete."""
    keep_best: bool = False
    """Save a checkpoint with every evaluation, too, and keep the one whose held-out mean is best beside the newest.
    `best_checkpoint` in summary.json names it."""


class AlarmsConfig(Table):
    """What is done about a run in which something goes wrong. Each alarm is a line of alarms.jsonl."""

    action: Literal["stop", "warn", "anneal", "fall_back", "off"] = "stop"
    """About an alarm that tells of a student that is being destroyed. `stop` ends the run at its last good checkpoint,
    with exit code 1; `warn` says so and goes on, as of every other alarm; `anneal` goes on with a lower learning rate;
    `fall_back` goes on from the last checkpoint before, with a lower learning rate, and stops at the fourth time."""
    rate_share: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """What `anneal` and `fall_back` leave of the learning rate, each time."""
    success_loss: Annotated[float, Field(gt=0, le=1)] = 0.4
    """Share of the success that is lost when the alarm goes off, of a step's rollouts or of held-out problems."""
    truncated_growth: Annotated[float, Field(ge=1, le=LARGEST)] = 3.0
    """How many times as many rollouts are cut at the limit when the alarm goes off."""
    logprob_gap_nats: PositiveFloat = 0.2
    """The mean distance between the sampler's log-probabilities and the learner's, over a step's tokens, when the alarm
    goes off: importance weights correct small differences, not other weights or another temperature."""


class TrackerConfig(Table):
    """Where metrics are sent besides the run directory."""

    kind: Literal["none", "tensorboard", "trackio", "wandb"] = "none"
    """Where metrics are sent besides metrics.jsonl. Each but `none` needs its own package."""
    project: str = "mopd"
    """Project name at the tracker."""


class ParallelConfig(Table):
    """How a run is computed by several processes, which torchrun or accelerate starts; one process ignores it."""

    strategy: Literal["ddp", "fsdp"] = "ddp"
    """`ddp`: each process holds the whole student, teacher and optimiser. `fsdp`: each holds a share of every decoder
    layer's, and gathers a layer's weights when it computes it. Both learn the same."""
    timeout_s: Annotated[float, Field(ge=1, le=10**6)] = 1800.0
    """Seconds that a process waits for the others. One that has ended is noticed at once; this is for hosts that do not
    answer, and must be longer than processes are apart: sampling, or the tests of programs."""
