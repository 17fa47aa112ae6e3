"""What one program may use of this machine, and this process's setting of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What one program may use: seconds (where its tests do not say), bytes, and processes with threads."""

    time_s: float = 10.0
    memory_bytes: int = 2**30
    processes: int = 16
    output_bytes: int = 2**20


def wall_s(time_s: float) -> float:
    """Wall time for a program that may use `time_s` of the processor's: other programs run beside it."""
    return 2 * time_s + 1


_limits = Limits()


def configure(limits: Limits) -> None:
    """Set the limits of this process's sandboxes."""
    global _limits
    _limits = limits


def limits() -> Limits:
    """The limits of this process's sandboxes."""
    return _limits
