"""Small builders of problems, groups, configurations and lessons for the tests."""

import torch

from mopd.config import LiveTeacher, build_config
from mopd.core.types import Group, Lesson, Problem, Rollout, Verdict
from mopd.learning.learner import Learner
from mopd.learning.teacher import LocalTeacher
from mopd.method.divergence import top_k_support
from mopd.method.lessons import LessonMaker
from mopd.method.predictions import Predictions
from mopd.scoring.scorer import Scorer

UNMEASURED = ("preflight.action='off'", "peers.recipe='fixed'", "lessons.pause=false")
"""Overrides for a run of a student that need not read peers: nothing is measured before its first step, the recipe is
as configured, and a teacher that is worse than the student teaches on."""


def make_rollout(index=0, text="12", *, is_own=None, is_truncated=False):
    """A rollout of one token a character, all of them its own unless `is_own` says otherwise."""
    own = (True,) * max(1, len(text)) if is_own is None else tuple(is_own)
    return Rollout(index, tuple(range(8, 8 + len(own))), own, (-1.0,) * len(own), text, is_truncated)


def make_group(texts, rewards=None, *, kinds=None, problem="21", problem_id="p", domain="d", step=0, feedback=()):
    """A verified group: successes are reward 1 or kind `correct`; a rollout of kind `truncated` is truncated."""
    kinds = kinds or ["correct" if reward >= 1 else "wrong" for reward in rewards]
    rewards = [float(kind == "correct") for kind in kinds] if rewards is None else rewards
    feedback = [*feedback, *[""] * (len(texts) - len(feedback))]
    rollouts = [
        make_rollout(i, t, is_truncated=k == "truncated") for i, (t, k) in enumerate(zip(texts, kinds, strict=True))
    ]
    verdicts = [Verdict(float(r), k, None, f) for r, k, f in zip(rewards, kinds, feedback, strict=True)]
    asked = Problem(problem_id, ({"role": "user", "content": problem},), None, "exact", domain)
    return Group(step, asked, (1, 10, 9, 3), tuple(rollouts), tuple(verdicts))


def make_lesson(own_tokens=3, *, other_tokens=0, domain="d", advantage=0.0):
    """A lesson with `own_tokens` tokens of the student and `other_tokens` of a tool."""
    rollout = make_rollout(is_own=[True] * own_tokens + [False] * other_tokens)
    return Lesson("p", domain, rollout, (1, 10, 9, 3), None, advantage)


def make_config(*overrides):
    """A configuration of defaults and `key=value` overrides."""
    return build_config({}, overrides)


def support_of(student_logprobs, teacher_logprobs, *args, **options):
    """`top_k_support` of log-probabilities [..., V], whatever their leading shape."""
    sides = [Predictions(side.reshape(-1, side.shape[-1])) for side in (student_logprobs, teacher_logprobs)]
    return [side.reshape(*student_logprobs.shape[:-1], -1) for side in top_k_support(*sides, *args, **options)]


def make_scorer(config, dtype=torch.float32):
    """As a run has it."""
    return Scorer.of(config.compute, dtype)


def make_learner(model, config, dtype=torch.float32):
    return Learner(model, config, make_scorer(config, dtype))


def make_teacher(model, config, dtype=torch.float32):
    """The teacher that `config` says, of `model` as the student."""
    return LocalTeacher(model, config.teacher, make_scorer(config, dtype), config.sampling.temperature)


def as_teacher(model, config, dtype=torch.float32):
    """A model of its own as the teacher."""
    return LocalTeacher(model, LiveTeacher(), make_scorer(config, dtype), config.sampling.temperature)


def make_maker(config, student):
    return LessonMaker(config, student.tokenizer.encode_prompt, student.template)
