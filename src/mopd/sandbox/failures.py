"""How a sandbox fails: before a program was in it, or with one in it."""

from __future__ import annotations


class SandboxFailure(Exception):
    """A sandbox did not start: no fault of a program, none of which had been sent."""


class Ended(Exception):
    """A sandbox ended, or was ended, while a program was in it. `reason` is `died`, `time` or `output`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
