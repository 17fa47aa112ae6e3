"""Blends and mini-batches: each goal is normalised over its own lessons, and every lesson is learnt from once."""

import dataclasses

import pytest
import torch

from mopd.config import build_config
from mopd.learning.work import Work, minibatches
from tests.builders import as_teacher, make_learner
from tests.invariants.test_learner import clock, gradients, make_lessons, model_and_teacher


def mixed_lessons():
    """Lessons with a context, with an advantage, or with both."""
    lessons = make_lessons(9)
    for index in (1, 4, 8):
        lessons[index] = dataclasses.replace(lessons[index], context_ids=None)
    for index in (0, 5):
        lessons[index] = dataclasses.replace(lessons[index], advantage=0.0)
    return lessons


CONTRAST = ["objective.contrast={}", "peers.successes=1", "peers.failures=1"]


@pytest.mark.parametrize("aggregation", ["token_mean", "rollout_mean", "domain_balanced"])
@pytest.mark.parametrize("budget", [1, 60, 100000])
@pytest.mark.parametrize(
    ("teachers", "weight", "share"), [([], ["objective.grpo_weight=0.3"], 0.3), (CONTRAST, [], 0.5)]
)
def test_a_blends_gradient_is_the_weighted_sum_of_both(teachers, weight, share, aggregation, budget):
    lessons = mixed_lessons()
    if teachers:
        lessons = [
            dataclasses.replace(x, failure_context_ids=(*x.prompt_ids, 9) if x.context_ids else None) for x in lessons
        ]
    common = [f"objective.aggregation='{aggregation}'", f"compute.microbatch_tokens={budget}"]
    taught = [lesson for lesson in lessons if lesson.context_ids is not None]
    moved = [lesson for lesson in lessons if lesson.advantage]
    alone = build_config({}, [*common, *teachers, "objective.grpo_weight=0"])
    distill, distill_metrics = gradients(alone, taught)
    grpo, grpo_metrics = gradients(build_config({}, [*common, "objective.kind='grpo'"]), moved)
    blend, metrics = gradients(build_config({}, [*common, *teachers, *weight]), lessons)
    for name, gradient in blend.items():
        expected = (1 - share) * distill[name] + share * grpo[name]
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-7)
    both = (1 - share) * distill_metrics["objective/loss"] + share * grpo_metrics["objective/loss"]
    assert metrics["objective/loss"] == pytest.approx(both, rel=1e-6)


@pytest.mark.parametrize("count", [1, 2, 3, 9, 50])
def test_minibatches_are_whole_groups_and_hold_every_lesson_once(count):
    lessons = [dataclasses.replace(lesson, problem_id=f"p{n // 2}") for n, lesson in enumerate(make_lessons(9))]
    parts = minibatches(lessons, count)
    assert [i for part in parts for i in part] == list(range(9))
    assert len(parts) == min(count, 5)
    problems = [{lessons[i].problem_id for i in part} for part in parts]
    assert sum(len(found) for found in problems) == 5, "no group is in two parts"
    assert max(map(len, problems)) - min(map(len, problems)) <= 1


def test_each_minibatch_has_an_update_on_its_own_objective():
    config = build_config({}, ["optimizer.minibatches=3", "optimizer.warmup_steps=0"])
    lessons, (model, teacher) = make_lessons(), model_and_teacher()
    learner, seen = make_learner(model, config), []
    update = learner.optimizer.update

    def counted(rate, most):
        seen.append({name: p.grad.clone() for name, p in model.named_parameters()})
        return update(rate, most)

    learner.optimizer.update = counted
    metrics = learner.learn(lessons, as_teacher(teacher, config), 0, clock).metrics
    assert len(seen) == metrics["update/count"] == 3
    first = lessons[: len(minibatches(lessons, 3)[0])]
    alone, _ = gradients(build_config({}, ["optimizer.warmup_steps=0"]), first)
    for name, gradient in alone.items():
        torch.testing.assert_close(seen[0][name], gradient, rtol=1e-4, atol=1e-7)


def test_a_teacher_that_stays_reads_each_context_once_a_step():
    config = build_config({}, ["optimizer.minibatches=3", "optimizer.updates_per_step=2"])
    lessons, (model, teacher) = make_lessons(), model_and_teacher()
    lent, read = as_teacher(teacher, config), []
    lent.changes_within_step = False
    reading = lent.read
    lent.read = lambda given: read.extend(given) or reading(given)
    make_learner(model, config).learn(lessons, lent, 0, clock)
    assert sorted(lesson.problem_id for lesson in read) == sorted(lesson.problem_id for lesson in lessons)


def test_a_goal_without_lessons_takes_no_part():
    config = build_config({}, ["objective.grpo_weight=0.5"])
    no_advantage = [dataclasses.replace(lesson, advantage=0.0) for lesson in make_lessons()]
    (part,) = Work(config, no_advantage).parts(0)
    assert [goal.objective.kind for goal in part.goals] == ["distill"]
    assert part.weight(range(len(no_advantage))) == pytest.approx(0.5)


def test_the_probability_of_ending_where_the_student_ended_is_told_of_student_and_teacher():
    config = build_config({}, [])
    lessons = [
        dataclasses.replace(lesson, rollout=dataclasses.replace(lesson.rollout, is_truncated=n % 2 == 0))
        for n, lesson in enumerate(make_lessons())
    ]
    model, teacher = model_and_teacher()
    expected = {"student": [], "teacher": []}
    for lesson in lessons[1::2]:
        if not lesson.rollout.is_own[-1]:
            continue
        for name, one, before in (("student", model, lesson.prompt_ids), ("teacher", teacher, lesson.context_ids)):
            with torch.no_grad():
                logits = one(torch.tensor([(*before, *lesson.rollout.token_ids)])).logits[0, -2]
            expected[name].append(logits.softmax(-1)[lesson.rollout.token_ids[-1]].item())
    metrics = make_learner(model, config).learn(lessons, as_teacher(teacher, config), 0, clock).metrics
    for name, values in expected.items():
        assert values
        assert metrics[f"{name}/end_probability"] == pytest.approx(sum(values) / len(values), rel=1e-4)
