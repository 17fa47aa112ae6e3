"""How the student attempts problems: read by `models/` (chat) and `rollouts/`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from mopd.config.table import HeldCount, NotTinyFloat, Table


class ChatConfig(Table):
    """How conversations become token ids."""

    options: dict[str, Any] = Field(default_factory=dict)
    """Passed to the student's chat template with prompts and contexts alike, for example `enable_thinking = false`."""


class Sampling(Table):
    """How completions are drawn: one value, handed whole to an engine."""

    temperature: NotTinyFloat = 1.0
    """Softmax temperature of rollouts; the objective divides both distributions' logits by it too."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Nucleus mass kept when sampling rollouts."""
    completion_tokens: HeldCount = 64
    """Longest completion, in tokens, end token included. One cut here is a failure of kind `truncated`."""
