"""Errors a user can cause. Each says what happened, what must hold, and what to do."""

from __future__ import annotations

from typing import ClassVar


class MopdError(Exception):
    """Base of all errors that a user can cause and mend. The command line ends with `exit_status`.

    `must` is the law that was broken, `got` what happened instead, `do` the remedy. `got` is read first: it stands
    alone.
    """

    exit_status: ClassVar[int] = 2

    def __init__(self, must: str, got: str, do: str) -> None:
        self.must, self.got, self.do = must, got, do
        super().__init__(f"{got}\n  must hold:  {must}\n  what to do: {do}")

    def __reduce__(self) -> tuple[type[MopdError], tuple[str, str, str]]:
        """As it is sent to another process."""
        return type(self), (self.must, self.got, self.do)


class ConfigError(MopdError):
    """A configuration that is misspelt, malformed or contradicts itself."""


class ProblemError(MopdError):
    """A problem source that is missing, malformed, or does not suit the student."""


class StudentError(MopdError):
    """A model or tokenizer that cannot serve as the student."""


class AdapterError(MopdError):
    """An adapter that cannot be used: of another kind, for another base, or without its base."""


class VerifierError(MopdError):
    """A verifier that does not exist or is refused."""


class CheckpointError(MopdError):
    """A checkpoint that cannot be written or read."""


class RunError(MopdError):
    """A run directory that cannot be begun or continued."""


class VerdictError(MopdError):
    """A run in which no verdict comes, since every grader or reward function fails."""

    exit_status = 1


class PreflightError(MopdError):
    """Problems, contexts or peers from which this student cannot learn, found before the first step."""

    exit_status = 1


class OutOfMemoryError(MopdError):
    """Memory that did not suffice for a part of a run."""

    exit_status = 1


class ServerError(MopdError):
    """Servers that do not answer, or are not what a run needs."""

    exit_status = 1


class AlarmError(MopdError):
    """A run that was being destroyed, and was stopped."""

    exit_status = 1


class DivergenceError(MopdError):
    """A model whose numbers are not finite: weights after an update, or what it predicts."""

    exit_status = 1


class RankError(MopdError):
    """A run of several processes that cannot meet, has lost one, or in which they differ."""

    exit_status = 1
