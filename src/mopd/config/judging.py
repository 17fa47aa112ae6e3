"""Verifiers, sandbox and reward functions: read by `judging/`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from mopd.config.table import PositiveFloat, PositiveInt, Table


class VerificationConfig(Table):
    """How graders that need a process of their own are run."""

    workers: PositiveInt = 2
    """Processes that run graders which need one (math, reasoning-gym), and sandboxes that run code at a time."""
    time_limit_s: PositiveFloat = 10.0
    """Wall time of one grader call, in seconds; over it the worker is replaced and the verdict is `error`."""


class SandboxConfig(Table):
    """What a program under test may use; docs/sandbox.md says what it may not do at all."""

    time_limit_s: PositiveFloat = 10.0
    """Processor seconds of one test, where its record does not say; in wall time twice that and one second."""
    memory_mb: PositiveInt = 1024
    """Address space of each process, in MiB."""
    processes: PositiveInt = 16
    """Processes and threads of one sandbox, its own first one included."""
    output_kb: PositiveInt = 1024
    """What a program may print or return in one test, in KiB; more where the right answer is longer."""


class RewardsConfig(Table):
    """Functions of one's own, with the signature of TRL's reward functions, that judge instead of verifiers."""

    functions: list[str | dict[str, Any]] = Field(default_factory=list)
    """Reward functions, each `module:function`, or `{ function = "module:factory", args = { ... } }` for what a factory
    returns. They judge all rollouts, instead of verifiers; none: verifiers do."""
    weights: list[Annotated[float, Field(allow_inf_nan=False)]] | None = None
    """Weight of each function's value in the reward, which is their weighted sum; unset: all 1."""
    form: Literal["messages", "text"] = "messages"
    """What functions get as prompts and completions: lists of messages, or text (a prompt's last user turn)."""
    time_limit_s: PositiveFloat = 60.0
    """Wall time of one call, in seconds; over it the call ends, and all its rollouts are of kind `error`."""
    folder: str | None = None
    """Where modules are looked for besides the current directory and Python's path; unset: beside CONFIG.toml."""

    @model_validator(mode="after")
    def _factories_have_a_name_and_args(self) -> RewardsConfig:
        for entry in self.functions:
            if isinstance(entry, str):
                continue
            is_named, arguments = isinstance(entry.get("function"), str), entry.get("args", {})
            if not is_named or not isinstance(arguments, dict) or not {*entry} <= {"function", "args"}:
                raise ValueError(
                    'an entry of rewards.functions is "module:function" or '
                    f'{{ function = "module:factory", args = {{ ... }} }}, and no {entry!r}'
                )
        return self

    @model_validator(mode="after")
    def _one_weight_each(self) -> RewardsConfig:
        if self.functions and self.weights is not None and len(self.weights) != len(self.functions):
            raise ValueError(
                f"rewards.weights has one weight for each of the {len(self.functions)} reward functions, "
                f"but holds {len(self.weights)}"
            )
        return self
