"""The two embeddings: the gradients are autograd's, tied or not, whatever is converted and in however many blocks."""

import pytest
import torch

from mopd.scoring import embeddings
from mopd.scoring.embeddings import output_logits, sparse_input_gradient
from mopd.scoring.precision import computing_in
from tests.architectures import ARCHITECTURES

VOCABULARY = 40
CPU = torch.device("cpu")


class Model:
    """No more of a model than its output embedding."""

    def __init__(self, embedding):
        self.embedding = embedding

    def get_output_embeddings(self):
        return self.embedding


def gradients(model):
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    return found


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_sparse_input_gradient_is_the_dense_one(architecture):
    torch.manual_seed(0)
    model = ARCHITECTURES[architecture](VOCABULARY).double()
    batches = [torch.tensor([[3, 4, 3, 3, 9]]), torch.tensor([[9, 5, 0, 4, 11]])]
    for ids in batches:
        model(input_ids=ids).logits.sin().sum().backward()
    dense = gradients(model)
    for ids in batches:
        with sparse_input_gradient(model):
            logits = model(input_ids=ids).logits
        logits.sin().sum().backward()
    assert not model.get_input_embeddings().weight.grad.is_sparse
    sparse = gradients(model)
    assert sparse.keys() == dense.keys()
    for name, gradient in dense.items():
        torch.testing.assert_close(sparse[name], gradient, rtol=1e-9, atol=1e-12)
    assert not model.get_input_embeddings().sparse


def test_an_input_embedding_that_is_not_trained_has_no_gradient():
    model = ARCHITECTURES["llama"](VOCABULARY)
    model.get_input_embeddings().weight.requires_grad_(False)
    with sparse_input_gradient(model):
        model(input_ids=torch.tensor([[3, 4]])).logits.sum().backward()
    assert model.get_input_embeddings().weight.grad is None


def made(has_bias):
    torch.manual_seed(0)
    return torch.nn.Linear(16, VOCABULARY, bias=has_bias), torch.randn(7, 16), torch.randn(7, VOCABULARY)


def backward(logits_of, embedding, hidden, wanted):
    """(logits, the hidden states' gradient, the embedding's gradients) after two parts."""
    hidden = hidden.clone().requires_grad_()
    logits = [logits_of(part) for part in hidden.split(4)]
    for part, grad in zip(logits, wanted.split(4), strict=True):
        part.backward(grad.to(part.dtype))
    return torch.cat(logits).detach(), hidden.grad, gradients(embedding)


@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("block", [1, 16 * 11, 2**23])
def test_logits_and_gradients_in_blocks_are_those_of_autocast(has_bias, block, monkeypatch):
    monkeypatch.setattr(embeddings, "BLOCK", block)
    embedding, hidden, wanted = made(has_bias)
    with torch.autocast("cpu", torch.bfloat16):
        logits, below, weights = backward(embedding, embedding, hidden, wanted)
    with computing_in(torch.bfloat16, CPU):
        ours = backward(lambda part: output_logits(Model(embedding), part), embedding, hidden, wanted)
    assert ours[0].dtype == logits.dtype == torch.bfloat16
    torch.testing.assert_close(ours[0], logits, rtol=2**-7, atol=2**-7)
    assert ours[1].dtype == torch.float32
    assert (ours[1] - below).norm() < 0.01 * below.norm()
    assert ours[2].keys() == weights.keys()
    for name, gradient in weights.items():
        assert ours[2][name].dtype == torch.float32
        assert (ours[2][name] - gradient).norm() < 0.01 * gradient.norm()


def test_an_output_embedding_that_is_not_trained_has_no_gradient():
    embedding, hidden, _ = made(False)
    embedding.weight.requires_grad_(False)
    hidden.requires_grad_()
    with computing_in(torch.bfloat16, CPU):
        output_logits(Model(embedding), hidden).sum().backward()
    assert embedding.weight.grad is None
    assert hidden.grad.abs().sum() > 0


def test_an_output_embedding_of_another_kind_is_called_itself():
    class Doubled(torch.nn.Linear):
        def forward(self, hidden):
            return 2 * super().forward(hidden)

    embedding = Doubled(16, VOCABULARY)
    hidden = torch.randn(3, 16)
    with computing_in(torch.bfloat16, CPU):
        assert torch.equal(output_logits(Model(embedding), hidden), embedding(hidden))


@pytest.mark.parametrize("has_bias", [False, True])
def test_without_conversion_logits_and_gradients_are_autograds(has_bias):
    embedding, hidden, wanted = made(has_bias)
    plain = backward(embedding, embedding, hidden, wanted)
    ours = backward(lambda part: output_logits(Model(embedding), part), embedding, hidden, wanted)
    for got, expected in zip((*ours[:2], *ours[2].values()), (*plain[:2], *plain[2].values()), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)
