"""Predictions: log-probabilities and gradients are those of a plain log-softmax, in every dtype and in parts."""

import subprocess
import sys

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


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 0), (1, 2, 3)])
def test_any_leading_shape_gives_what_the_rows_give(shape):
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(*shape, V, generator=generator, dtype=torch.float64).requires_grad_()
    ids = torch.randint(V, (*shape, 4), generator=generator)
    got, rows = Predictions(logits, 0.7), Predictions(logits.detach().reshape(-1, V), 0.7)
    assert (got.shape, len(got), got.vocabulary) == (torch.Size(shape), len(rows), V)
    assert torch.equal(got.at(ids), rows.at(ids.reshape(-1, 4)).reshape(*shape, 4))
    assert torch.equal(got.of(ids[..., 0]), rows.of(ids.reshape(-1, 4)[:, 0]).reshape(shape))
    assert torch.equal(got.entropies, rows.entropies.reshape(shape))
    assert torch.equal(got.whole(), rows.whole().reshape(*shape, V))
    assert torch.equal(got.top(3), rows.top(3).reshape(*shape, 3))
    plain = (logits / 0.7).log_softmax(-1).gather(-1, ids)
    for one, other in zip(*(torch.autograd.grad(x.sum(), logits) for x in (got.at(ids), plain)), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


REFUSED = """
import torch
from mopd.divergence import forward_kl, jensen_shannon, reverse_kl, token_divergence, top_k_support
from mopd.predictions import Predictions
from mopd.config import DivergenceConfig

good = torch.zeros(2, 5)
cases = {
    "got a torch.int64 tensor": lambda: Predictions(good.long()),
    "got a torch.complex64 tensor": lambda: Predictions(good.to(torch.complex64)),
    "got a list": lambda: Predictions([[0.0]]),
    "got the shape []": lambda: Predictions(torch.tensor(0.0)),
    "got the shape [2, 0]": lambda: Predictions(torch.zeros(2, 0)),
    "over 0; got 0.0": lambda: Predictions(good, 0.0),
    "over 0; got -1": lambda: Predictions(good, -1),
    "over 0; got inf": lambda: Predictions(good, float("inf")),
    "over 0; got nan": lambda: Predictions(good, float("nan")),
    "the leading shape of the predictions, [2]; got [1]": lambda: Predictions(good).at(torch.zeros(1, 3).long()),
    "shapes [2, 5] and [2, 6]": lambda: top_k_support(Predictions(good), Predictions(torch.zeros(2, 6)), 3),
    "shapes [2, 5] and [1, 5]": lambda: token_divergence(
        Predictions(good), Predictions(torch.zeros(1, 5)), DivergenceConfig()
    ),
    "same shape; got [2, 5] and [1, 5]": lambda: forward_kl(good.log_softmax(-1), good[:1].log_softmax(-1)),
    "the student's log-probabilities are of": lambda: reverse_kl(good, good.log_softmax(-1)),
    "the teacher's log-probabilities are of": lambda: jensen_shannon(good.log_softmax(-1), good),
    "off by nan": lambda: forward_kl(good * float("nan"), good.log_softmax(-1)),
}
for message, call in cases.items():
    try:
        call()
    except ValueError as error:
        assert message in str(error), (message, str(error))
    else:
        raise AssertionError(message)
half = torch.randn(4, 50_000).bfloat16().log_softmax(-1)
assert forward_kl(half, half).abs().max() == 0
print("refused")
"""


def test_what_is_no_prediction_or_no_distribution_is_refused_where_types_are_not_checked():
    done = subprocess.run([sys.executable, "-c", REFUSED], capture_output=True, text=True, check=False)
    assert done.stdout == "refused\n", done.stderr
