"""What a launcher told this process: which one it is, of how many. torchrun and accelerate set the same variables."""

from __future__ import annotations

import os
from dataclasses import dataclass

from mopd.core.errors import RankError

VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Set, all of them, where a launcher started this process."""


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
    try:
        rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        local_rank = int(os.environ.get("LOCAL_RANK", rank))
        local_size = int(os.environ.get("LOCAL_WORLD_SIZE", size))
        port = int(os.environ["MASTER_PORT"])
    except ValueError as error:
        raise _senseless(str(error)) from error
    if port < 1:
        raise _senseless(f"MASTER_PORT={port}, at which nobody can meet")
    if not 0 <= rank < size or not 0 <= local_rank < local_size:
        raise _senseless(f"RANK={rank} of WORLD_SIZE={size}, LOCAL_RANK={local_rank} of LOCAL_WORLD_SIZE={local_size}")
    return Launch(rank, size, local_rank, local_size) if size > 1 else None


def is_first() -> bool:
    """Whether this process is the one that writes the run and speaks: the first, or the only one."""
    own = launched()
    return own is None or own.rank == 0


def _senseless(got: str) -> RankError:
    return RankError(
        "a launcher tells each process its number, below the number of processes",
        got,
        "start with torchrun or accelerate launch, or unset RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT",
    )
