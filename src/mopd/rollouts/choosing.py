"""Which engine a run has."""

from __future__ import annotations

from mopd.config import Config
from mopd.models.student import Student
from mopd.rollouts.engine import Engine
from mopd.rollouts.local import LocalEngine


def open_engine(config: Config, student: Student) -> Engine:
    """The engine of a run, synchronised with its student."""
    return LocalEngine(student, config.compute.sampling_rows)
