"""The supervised stage before step 0: read by `warmup/`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mopd.config.table import BatchCount, LearningRate, NonNegativeInt, PositiveInt, Share, Table


class DemonstratorWarmup(Table):
    """For embedded students: a noisy demonstrator's answers, on bare prompts and behind contexts, in one stage."""

    kind: Literal["demonstrator"] = "demonstrator"
    steps: PositiveInt
    """Supervised updates."""
    batch_size: BatchCount = 64
    """Demonstrations in one update."""
    learning_rate: LearningRate = 3e-3
    """Peak learning rate; linear warm-up over the first 5 % of the steps, then a cosine to 5 % of the peak."""
    demonstrator_error: Share = 0.15
    """Share of demonstrations without a useful context in which the demonstrator's answer is corrupted."""
    context_share: Share = 0.5
    """Share of demonstrations that begin with a context of peers instead of the bare prompt."""
    unrelated_share: Share = 0.15
    """Share of those contexts with another problem's peers; the demonstrator then errs as without a context."""


class SolutionsWarmup(Table):
    """For pretrained students: worked solutions, then solutions behind contexts of the student's own rollouts."""

    kind: Literal["solutions"] = "solutions"
    steps: PositiveInt
    """Supervised updates on bare prompts. The target is the column `solution`, else the answer in the task's format."""
    context_steps: NonNegativeInt = 0
    """Further updates in which a share of prompts is a context of peers, so that the student learns to read them."""
    batch_size: BatchCount = 16
    """Demonstrations in one update."""
    learning_rate: LearningRate = 2e-4
    """Peak learning rate of each stage; linear warm-up over its first 5 %, then a cosine to 5 % of the peak."""
    problems: PositiveInt = 1024
    """Training problems whose solutions are shown on bare prompts; a fixed, seeded part where there are more."""
    context_problems: PositiveInt = 128
    """Other training problems (where there are enough), attempted between the stages; their rollouts are the peers of
    the second. With few problems the student learns their solutions by heart, and not to read."""
    context_rollouts: BatchCount = 4
    """Attempts at each of them."""
    context_share: Share = 0.75
    """Share of prompts in the second stage that are contexts."""
    unrelated_share: Share = 0.15
    """Share of those contexts whose peers belong to another problem."""
    order: Literal["failures_first", "successes_first", "shuffled"] = "shuffled"
    """Order of blocks in those contexts. `shuffled` teaches to read headings, wherever a block stands; the order of
    `context.order` is learnt in fewer updates, by where a block stands."""


WarmupConfig = Annotated[DemonstratorWarmup | SolutionsWarmup, Field(discriminator="kind")]
