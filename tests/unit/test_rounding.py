"""Weights in bfloat16 move by chance as far as they should."""

import struct

import pytest
import torch

from mopd.config import OptimizerConfig
from mopd.learning.optimizer import AdamW
from mopd.models.rounding import generator_on, move, round_stochastically

CPU = torch.device("cpu")


@pytest.mark.parametrize("relative", [1e-7, 1e-6, 1e-5])
def test_an_update_too_small_to_be_seen_moves_bfloat16_weights_by_itself_on_average(relative):
    model = torch.nn.Linear(2048, 1024, bias=False).bfloat16()
    signs = torch.where(torch.rand(1024, 2048, generator=generator_on(CPU, 1)) < 0.5, -1.0, 1.0)
    model.weight.data = (0.7 * signs).bfloat16()
    before = model.weight.detach().float()
    model.weight.grad = signs.bfloat16()
    rate = 0.7 * relative
    AdamW(model, OptimizerConfig(weight_decay=0), seed=5).update(rate)
    assert torch.equal((before - rate * signs).bfloat16().float(), before)  # to the nearest nothing would move
    moved = ((before - model.weight.detach().float()) * signs).double()
    step = moved.max().item()  # from one bfloat16 number to the next
    error = (step * rate / moved.numel()) ** 0.5
    assert moved.min() >= 0
    assert abs(moved.mean().item() - rate) < 4 * error


def test_a_value_is_rounded_to_its_neighbours_alone_and_as_often_as_it_is_near_them():
    values = torch.tensor([1.0 + 2**-9, -(1.0 + 2**-9), 1e-40, 0.0, 3.0]).repeat(40_000, 1)
    found = round_stochastically(values, generator_on(CPU, 2)).float()
    for column, wanted in zip(found.T, values[0].tolist(), strict=True):
        assert len(column.unique()) <= 2
        assert column.double().mean().item() == pytest.approx(wanted, rel=1e-4, abs=1e-42)


def test_what_is_not_finite_stays_so():
    strange = struct.unpack("f", struct.pack("I", 0x7FFFFFFF))[0]  # NaN whose bits are one below those of -0
    values = torch.tensor([torch.inf, -torch.inf, torch.nan, strange]).repeat(1000)
    found = round_stochastically(values, generator_on(CPU, 3)).float()
    assert torch.equal(found.isnan(), values.isnan())
    assert torch.equal(found[found.isinf()], values[values.isinf()])


def test_movement_is_by_the_seed_and_by_nothing_else():
    start, goal = torch.randn(300_000).bfloat16(), torch.randn(300_000)
    found = []
    for seed in (1, 1, 2):
        weights = start.clone()
        move(weights, goal, 1e-4, seed, "name")
        found.append(weights)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    move(found[0], goal, 1.0, 1)
    assert torch.equal(found[0], goal.bfloat16())
