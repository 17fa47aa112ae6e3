"""Laws of the divergences for all distributions."""

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mopd.method.divergence import forward_kl, jensen_shannon, reverse_kl, sampled_reverse_kl
from tests.builders import support_of

LAW = settings(deadline=None, max_examples=60)
SLOW_LAW = settings(deadline=None, max_examples=12)
WEIGHTS = st.floats(0.02, 0.98)
NAMES = st.sampled_from(["forward_kl", "reverse_kl", "jensen_shannon"])


def divergence(name, student, teacher, w=0.5):
    if name == "jensen_shannon":
        return jensen_shannon(student, teacher, w)
    return {"forward_kl": forward_kl, "reverse_kl": reverse_kl}[name](student, teacher)


@st.composite
def pairs(draw, low=2, high=8, size=5.0):
    """Student and teacher log-probabilities over one vocabulary, in float64."""
    vocabulary = draw(st.integers(low, high))
    logits = st.lists(st.floats(-size, size), min_size=vocabulary, max_size=vocabulary)
    return tuple(torch.tensor(draw(logits), dtype=torch.float64).log_softmax(-1) for _ in range(2))


@st.composite
def untied_pairs(draw, low=3, high=7):
    """As `pairs`, the student's logits well apart, so that its top tokens are the same nearby."""
    vocabulary = draw(st.integers(low, high))
    student = draw(st.permutations([0.7 * i - 2 for i in range(vocabulary)]))
    teacher = draw(st.lists(st.floats(-5, 5), min_size=vocabulary, max_size=vocabulary))
    return tuple(torch.tensor(side, dtype=torch.float64).log_softmax(-1) for side in (student, teacher))


@LAW
@given(pairs(), NAMES, WEIGHTS)
def test_a_divergence_is_never_negative(pair, name, w):
    assert divergence(name, *pair, w) >= -1e-12


@LAW
@given(pairs(), NAMES, WEIGHTS)
def test_a_divergence_of_a_distribution_from_itself_is_zero(pair, name, w):
    assert abs(divergence(name, pair[0], pair[0], w)) <= 1e-12


@LAW
@given(untied_pairs(), NAMES, WEIGHTS)
def test_a_divergence_of_different_distributions_is_positive(pair, name, w):
    student, teacher = pair
    distance = (student.exp() - teacher.exp()).abs().sum()
    assert divergence(name, student, teacher, w) >= 2 * w * (1 - w) * (distance / 2) ** 2 - 1e-12  # Pinsker


@LAW
@given(pairs())
def test_jensen_shannon_at_one_half_is_symmetric(pair):
    student, teacher = pair
    assert abs(jensen_shannon(student, teacher) - jensen_shannon(teacher, student)) <= 1e-12


@LAW
@given(pairs(), WEIGHTS)
def test_swapping_sides_and_weight_changes_nothing(pair, w):
    student, teacher = pair
    assert abs(jensen_shannon(student, teacher, w) - jensen_shannon(teacher, student, 1 - w)) <= 1e-12


@LAW
@given(pairs(size=200.0), WEIGHTS)
def test_jensen_shannon_is_at_most_the_entropy_of_w(pair, w):
    assert jensen_shannon(*pair, w) <= -w * math.log(w) - (1 - w) * math.log(1 - w) + 1e-12


@LAW
@given(pairs(size=200.0))
def test_jensen_shannon_at_one_half_is_at_most_ln_2(pair):
    assert jensen_shannon(*pair) <= math.log(2) + 1e-12


@LAW
@given(pairs())
def test_forward_kl_is_reverse_kl_with_the_sides_swapped(pair):
    student, teacher = pair
    assert torch.equal(forward_kl(student, teacher), reverse_kl(teacher, student))


@LAW
@given(pairs(low=3), NAMES, WEIGHTS, st.data())
def test_merging_tokens_into_a_tail_never_raises_the_divergence(pair, name, w, data):
    k = data.draw(st.integers(1, len(pair[0]) - 1))
    merged = divergence(name, *support_of(*pair, k, tail=True), w)
    assert merged <= divergence(name, *pair, w) + 1e-12


@LAW
@given(pairs(low=3), st.booleans(), st.data())
def test_a_support_holds_two_distributions(pair, tail, data):
    k = data.draw(st.integers(1, len(pair[0]) - 1))
    for side in support_of(*pair, k, tail):
        assert len(side) == k + tail
        assert abs(side.exp().sum() - 1) <= 1e-12


@LAW
@given(untied_pairs(), NAMES, WEIGHTS, st.booleans(), st.data())
def test_the_order_of_the_vocabulary_does_not_matter(pair, name, w, tail, data):
    order = data.draw(st.permutations(range(len(pair[0]))))
    k = data.draw(st.integers(1, len(pair[0])))
    before = divergence(name, *support_of(*pair, k, tail), w)
    after = divergence(name, *support_of(*(side[list(order)] for side in pair), k, tail), w)
    assert abs(before - after) <= 1e-12


@LAW
@given(pairs(), pairs(), NAMES, WEIGHTS)
def test_tokens_in_a_batch_do_not_touch_each_other(one, other, name, w):
    size = min(len(one[0]), len(other[0]))
    one, other = ([side[:size].log_softmax(-1) for side in pair] for pair in (one, other))
    batch = divergence(name, *(torch.stack(sides) for sides in zip(one, other, strict=True)), w)
    assert torch.allclose(batch, torch.stack([divergence(name, *one, w), divergence(name, *other, w)]), atol=1e-14)


@SLOW_LAW
@given(pairs(), NAMES, WEIGHTS)
def test_gradients_over_the_full_vocabulary_are_those_of_finite_differences(pair, name, w):
    student, teacher = pair
    logits = student.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: divergence(name, x.log_softmax(-1), teacher, w), logits)


@SLOW_LAW
@given(untied_pairs(), NAMES, WEIGHTS, st.booleans(), st.data())
def test_gradients_over_a_support_are_those_of_finite_differences(pair, name, w, tail, data):
    student, teacher = pair
    k = data.draw(st.integers(1, len(student) - 1))
    logits = student.clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: divergence(name, *support_of(x.log_softmax(-1), teacher, k, tail), w), logits
    )


@LAW
@given(pairs())
def test_the_sampled_gradient_is_reverse_kls_gradient_in_expectation(pair):
    student, teacher = pair
    logits = student.clone().requires_grad_()
    (exact,) = torch.autograd.grad(reverse_kl(logits.log_softmax(-1), teacher), logits)
    expected = torch.zeros_like(exact)
    for token, probability in enumerate(student.exp()):
        loss = sampled_reverse_kl(logits.log_softmax(-1)[token], teacher[token])
        expected += probability * torch.autograd.grad(loss, logits)[0]
    assert torch.allclose(exact, expected, atol=1e-12)
