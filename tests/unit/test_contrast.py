"""Contrast of teachers: style cancels, what a success alone shows is raised, and implausible tokens never win."""

import dataclasses

import pytest
import torch

from mopd.config import ContrastConfig, build_config
from mopd.core.errors import ConfigError
from mopd.learning.alike import loss_tokens
from mopd.learning.work import Work
from mopd.method.contrast import contrast_target, with_evidence
from mopd.method.predictions import Predictions
from mopd.method.recipes import Recipe
from mopd.models.student import load_student
from tests.builders import as_teacher, make_group, make_learner, make_maker
from tests.invariants.test_learner import clock, gradients, make_lessons, model_and_teacher

EVERY = torch.tensor([True])


def target(student, success, failure, rows=EVERY, **options):
    sides = [Predictions(torch.tensor(side, dtype=torch.float64).log()) for side in (student, success, failure)]
    return contrast_target(*sides, rows, ContrastConfig(**options)).whole().exp()


def test_what_both_contexts_do_cancels():
    student = [[0.5, 0.3, 0.2]]
    style = [[0.2, 0.2, 0.6]]  # both teachers are drawn to the last token alike
    torch.testing.assert_close(target(student, style, style, alpha=1e-9), torch.tensor(student, dtype=torch.float64))


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_it_is_the_students_distribution_times_a_power_of_the_ratio(beta):
    student, success, failure = [[0.5, 0.3, 0.2]], [[0.3, 0.6, 0.1]], [[0.4, 0.2, 0.4]]
    raw = torch.tensor([s * (t / f) ** beta for s, t, f in zip(student[0], success[0], failure[0], strict=True)])
    found = target(student, success, failure, beta=beta, alpha=1e-9)
    torch.testing.assert_close(found[0], (raw / raw.sum()).double(), rtol=1e-6, atol=1e-9)
    anchored = target(student, success, failure, beta=beta, alpha=1e-9, anchor="success")
    raw = torch.tensor([t * (t / f) ** beta for t, f in zip(success[0], failure[0], strict=True)])
    torch.testing.assert_close(anchored[0], (raw / raw.sum()).double(), rtol=1e-6, atol=1e-9)


def test_a_token_that_neither_student_nor_success_finds_likely_has_no_probability():
    student, success, failure = [[0.9, 0.099999, 1e-6]], [[0.8, 0.199999, 1e-6]], [[0.5, 0.5 - 1e-30, 1e-30]]
    assert target(student, success, failure, beta=1.0)[0, 2] == 0
    assert target(student, success, failure, beta=1.0, alpha=1e-12)[0, 2] > 0.99


def test_rows_without_a_failure_have_the_success_alone():
    student, success = [[0.5, 0.5], [0.5, 0.5]], [[0.9, 0.1], [0.7, 0.3]]
    found = target(student, success, [[0.2, 0.8]], torch.tensor([False, True]))
    torch.testing.assert_close(found[0], torch.tensor([0.9, 0.1], dtype=torch.float64))
    assert found[1, 0] > 0.7


def test_both_contexts_differ_in_the_peer_alone_and_share_their_beginning():
    student = load_student("builtin:digits", 0)
    config = build_config({}, ["objective.contrast={}", "peers.successes=1", "peers.failures=1"])
    group = make_group(["12", "21", "22", "11"], [1, 0, 0, 1], problem="21")
    records = [make_maker(config, student).make_one(group, index, [group]) for index in range(4)]
    for record in records:
        success, failure = record.lesson.context_ids, record.lesson.failure_context_ids
        assert len(success) == len(failure)
        different = [a != b for a, b in zip(success, failure, strict=True)]
        assert 1 <= sum(different) <= 2, "two digits of the peer"
        assert record.failure_context.token_ids == failure
        assert [(block.kind, block.text) for block in record.shown] == [
            ("success", record.peers.success_texts[0]),
            ("failure", record.peers.failure_texts[0]),
        ]


def test_a_group_without_a_failure_has_no_second_context_and_one_without_a_success_no_lesson():
    student = load_student("builtin:digits", 0)
    config = build_config({}, ["objective.contrast={}", "peers.successes=1", "peers.failures=1"])
    good, bad = make_group(["12", "21"], [1, 1]), make_group(["12", "21"], [0, 0])
    assert make_maker(config, student).make_one(good, 0, [good]).lesson.failure_context_ids is None
    assert make_maker(config, student).make_one(bad, 0, [bad]).reason == "no_success"


def test_what_either_context_cuts_or_leaves_out_is_counted():
    student = load_student("builtin:digits", 0)
    group = make_group(["1" * 20, "2" * 8, "3" * 20, "4" * 20], [1, 1, 0, 0], problem="21")
    settings = ["objective.contrast={}", "peers.successes=1", "peers.failures=1", "peers.policy='first'"]

    def record(index, *more):
        return make_maker(build_config({}, [*settings, *more]), student).make_one(group, index, [group])

    whole = record(0)  # its peers are the short success and a long failure
    assert (whole.context.shortened_count, whole.failure_context.shortened_count) == (0, 0)
    tokens = f"context.tokens={whole.context.token_count + 2}"
    cut = record(0, tokens)
    assert cut.failure_context.shortened_count == cut.context.shortened_count == 1
    left_out = record(0, tokens, "context.over_budget='drop'")
    assert left_out.lesson.failure_context_ids is None
    assert left_out.failure_context is None
    assert left_out.context.dropped_count == 1


@pytest.mark.parametrize("budget", [1, 100000])
def test_the_learner_moves_toward_the_contrast_of_what_the_teacher_reads_in_both_contexts(budget):
    settings = ["objective.contrast={beta=0.7}", "objective.grpo_weight=0", *ADVANTAGE[:2]]
    config = build_config({}, [*settings, f"compute.microbatch_tokens={budget}", "optimizer.warmup_steps=0"])
    lessons = [
        dataclasses.replace(lesson, failure_context_ids=(*lesson.prompt_ids, 9) if n % 3 else None)
        for n, lesson in enumerate(make_lessons(8))
    ]
    model, teacher = model_and_teacher()
    lent = as_teacher(teacher, config)
    (part,) = Work(config, lessons).parts(0)
    part.read(lent)
    for index, lesson in enumerate(lessons):
        tokens = [(token,) for token in loss_tokens(index, lesson)]
        own = [j for j, counts in enumerate(lesson.rollout.is_own) if counts]

        def predicted(model, before, lesson=lesson, own=own):
            ids = torch.tensor([(*before, *lesson.rollout.token_ids)])
            with torch.no_grad():
                return Predictions(model(ids).logits[0, [len(before) - 1 + j for j in own]])

        student, success = predicted(model, lesson.prompt_ids), predicted(teacher, lesson.context_ids)
        wanted = success
        if lesson.failure_context_ids:
            failure = predicted(teacher, lesson.failure_context_ids)
            every = torch.ones(len(own), dtype=torch.bool)
            wanted = contrast_target(student, success, failure, every, config.objective.contrast)
        found = part.teacher_of(tokens)(slice(0, len(tokens)), student)
        torch.testing.assert_close(found.whole().exp(), wanted.whole().exp(), rtol=1e-4, atol=1e-6)
    metrics = make_learner(model, config).learn(lessons, lent, 0, clock).metrics
    assert metrics["objective/loss"] > 0
    assert metrics["update/count"] == 1


@pytest.mark.parametrize(
    "settings",
    [
        ["peers.successes=2", "peers.failures=1"],
        ["peers.successes=1", "peers.failures=0"],
        ["peers.successes=1", "peers.failures=1", "divergence.kind='reverse_kl'"],
    ],
)
def test_what_a_contrast_cannot_be_is_refused(settings):
    with pytest.raises(ConfigError, match=r"contrast"):
        build_config({}, ["objective.contrast={}", *settings])


@pytest.mark.parametrize("advantage", [-1.0, -0.3, -0.05, 0.0, 0.05, 0.3, 1.0])
@pytest.mark.parametrize("evidence", [-40.0, -0.5, -0.006, -0.001, 0.0, 0.001, 0.006, 0.5, 40.0])
def test_evidence_moves_an_advantage_by_a_tenth_at_most_and_never_over_zero(advantage, evidence):
    found = with_evidence(advantage, evidence)
    assert found * advantage >= 0
    assert (found == 0) or (advantage != 0)
    assert abs(found - advantage) <= 0.1 + 1e-12
    assert (found - advantage) * evidence >= 0
    if abs(evidence) < 0.006:  # .1 tanh(.006 / .03) is just below .02
        assert found == advantage


def contrasted_lessons(advantages):
    lessons = make_lessons(len(advantages))
    return [
        dataclasses.replace(
            lesson,
            advantage=advantage,
            failure_context_ids=(*lesson.context_ids[:-1], lesson.context_ids[-1] % 9 + 4) if n % 3 else None,
        )
        for n, (lesson, advantage) in enumerate(zip(lessons, advantages, strict=True))
    ]


ADVANTAGE = ("peers.successes=1", "peers.failures=1", "objective.contrast={ form = 'advantage' }")


def test_the_advantage_form_is_grpo_with_other_advantages_where_evidence_speaks():
    lessons = contrasted_lessons([0.5, -0.5, 0.25, -0.25, 0.5, -0.5])
    shaped, metrics = gradients(build_config({}, ADVANTAGE), lessons)
    assert metrics["contrast/evidence_nats"] > 0
    plain, _ = gradients(build_config({}, ["objective.kind='grpo'"]), lessons)
    assert any(not torch.allclose(shaped[name], plain[name]) for name in plain)
    without = [dataclasses.replace(lesson, failure_context_ids=None) for lesson in lessons]
    same, metrics = gradients(build_config({}, ADVANTAGE), without)
    assert "contrast/evidence_nats" not in metrics
    for name, gradient in plain.items():
        torch.testing.assert_close(same[name], gradient)


def test_the_advantage_form_teaches_whatever_has_an_advantage():
    student = load_student("builtin:digits", 0)
    config = build_config({}, list(ADVANTAGE))
    group = make_group(["12", "21", "22", "11"], [1, 0, 0, 0], problem="21")
    records = [make_maker(config, student).make_one(group, index, [group]) for index in range(4)]
    assert [record.lesson.advantage for record in records] == [0.75, -0.25, -0.25, -0.25]
    assert records[0].lesson.context_ids is None  # a lone success has no other success to show
    assert all(record.lesson.failure_context_ids is not None for record in records[1:])
    alike = make_group(["12", "21"], [1, 1], problem="21")
    assert make_maker(config, student).make_one(alike, 0, [alike]).reason == "no_advantage"


WARMED = "warmup={ kind = 'demonstrator', steps = 5 }"


@pytest.mark.parametrize(
    ("settings", "share"),
    [
        ([], 0.0),
        (["objective.kind='grpo'"], 0.0),
        (["objective.contrast={}", *ADVANTAGE[:2]], 0.5),
        (["objective.contrast={}", WARMED, *ADVANTAGE[:2]], 0.0),
        (["objective.contrast={}", WARMED, "objective.grpo_weight=0.3", *ADVANTAGE[:2]], 0.3),
        (["objective.contrast={}", "objective.grpo_weight=0", *ADVANTAGE[:2]], 0.0),
        (["objective.contrast={}", "objective.grpo_weight=0.9", *ADVANTAGE[:2]], 0.9),
        (list(ADVANTAGE), 0.0),
    ],
)
def test_half_of_the_objective_is_grpos_under_a_contrast_without_a_warm_up_unless_it_is_told_otherwise(settings, share):
    assert build_config({}, settings).grpo_share == share


@pytest.mark.parametrize(("settings", "share"), [([], 0.5), ([WARMED], 0.0)])
def test_a_contrast_that_a_run_finds_is_blended_as_one_that_is_configured(settings, share):
    found = Recipe(1, 1, "failures_first", contrast=True).applied(build_config({}, settings))
    assert found.grpo_share == share


def test_a_rollout_that_no_teacher_can_teach_is_still_told_whether_it_was_right():
    config = build_config({}, ["objective.contrast={}", *ADVANTAGE[:2]])
    group = make_group(["12", "21", "22"], [0, 1, 0], problem="21")
    lone = make_maker(config, load_student("builtin:digits", 0)).make_one(group, 1, [group])
    assert (lone.lesson.context_ids, lone.reason) == (None, "no_success")
    assert lone.lesson.advantage == pytest.approx(2 / 3)


def test_keys_of_the_other_form_are_refused():
    with pytest.raises(ConfigError, match="beta, alpha and anchor belong to"):
        build_config({}, [*ADVANTAGE[:2], "objective.contrast={ form = 'advantage', beta = 1 }"])
    with pytest.raises(ConfigError, match="is GRPO already"):
        build_config({}, [*ADVANTAGE, "objective.grpo_weight=0.5"])
