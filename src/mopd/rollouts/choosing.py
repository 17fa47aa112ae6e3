"""Which engine a run has."""

from __future__ import annotations

from mopd.config import Config
from mopd.models.student import Student
from mopd.parallel.ranks import ONE, Ranks
from mopd.rollouts.engine import Engine
from mopd.rollouts.local import LocalEngine
from mopd.rollouts.shared import SharedEngine


def open_engine(config: Config, student: Student, ranks: Ranks = ONE) -> Engine:
    """The engine of a run, synchronised with its student; of several processes each samples a share."""
    is_split = ranks.size > 1 and config.parallel.strategy == "fsdp"
    engine = LocalEngine(student, config.compute.sampling_rows, keeps_copy=is_split)
    return engine if ranks.size == 1 else SharedEngine(engine, ranks)
