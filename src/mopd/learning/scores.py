"""A teacher's score of a rollout: the mean log-probability of its own tokens behind a context."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from mopd.core.types import Lesson
from mopd.learning.teacher import Teacher
from mopd.scoring.head import loss_parts


@torch.no_grad()
def mean_logprobs(teacher: Teacher, student: Any, lessons: Sequence[Lesson]) -> list[float]:
    """The mean log-probability of each lesson's own tokens under `teacher` behind its context, in nats a token.

    The head sees own tokens alone; `student` is the model whose vocabulary bounds how many predictions exist at once.
    Lessons of one context and completion are read once, so that equal rollouts have equal scores to the last digit.
    """
    keys = [(lesson.context_ids, lesson.rollout.token_ids, lesson.rollout.is_own) for lesson in lessons]
    unique = dict(zip(keys, lessons, strict=True))
    if not unique:
        return []
    reading = teacher.read(list(unique.values()))
    means: dict[Any, float] = {}
    for number, (key, lesson) in enumerate(unique.items()):
        rollout, of_tokens, total = lesson.rollout, reading([number]), 0.0
        own = [token for token, is_own in zip(rollout.token_ids, rollout.is_own, strict=True) if is_own]
        for part in loss_parts(student, len(own)):
            predictions = of_tokens(range(part.start, part.stop))
            ids = torch.tensor(own[part], device=predictions.logits.device)
            total += float(predictions.of(ids).double().sum())
        means[key] = total / len(own)
    return [means[key] for key in keys]
