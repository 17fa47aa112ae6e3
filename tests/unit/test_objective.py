"""Objectives by hand: coefficients, GRPO's clips, importance weights, advantages."""

import math

import pytest
import torch

from mopd.config import DistillObjective, GrpoObjective, SftObjective
from mopd.method.objective import TokenBatch, group_advantages, sampler_weights, token_coefficients, token_losses
from mopd.method.predictions import Predictions
from tests.builders import make_config, make_group, make_lesson

AGGREGATIONS = ["token_mean", "rollout_mean", "domain_balanced"]
LN2 = math.log(2)


def batch(student, first=None, sampler=None, advantages=None, teacher=None, ids=None):
    """Tokens over a vocabulary of two from the probability of token 0, which is the sampled one unless told."""
    p = torch.tensor(student, dtype=torch.float64)
    logprobs = torch.stack([p, 1 - p], dim=-1).log().requires_grad_()
    ids = torch.zeros(len(p), dtype=torch.long) if ids is None else torch.tensor(ids)
    sampled = logprobs.detach().gather(-1, ids[:, None]).squeeze(-1)
    first = sampled.clone() if first is None else torch.tensor(first, dtype=torch.float64).log()
    sampler = first if sampler is None else torch.tensor(sampler, dtype=torch.float64).log()
    advantages = torch.tensor(advantages or [0.0] * len(p), dtype=torch.float64)
    if teacher is not None:
        t = torch.tensor(teacher, dtype=torch.float64)
        teacher = Predictions(torch.stack([t, 1 - t], dim=-1).log())
    return TokenBatch(
        student=Predictions(logprobs),
        token_ids=ids,
        logprobs=sampled.requires_grad_(),
        sampler_logprobs=sampler,
        old_logprobs=first,
        advantages=advantages,
        teacher=teacher,
    )


def losses(tokens, *overrides):
    return token_losses(tokens, make_config(*overrides)).tolist()


def gradients(tokens, *overrides):
    """Gradient of the summed losses in each sampled token's log-probability; of a divergence, in its logit."""
    token_losses(tokens, make_config(*overrides)).sum().backward()
    found = tokens.logprobs.grad
    return (
        (tokens.student.logits.grad.gather(-1, tokens.token_ids[:, None]) if found is None else found).view(-1).tolist()
    )


LESSONS = [
    make_lesson(2, domain="math"),
    make_lesson(6, domain="math"),
    make_lesson(4, domain="code"),
]


@pytest.mark.parametrize(
    ("aggregation", "expected"),
    [
        ("token_mean", [1 / 12, 1 / 12, 1 / 12]),
        ("rollout_mean", [1 / 6, 1 / 18, 1 / 12]),
        ("domain_balanced", [1 / 16, 1 / 16, 1 / 8]),
    ],
)
@pytest.mark.parametrize("objective", [DistillObjective, GrpoObjective, SftObjective])
def test_token_coefficients_by_hand(objective, aggregation, expected):
    assert token_coefficients(LESSONS, objective(aggregation=aggregation)) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_token_coefficients_sum_to_one_over_loss_tokens(aggregation):
    lessons = [
        make_lesson(n, other_tokens=n % 3, domain=domain) for n, domain in zip(range(1, 9), "aabbcaca", strict=True)
    ]
    coefficients = token_coefficients(lessons, DistillObjective(aggregation=aggregation))
    weights = [c * lesson.rollout.own_token_count for c, lesson in zip(coefficients, lessons, strict=True)]
    assert sum(weights) == pytest.approx(1, abs=1e-14)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_tokens_that_are_not_the_students_own_do_not_count(aggregation):
    with_tools = [make_lesson(2, other_tokens=9), make_lesson(4, domain="code")]
    without = [make_lesson(2), make_lesson(4, domain="code")]
    objective = DistillObjective(aggregation=aggregation)
    assert token_coefficients(with_tools, objective) == token_coefficients(without, objective)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_no_lessons_have_no_coefficients(aggregation):
    assert token_coefficients([], DistillObjective(aggregation=aggregation)) == []


GRPO = "objective.kind='grpo'"


@pytest.mark.parametrize("advantage", [0.5, -0.5])
def test_grpo_at_the_first_update_is_minus_the_advantage(advantage):
    assert losses(batch([0.3], advantages=[advantage]), GRPO) == pytest.approx([-advantage])


@pytest.mark.parametrize("advantage", [0.5, -0.5])
def test_grpos_gradient_at_the_first_update_is_minus_the_advantage(advantage):
    assert gradients(batch([0.3], advantages=[advantage]), GRPO) == pytest.approx([-advantage])


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient"),
    [
        (1.2, 1.0, -1.2, -1.2),  # inside the clip
        (1.5, 1.0, -1.28, 0.0),  # a likelier good token: clipped above
        (0.5, 1.0, -0.5, -0.5),  # a rarer good token: never clipped
        (0.9, -1.0, 0.9, 0.9),  # inside the clip
        (0.5, -1.0, 0.8, 0.0),  # a rarer bad token: clipped below
        (1.5, -1.0, 1.5, 1.5),  # a likelier bad token: not clipped
        (2.9, -2.0, 5.8, 5.8),  # below the dual clip
        (5.0, -2.0, 6.0, 0.0),  # above the dual clip of 3
        (5.0, 0.0, 0.0, 0.0),
    ],
)
def test_grpos_clips_by_hand(ratio, advantage, loss, gradient):
    tokens = batch([0.4], first=[0.4 / ratio], advantages=[advantage])
    assert losses(tokens, GRPO) == pytest.approx([loss])
    assert gradients(tokens, GRPO) == pytest.approx([gradient])


def test_grpos_clips_are_configured():
    options = [GRPO, "objective.clip_low=0.4", "objective.clip_high=0.6", "objective.dual_clip=2.0"]
    tokens = batch([0.4] * 3, first=[0.4 / 2, 0.4 / 0.5, 0.4 / 3], advantages=[1.0, -1.0, -1.0])
    assert losses(tokens, *options) == pytest.approx([-1.6, 0.6, 2.0])


@pytest.mark.parametrize(("advantage", "loss"), [(1.0, -1.28), (-1.0, 3.0)])
def test_grpo_of_a_ratio_beyond_all_bounds_stays_finite(advantage, loss):
    tokens = batch([0.9], first=[1e-320], advantages=[advantage])
    assert losses(tokens, GRPO) == pytest.approx([loss])
    assert gradients(tokens, GRPO) == [0.0]


def test_sft_is_minus_the_log_probability_of_the_sampled_token():
    tokens = batch([0.25, 0.25], ids=[0, 1])
    assert losses(tokens, "objective.kind='sft'") == pytest.approx([math.log(4), math.log(4 / 3)])


def test_sft_is_not_weighted_by_the_sampler():
    assert losses(batch([0.25], sampler=[0.5]), "objective.kind='sft'") == pytest.approx([math.log(4)])


def test_sampler_weights_are_ratios_of_learner_to_sampler():
    weights = sampler_weights(batch([0.3] * 3, first=[0.3] * 3, sampler=[0.3, 0.6, 0.2]), 2.0)
    assert weights.tolist() == pytest.approx([1.0, 0.5, 1.5])


@pytest.mark.parametrize("cap", [1.0, 2.0, 4.0])
def test_sampler_weights_are_capped(cap):
    assert sampler_weights(batch([0.3], sampler=[0.03]), cap).tolist() == [cap]


def test_log_ratios_are_clamped_at_twenty():
    weights = sampler_weights(batch([1e-300, 0.3], sampler=[0.9, 1e-300]), math.inf)
    assert weights.tolist() == pytest.approx([math.exp(-20), math.exp(20)])


def test_sampler_weights_have_no_gradient():
    assert not sampler_weights(batch([0.3]), 2.0).requires_grad


@pytest.mark.parametrize("objective", ["distill", "grpo"])
def test_losses_are_weighted_by_the_sampler(objective):
    options = {"teacher": [0.6, 0.6], "advantages": [-1.0, -1.0]}
    one, half = losses(batch([0.3] * 2, sampler=[0.3, 0.6], **options), f"objective.kind='{objective}'")
    assert one > 0
    assert half == pytest.approx(one / 2)


def test_distill_is_the_configured_divergence():
    tokens = batch([0.5], teacher=[0.25])
    assert losses(tokens, "divergence.kind='reverse_kl'") == pytest.approx([0.5 * math.log(4 / 3)])
    assert losses(tokens, "divergence.kind='forward_kl'") == pytest.approx([0.25 * -LN2 + 0.75 * math.log(1.5)])


def test_distill_can_estimate_from_the_sampled_token():
    tokens = batch([0.5], teacher=[0.25])
    assert losses(tokens, "divergence.kind='sampled_reverse_kl'") == pytest.approx([LN2 * -LN2])
    assert gradients(tokens, "divergence.kind='sampled_reverse_kl'") == pytest.approx([LN2])


@pytest.mark.parametrize("kind", ["jensen_shannon", "sampled_reverse_kl"])
def test_a_reused_batch_is_weighted_by_now_against_first(kind):
    overrides = [f"divergence.kind='{kind}'"]
    (fresh,) = losses(batch([0.3], teacher=[0.6]), *overrides)
    # now against first 1/2, 4/3 and, capped, 10; the sampler agrees with the first
    reused = losses(batch([0.3] * 3, first=[0.6, 0.225, 0.03], teacher=[0.6] * 3), *overrides)
    assert reused == pytest.approx([fresh / 2, fresh * 4 / 3, fresh * 2])


def test_the_reuse_weight_has_no_gradient():
    (fresh,) = gradients(batch([0.3], teacher=[0.6]))
    (reused,) = gradients(batch([0.3], first=[0.6], teacher=[0.6]))
    assert reused == pytest.approx(fresh / 2)


@pytest.mark.parametrize(
    ("kind", "dtype"), [(k, d) for k in ("distill", "grpo", "sft") for d in (torch.float32, torch.float64)]
)
def test_losses_keep_dtype_and_shape(kind, dtype):
    tokens = batch([0.3, 0.4], teacher=[0.6, 0.1], advantages=[1.0, -1.0])
    names = ("logprobs", "sampler_logprobs", "old_logprobs", "advantages")
    cast = {name: getattr(tokens, name).to(dtype) for name in names}
    cast |= {name: Predictions(getattr(tokens, name).logits.to(dtype)) for name in ("student", "teacher")}
    result = token_losses(TokenBatch(token_ids=tokens.token_ids, **cast), make_config(f"objective.kind='{kind}'"))
    assert (result.dtype, result.shape) == (dtype, (2,))


def test_advantages_are_rewards_less_the_groups_mean():
    assert group_advantages(make_group("abcd", [1.0, 0.0, 0.0, 3.0])) == [0.0, -1.0, -1.0, 2.0]


def test_advantages_are_not_divided_by_a_deviation():
    assert group_advantages(make_group("ab", [100.0, 0.0])) == [50.0, -50.0]


def test_rollouts_whose_grader_failed_have_no_advantage_and_are_in_no_mean():
    group = make_group("abc", [1.0, 0.0, 0.0], kinds=["correct", "error", "wrong"])
    assert group_advantages(group) == [0.5, None, -0.5]


def test_a_group_whose_graders_all_failed_has_no_advantages():
    assert group_advantages(make_group("ab", kinds=["error", "error"])) == [None, None]


@pytest.mark.parametrize("reward", [0.0, 1.0, 0.1, 1 / 3, 0.7])
@pytest.mark.parametrize("size", [2, 3, 6, 8])
def test_equal_rewards_have_no_advantage(reward, size):
    assert group_advantages(make_group("a" * size, [reward] * size)) == [0.0] * size
