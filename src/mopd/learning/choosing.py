"""Which teacher a run has."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from mopd.config import Config
from mopd.learning.served_teacher import TeacherOnServers
from mopd.learning.teacher import LocalTeacher, Teacher
from mopd.parallel.ranks import ONE, Ranks
from mopd.scoring.scorer import Scorer


def open_teacher(
    config: Config, model: Any, known: Collection[int], scorer: Scorer, ranks: Ranks = ONE
) -> Teacher | None:
    """The teacher of a run, None where its objective has none. It begins as `model`, the student or an external teacher
    in this process; a served one tells of the ids that are `known` to the student."""
    if config.objective.kind != "distill":
        return None
    if config.served_teacher is not None:
        return TeacherOnServers(config.served_teacher, config, known, next(model.parameters()).device, ranks)
    temperature, kept = config.sampling.temperature, config.compute.teacher
    return LocalTeacher(model, config.teacher, scorer, temperature, kept, config.seed)
