"""Divergences at one token: values by hand, dtypes, shapes, zero probabilities, supports."""

import math

import pytest
import torch

from mopd.config import DivergenceConfig
from mopd.method.divergence import forward_kl, jensen_shannon, reverse_kl, sampled_reverse_kl, token_divergence
from mopd.method.predictions import Predictions
from tests.builders import support_of

LN2 = math.log(2)
DIVERGENCES = [forward_kl, reverse_kl, jensen_shannon, lambda s, t: jensen_shannon(s, t, 0.2)]


def log(*probabilities, dtype=torch.float64):
    return torch.tensor(probabilities, dtype=dtype).log()


def random_logprobs(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).log_softmax(-1)


def test_forward_kl_is_the_mean_log_ratio_under_the_teacher():
    expected = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)
    assert forward_kl(log(0.5, 0.5), log(0.25, 0.75)).item() == pytest.approx(expected, abs=1e-14)
    assert expected == pytest.approx(0.130812, abs=1e-6)


def test_reverse_kl_is_the_mean_log_ratio_under_the_student():
    assert reverse_kl(log(0.5, 0.5), log(0.25, 0.75)).item() == pytest.approx(0.5 * math.log(4 / 3), abs=1e-14)


def test_jensen_shannon_at_one_half():
    expected = 0.5 * (0.5 * math.log(0.5 / 0.375) + 0.5 * math.log(0.5 / 0.625))
    expected += 0.5 * (0.25 * math.log(0.25 / 0.375) + 0.75 * math.log(0.75 / 0.625))
    assert jensen_shannon(log(0.5, 0.5), log(0.25, 0.75)).item() == pytest.approx(expected, abs=1e-14)


def test_w_is_the_teachers_weight_in_mixture_and_sum():
    # w = 0.25: m = 0.75 s + 0.25 t = (0.4375, 0.5625)
    student = 0.5 * math.log(0.5 / 0.4375) + 0.5 * math.log(0.5 / 0.5625)
    teacher = 0.25 * math.log(0.25 / 0.4375) + 0.75 * math.log(0.75 / 0.5625)
    measured = jensen_shannon(log(0.5, 0.5), log(0.25, 0.75), 0.25).item()
    assert measured == pytest.approx(0.75 * student + 0.25 * teacher, abs=1e-14)


@pytest.mark.parametrize("w", [0.1, 0.5, 0.7])
def test_jensen_shannon_of_disjoint_distributions_is_the_entropy_of_w(w):
    expected = -w * math.log(w) - (1 - w) * math.log(1 - w)
    assert jensen_shannon(log(1, 0), log(0, 1), w).item() == pytest.approx(expected, abs=1e-14)


@pytest.mark.parametrize("w", [0.0, 1.0, -0.1, 1.5, math.nan])
def test_jensen_shannon_refuses_w_outside_the_open_interval(w):
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        jensen_shannon(log(0.5, 0.5), log(0.5, 0.5), w)


def test_sampled_reverse_kl_is_log_ratio_times_student_logprob():
    student, teacher = torch.tensor([-1.0, -3.0]).double(), torch.tensor([-2.0, -0.5]).double()
    assert sampled_reverse_kl(student, teacher).tolist() == [-1.0, 7.5]


def test_sampled_reverse_kl_has_the_log_ratio_as_gradient():
    student = torch.tensor([-1.0, -3.0]).double().requires_grad_()
    sampled_reverse_kl(student, torch.tensor([-2.0, -0.5]).double()).sum().backward()
    assert student.grad.tolist() == [1.0, -2.5]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_divergences_keep_dtype_and_leading_shape(divergence, dtype):
    result = divergence(random_logprobs(2, 3, 5, dtype=dtype), random_logprobs(2, 3, 5, seed=1, dtype=dtype))
    assert (result.dtype, result.shape) == (dtype, (2, 3))


@pytest.mark.parametrize("tail", [True, False])
def test_top_k_support_keeps_the_dtype(tail):
    for dtype in (torch.float32, torch.float64):
        reduced = support_of(random_logprobs(2, 5, dtype=dtype), random_logprobs(2, 5, seed=1, dtype=dtype), 2, tail)
        assert [side.dtype for side in reduced] == [dtype, dtype]


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_tokens_impossible_for_both_change_nothing(divergence):
    with_zero = divergence(log(0.5, 0.0, 0.5), log(0.25, 0.0, 0.75))
    assert with_zero.item() == pytest.approx(divergence(log(0.5, 0.5), log(0.25, 0.75)).item(), abs=1e-14)


def test_tokens_impossible_for_the_teacher_make_only_reverse_kl_infinite():
    student, teacher = log(0.5, 0.5), log(1.0, 0.0)
    assert reverse_kl(student, teacher).item() == math.inf
    assert forward_kl(student, teacher).item() == pytest.approx(LN2, abs=1e-14)


def test_tokens_impossible_for_the_student_make_only_forward_kl_infinite():
    student, teacher = log(1.0, 0.0), log(0.5, 0.5)
    assert forward_kl(student, teacher).item() == math.inf
    assert reverse_kl(student, teacher).item() == pytest.approx(LN2, abs=1e-14)


NEG = -math.inf
ZERO_CASES = {
    "both zero": ([0.3, NEG, 1.0], [0.7, NEG, -1.0], DIVERGENCES),
    "student zero": ([0.3, NEG, 1.0], [0.7, 0.0, -1.0], [reverse_kl, *DIVERGENCES[2:]]),
    "teacher zero": ([0.3, 0.5, 1.0], [0.7, NEG, -1.0], [forward_kl, *DIVERGENCES[2:]]),
}


@pytest.mark.parametrize("case", ZERO_CASES)
def test_finite_divergences_have_finite_gradients_at_zero_probability(case):
    student, teacher, finite = ZERO_CASES[case]
    for divergence in finite:
        logits = torch.tensor(student, dtype=torch.float64, requires_grad=True)
        divergence(logits.log_softmax(-1), torch.tensor(teacher, dtype=torch.float64).log_softmax(-1)).backward()
        assert logits.grad.isfinite().all()
        assert logits.grad.abs().max() > 1e-3


def test_tail_holds_the_mass_outside_the_students_top_tokens():
    student, teacher = support_of(log(0.05, 0.5, 0.15, 0.3), log(0.4, 0.1, 0.3, 0.2), 2)
    torch.testing.assert_close(student.exp(), torch.tensor([0.5, 0.3, 0.2]).double())
    torch.testing.assert_close(teacher.exp(), torch.tensor([0.1, 0.2, 0.7]).double())


def test_without_tail_both_sides_are_renormalised_over_the_students_top_tokens():
    student, teacher = support_of(log(0.05, 0.5, 0.15, 0.3), log(0.4, 0.1, 0.3, 0.2), 2, tail=False)
    torch.testing.assert_close(student.exp(), torch.tensor([0.625, 0.375]).double())
    torch.testing.assert_close(teacher.exp(), torch.tensor([1 / 3, 2 / 3]).double())


def test_each_token_has_its_own_top_tokens():
    student = torch.stack([log(0.7, 0.2, 0.1), log(0.1, 0.2, 0.7)])
    reduced, _ = support_of(student, student, 1)
    torch.testing.assert_close(reduced.exp(), torch.tensor([[0.7, 0.3], [0.7, 0.3]]).double())


@pytest.mark.parametrize("k", [5, 6, 100])
def test_a_vocabulary_of_at_most_k_tokens_is_returned_unchanged(k):
    student, teacher = random_logprobs(2, 5), random_logprobs(2, 5, seed=1)
    reduced = support_of(student, teacher, k)
    torch.testing.assert_close(reduced, [student, teacher], rtol=0, atol=1e-14)


@pytest.mark.parametrize("k", [0, -1])
def test_a_support_without_tokens_is_refused(k):
    with pytest.raises(ValueError, match="at least 1"):
        support_of(log(0.5, 0.5), log(0.5, 0.5), k)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_empty_tail_is_about_one_in_ten_million_and_has_no_gradient(dtype):
    logits = torch.tensor([0.4, -0.2, NEG, NEG], dtype=dtype, requires_grad=True)
    tail = support_of(logits.log_softmax(-1), logits.log_softmax(-1), 2)[0][-1]
    assert tail.item() == pytest.approx(math.log(1e-7), abs=1e-2)
    tail.backward()
    assert (logits.grad == 0).all()


CONFIGURED = {
    "forward_kl": forward_kl,
    "reverse_kl": reverse_kl,
    "jensen_shannon": jensen_shannon,
}


@pytest.mark.parametrize("kind", CONFIGURED)
def test_token_divergence_is_the_configured_kind_on_the_full_vocabulary(kind):
    student, teacher = random_logprobs(3, 6), random_logprobs(3, 6, seed=1)
    config = DivergenceConfig(kind=kind, support="full")
    got = token_divergence(Predictions(student), Predictions(teacher), config)
    torch.testing.assert_close(got, CONFIGURED[kind](student, teacher), rtol=0, atol=1e-14)


@pytest.mark.parametrize("tail", [True, False])
@pytest.mark.parametrize("kind", CONFIGURED)
def test_token_divergence_is_the_configured_kind_on_the_students_top_tokens(kind, tail):
    student, teacher = random_logprobs(3, 6), random_logprobs(3, 6, seed=1)
    expected = CONFIGURED[kind](*support_of(student, teacher, 2, tail))
    assert torch.equal(
        token_divergence(Predictions(student), Predictions(teacher), DivergenceConfig(kind=kind, k=2, tail=tail)),
        expected,
    )


def test_token_divergence_passes_the_weight_on():
    student, teacher = random_logprobs(3, 6), random_logprobs(3, 6, seed=1)
    config = DivergenceConfig(weight=0.8, support="full")
    got = token_divergence(Predictions(student), Predictions(teacher), config)
    torch.testing.assert_close(got, jensen_shannon(student, teacher, 0.8), rtol=0, atol=1e-14)


def test_clip_bounds_a_tokens_divergence_and_keeps_the_direction_of_its_gradient():
    logits = torch.tensor([[3.0, 0.0], [math.log(3.0), 0.0]], requires_grad=True)
    teacher = Predictions(torch.tensor([[-3.0, 0.0], [0.0, 0.0]]))
    found = {}
    for clip in (None, 0.3):
        config = DivergenceConfig(kind="reverse_kl", support="full", clip=clip)
        divergence = token_divergence(Predictions(logits), teacher, config)
        (gradient,) = torch.autograd.grad(divergence.sum(), logits)
        found[clip] = divergence.detach(), gradient
    whole, clipped = found[None], found[0.3]
    assert whole[0][0] > 0.3 > whole[0][1]
    assert clipped[0].tolist() == pytest.approx([0.3, whole[0][1].item()])
    torch.testing.assert_close(clipped[1][1], whole[1][1])
    torch.testing.assert_close(clipped[1][0], whole[1][0] * 0.3 / whole[0][0])


@pytest.mark.parametrize("kind", ["forward_kl", "reverse_kl", "jensen_shannon"])
def test_a_bound_on_entries_stops_the_gradient_of_those_above_it_alone(kind):
    s, t = torch.tensor([0.7, 0.2, 0.1]).log(), torch.tensor([0.1, 0.2, 0.7]).log()
    config = DivergenceConfig(kind=kind, support="full", entry_clip=0.05)
    free = DivergenceConfig(kind=kind, support="full")
    pair = Predictions(s[None]), Predictions(t[None])
    assert 0 < token_divergence(*pair, config) + 2 < token_divergence(*pair, free) + 2
    high = DivergenceConfig(kind=kind, support="full", entry_clip=100.0)
    assert torch.equal(token_divergence(*pair, high), token_divergence(*pair, free))
    p = s.clone().requires_grad_()
    terms = (p.exp() * (p - t)).clamp(max=0.05)
    (gradient,) = torch.autograd.grad(terms.sum(), p)
    assert gradient[0] == 0
    assert (gradient[1:] != 0).all()


def test_sampled_reverse_kl_is_no_divergence_over_a_support():
    with pytest.raises(ValueError, match="sampled_reverse_kl"):
        token_divergence(
            Predictions(log(0.5, 0.5)[None]),
            Predictions(log(0.5, 0.5)[None]),
            DivergenceConfig(kind="sampled_reverse_kl"),
        )
