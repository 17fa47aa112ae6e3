"""What a launcher told this process: which one it is, of how many. torchrun and accelerate set the same variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from mopd.core.errors import RankError

VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Set, all of them, where a launcher started this process."""


LOCAL = ("LOCAL_RANK", "LOCAL_WORLD_SIZE")
"""The same among the processes of one host."""


@dataclass(frozen=True, slots=True)
class Launch:
    """This process's number among all, and among those of its host, from 0; and how many there are of both."""

    rank: int
    size: int
    local_rank: int
    local_size: int


def launched() -> Launch | None:
    """What the launcher said; None for a process that was started by itself. Raises RankError where it makes no sense.

    One process of a launcher is one that was started by itself.
    """
    if not all(name in os.environ for name in VARIABLES):
        return None
    said = {name: os.environ[name] for name in (*VARIABLES, *LOCAL) if name in os.environ and name != "MASTER_ADDR"}
    try:
        numbers = {name: int(text) for name, text in said.items()}
    except ValueError as error:
        raise _senseless(said) from error
    rank, size = numbers["RANK"], numbers["WORLD_SIZE"]
    local_rank, local_size = numbers.get("LOCAL_RANK", rank), numbers.get("LOCAL_WORLD_SIZE", size)
    if not (0 <= rank < size and 0 <= local_rank < local_size <= size and 0 < numbers["MASTER_PORT"] < 2**16):
        raise _senseless(said)
    return Launch(rank, size, local_rank, local_size) if size > 1 else None


def is_first() -> bool:
    """Whether this process is the one that writes the run and speaks: the first, or the only one."""
    own = launched()
    return own is None or own.rank == 0


def _senseless(said: Mapping[str, str]) -> RankError:
    return RankError(
        "a launcher tells each process its number, below the number of processes, and a port to meet at",
        ", ".join(f"{name}={text}" for name, text in said.items()),
        "start with torchrun or accelerate launch, or unset RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT",
    )
