"""Predictions: log-probabilities and gradients are those of a plain log-softmax, in every dtype and in parts."""

import pytest
import torch

from mopd.method import predictions
from mopd.method.predictions import Predictions

N, V = 7, 50


@pytest.fixture(params=[2**19, 60], ids=["one block", "a row a block"])
def block(request, monkeypatch):
    monkeypatch.setattr(predictions, "BLOCK", request.param)


def random_logits(dtype=torch.float64, size=3.0):
    generator = torch.Generator().manual_seed(0)
    return (size * torch.randn(N, V, generator=generator, dtype=torch.float64)).to(dtype)


def some_ids():
    ids = torch.randint(V, (N, 4), generator=torch.Generator().manual_seed(1))
    ids[:, 3] = ids[:, 0]  # one token asked for twice
    return ids


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_log_probabilities_are_those_of_log_softmax(block, temperature):
    logits, ids = random_logits(), some_ids()
    got = Predictions(logits, temperature)
    plain = (logits / temperature).log_softmax(-1)
    exact = {"rtol": 0, "atol": 1e-12}
    torch.testing.assert_close(got.whole(), plain, **exact)
    torch.testing.assert_close(got.at(ids), plain.gather(-1, ids), **exact)
    torch.testing.assert_close(got.of(ids[:, 0]), plain[torch.arange(N), ids[:, 0]], **exact)
    torch.testing.assert_close(got.entropies, -(plain.exp() * plain).sum(-1), **exact)
    assert (len(got), got.vocabulary) == (N, V)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_gradients_are_those_of_finite_differences(block, temperature):
    weights = torch.arange(1.0, 5, dtype=torch.float64)
    logits = random_logits().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: Predictions(z, temperature).at(some_ids()) * weights, logits)


def test_nothing_but_log_probabilities_has_a_gradient():
    got = Predictions(random_logits().requires_grad_())
    assert not got.log_normalizers.requires_grad
    assert not got.entropies.requires_grad
    assert not got.top(3).requires_grad


def test_the_most_probable_tokens_come_first():
    logits = random_logits()
    assert torch.equal(Predictions(logits, 0.5).top(5), logits.argsort(-1, descending=True)[:, :5])


def test_a_token_that_cannot_be_leaves_entropy_and_gradient_finite(block):
    logits = random_logits()
    logits[:, ::2] = -torch.inf
    logits.requires_grad_()
    got, plain = Predictions(logits), logits.detach()[:, 1::2].log_softmax(-1)
    torch.testing.assert_close(got.entropies, -(plain.exp() * plain).sum(-1), rtol=0, atol=1e-12)
    got.of(torch.ones(N, dtype=torch.long)).sum().backward()
    assert logits.grad.isfinite().all()


def test_bfloat16_logits_round_only_the_finished_gradient(block):
    """A nearly certain token: its gradient is a small difference, which a bfloat16 probability could not hold."""
    logits = random_logits(torch.bfloat16)
    logits[:, 0] = 20.0
    ids = torch.zeros(N, dtype=torch.long)
    results = {}
    for dtype in (torch.bfloat16, torch.float64):
        z = logits.to(dtype, copy=True).requires_grad_()
        got = Predictions(z).of(ids)
        assert got.dtype == (torch.float32 if dtype == torch.bfloat16 else dtype)
        got.sum().backward()
        results[dtype] = z.grad
    assert results[torch.float64].abs().max() < 1e-3
    # float32 holds 1 - p to 1e-7; beyond that only the last rounding, 2^-9, is left
    torch.testing.assert_close(
        results[torch.bfloat16].double(), results[torch.float64], rtol=2**-8, atol=2e-7, check_dtype=False
    )


def test_a_large_vocabulary_is_added_up_in_float32_without_loss():
    """torch's log_softmax is off by some 1e-5 here: it adds fifty thousand numbers one by one."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 49152, generator=generator)
    ids = torch.zeros(4, dtype=torch.long)
    exact = Predictions(logits.double())
    got = Predictions(logits)
    torch.testing.assert_close(got.of(ids).double(), exact.of(ids), rtol=0, atol=2e-6)
    torch.testing.assert_close(got.whole().double(), exact.whole(), rtol=0, atol=2e-6)


def test_autocast_rounds_nothing_here():
    logits = random_logits(torch.float32)
    plain = Predictions(logits)
    with torch.autocast("cpu", torch.bfloat16):
        got = Predictions(logits)
        assert torch.equal(got.at(some_ids()), plain.at(some_ids()))
    assert torch.equal(got.entropies, plain.entropies)
