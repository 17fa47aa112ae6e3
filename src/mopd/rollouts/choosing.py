"""Which engine a run has."""

from __future__ import annotations

from mopd.config import Config, LocalEngineConfig
from mopd.models.student import Reader, Student
from mopd.parallel.ranks import ONE, Ranks
from mopd.rollouts.engine import Engine
from mopd.rollouts.led import LedEngine
from mopd.rollouts.local import LocalEngine
from mopd.rollouts.served import ServedEngine, ServedTeacherEngine
from mopd.rollouts.shared import shared_engine


def open_engine(config: Config, student: Student, ranks: Ranks = ONE) -> Engine:
    """The engine of a run, synchronised with its student, whose window is then no longer than that of servers. In each
    of several processes it gives the rollouts of all.

    Raises ConfigError or ServerError.
    """
    if isinstance(config.engine, LocalEngineConfig):
        return open_local_engine(config, student, ranks)
    asked = config.engine
    opened = ranks.only_first(lambda: ServedEngine(asked, student, config.compute))
    engine = opened if opened is not None and ranks.size == 1 else LedEngine(opened, ranks)
    if engine.window < student.window:
        student.window_note = f" (of {student.window}: that of the servers of [engine] is shorter)"
        student.window = engine.window
    return engine


def open_local_engine(config: Config, model: Student, ranks: Ranks = ONE) -> Engine:
    """An engine in this process: an external teacher's, whichever engine the student has."""
    is_split = ranks.size > 1 and config.parallel.strategy == "fsdp"
    return shared_engine(LocalEngine(model, config.compute.sampling_rows, keeps_copy=is_split), ranks)


def open_teacher_engine(config: Config, student: Student, ranks: Ranks = ONE) -> tuple[Engine, Reader] | None:
    """The engine that writes by a served teacher, and how that reads: as the student, within the servers' window.

    None where the teacher is not served. Raises ConfigError or ServerError.
    """
    if config.served_teacher is None:
        return None
    engine = ServedTeacherEngine(config.served_teacher, student, config.compute.sampling_rows)
    reader = Reader(student.tokenizer, student.template, engine.window, "")
    return shared_engine(engine, ranks), reader
