"""Products in half precision: autocast's numbers, and no copies of weights that wait for the backward pass."""

import pytest
import torch

from mopd.scoring import precision
from mopd.scoring.precision import computing_in, product_dtype
from tests.architectures import ARCHITECTURES

CPU = torch.device("cpu")


def gradients(model, computing):
    """Of a loss on two sequences, and the logits."""
    with computing:
        logits = model(input_ids=torch.tensor([[3, 4, 5, 6], [7, 8, 9, 3]]), use_cache=False).logits
    logits.float().sin().sum().backward()
    found = {name: p.grad for name, p in model.named_parameters()}
    model.zero_grad(set_to_none=True)
    return found, logits


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_weights_converted_again_give_autocasts_gradients_to_the_bit(architecture, monkeypatch):
    torch.manual_seed(0)
    model = ARCHITECTURES[architecture](40)
    wanted, wanted_logits = gradients(model, torch.autocast("cpu", torch.bfloat16))
    kept = []
    make = precision._Conversion.__init__
    monkeypatch.setattr(
        precision._Conversion, "__init__", lambda self, *given: kept.append(given[0]) or make(self, *given)
    )
    got, logits = gradients(model, computing_in(torch.bfloat16, CPU))
    linear = [module.weight for module in model.modules() if isinstance(module, torch.nn.Linear)]
    assert {id(weight) for weight in linear} <= {id(weight) for weight in kept}
    assert torch.equal(logits, wanted_logits)
    for name, gradient in wanted.items():
        assert torch.equal(got[name], gradient), name


def test_weights_that_change_before_the_backward_pass_are_noticed():
    layer = torch.nn.Linear(4, 4)
    with computing_in(torch.bfloat16, CPU):
        out = layer(torch.randn(2, 4, requires_grad=True))
    with torch.no_grad():
        layer.weight.mul_(2)
    with pytest.raises(RuntimeError, match="must not change"):
        out.sum().backward()


def test_in_float32_nothing_is_converted():
    weight = torch.ones(2, 2)
    with computing_in(torch.float32, CPU):
        assert product_dtype(weight) == torch.float32
        assert (weight @ weight).dtype == torch.float32
    with computing_in(torch.bfloat16, CPU):
        assert product_dtype(weight) == torch.bfloat16
        assert product_dtype(weight.double()) == torch.float64
        assert (weight @ weight).dtype == torch.bfloat16
