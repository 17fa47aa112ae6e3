"""Student and teacher split over the ranks of a run, where its configuration says so."""

from __future__ import annotations

from typing import Any

from mopd.config import ParallelConfig
from mopd.learning.teacher import Teacher
from mopd.parallel.ranks import Ranks
from mopd.parallel.sharded import shard
from mopd.scoring.attention import decoder_layers, inner_decoder


def split_over_ranks(student_model: Any, teacher: Teacher | None, parallel: ParallelConfig, ranks: Ranks) -> None:
    """Split the student, and a teacher that has weights of its own in the same way, before there is an optimiser.

    A teacher can then follow its student share by share. An external teacher stays whole.
    """
    if ranks.size == 1 or parallel.strategy != "fsdp":
        return
    for model in [student_model] + ([teacher.model] if teacher is not None and teacher.has_own_weights else []):
        shard(model, inner_decoder(model), decoder_layers(model), ranks)
