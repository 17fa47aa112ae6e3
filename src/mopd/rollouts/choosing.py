"""Which engine a run has."""

from __future__ import annotations

from mopd.config import Config
from mopd.models.student import Reader, Student
from mopd.rollouts.engine import Engine
from mopd.rollouts.local import LocalEngine
from mopd.rollouts.served import ServedEngine, ServedTeacherEngine


def open_engine(config: Config, student: Student) -> Engine:
    """The engine of a run, synchronised with its student, whose window is then no longer than that of servers.

    Raises ConfigError or ServerError.
    """
    if config.engine.kind == "local":
        return open_local_engine(config, student)
    engine = ServedEngine(config.engine, student, config.compute)
    if engine.window < student.window:
        student.window_note = f" (of {student.window}: that of the servers of [engine] is shorter)"
        student.window = engine.window
    return engine


def open_local_engine(config: Config, model: Student) -> LocalEngine:
    """An engine in this process: an external teacher's, whichever engine the student has."""
    return LocalEngine(model, config.compute.sampling_rows)


def open_teacher_engine(config: Config, student: Student) -> tuple[Engine, Reader] | None:
    """The engine that writes by a served teacher, and how that reads: as the student, within the servers' window.

    None where the teacher is not served. Raises ConfigError or ServerError.
    """
    if config.served_teacher is None:
        return None
    engine = ServedTeacherEngine(config.served_teacher, student, config.compute.sampling_rows)
    reader = Reader(student.tokenizer, student.template, engine.window, "")
    return engine, reader
