"""Masters: a bfloat16 copy moves as far as what it is a copy of, whatever grid a file's weights lie on."""

import math

import gguf
import numpy as np
import pytest
import torch

from mopd.config import ComputeConfig
from mopd.models.masters import share_on_grid, spread_masters
from mopd.models.student import load_student
from tests.architectures import save

torch.manual_seed(0)
WEIGHTS = torch.randn(2**21, generator=torch.Generator().manual_seed(1)) * 0.02


def quantised(weights, kind):
    packed = gguf.quantize(weights.view(-1, 256).numpy(), kind)
    return torch.from_numpy(np.ascontiguousarray(gguf.dequantize(packed, kind))).view(-1)


FILES = {
    "bfloat16": WEIGHTS.bfloat16().float(),
    "float16": WEIGHTS.half().float(),
    "Q8_0": quantised(WEIGHTS, gguf.GGMLQuantizationType.Q8_0),
    "Q4_1": quantised(WEIGHTS, gguf.GGMLQuantizationType.Q4_1),
}


class Model(torch.nn.Module):
    def __init__(self, weights):
        super().__init__()
        self.weight = torch.nn.Parameter(weights.clone().view(1024, -1))


def movement_over_update(weights, update):
    """How far the bfloat16 copy moves in the direction of an update of random signs, over how far its master does."""
    signs = torch.randint(0, 2, weights.shape, generator=torch.Generator().manual_seed(2)) * 2.0 - 1
    moved = (weights + update * signs).bfloat16().double() - weights.bfloat16().double()
    return ((moved * signs).mean() / update).item()


@pytest.mark.parametrize("update", [1e-7, 1e-6, 1e-5])
@pytest.mark.parametrize("kind", FILES)
def test_a_copy_moves_as_far_as_its_master_from_the_first_update_on(kind, update):
    weights = FILES[kind]
    model = Model(weights)
    assert spread_masters(model, seed=3) == 1.0
    spread = model.weight.detach().view(-1)
    assert torch.equal(spread.bfloat16(), weights.bfloat16())
    expected_error = math.sqrt(1e-4 / update / len(weights))  # a copy jumps a step of some 1e-4 by chance
    assert movement_over_update(spread, update) == pytest.approx(1, abs=4 * expected_error)


def test_without_spreading_copies_of_weights_on_a_grid_move_too_far_or_not_at_all():
    assert movement_over_update(FILES["bfloat16"], 1e-6) < 0.5
    assert movement_over_update(FILES["float16"], 1e-7) > 2


def test_weights_that_were_trained_in_float32_are_left_alone():
    assert share_on_grid(WEIGHTS) < 1e-3
    model = Model(WEIGHTS)
    assert spread_masters(model, seed=3) == 0.0
    assert torch.equal(model.weight.detach().view(-1), WEIGHTS)


def test_every_bfloat16_number_stays_what_it_is_wherever_it_is_spread():
    every = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    numbers = every[every.isfinite()].float()
    for seed in range(20):
        model = torch.nn.ParameterList([torch.nn.Parameter(numbers.clone())])
        spread_masters(model, seed)
        assert torch.equal(model[0].detach().bfloat16(), numbers.bfloat16())
    is_zero = numbers == 0
    assert torch.equal(model[0].detach()[is_zero], numbers[is_zero])
    assert ((model[0].detach() != numbers).float().mean()) > 0.99


def test_places_depend_on_the_seed_and_the_name_alone():
    first, again, other = (Model(FILES["bfloat16"]) for _ in range(3))
    for model, seed in ((first, 3), (again, 3), (other, 4)):
        spread_masters(model, seed)
    assert torch.equal(first.weight, again.weight)
    assert not torch.equal(first.weight, other.weight)


def test_a_student_of_a_half_precision_file_is_spread_where_its_products_are_in_bfloat16(tmp_path):
    save(tmp_path / "model", "llama")
    plain = load_student(str(tmp_path / "model"), 0, ComputeConfig(dtype="float32")).model
    plain.bfloat16().save_pretrained(tmp_path / "half")
    for file in (tmp_path / "model").glob("*token*"):
        (tmp_path / "half" / file.name).write_bytes(file.read_bytes())
    (tmp_path / "half" / "chat_template.jinja").write_bytes((tmp_path / "model" / "chat_template.jinja").read_bytes())
    opened = {d: load_student(str(tmp_path / "half"), 0, ComputeConfig(dtype=d)) for d in ("float32", "bfloat16")}
    pairs = zip(*(dict(s.model.named_parameters()).values() for s in opened.values()), strict=True)
    for exact, spread in pairs:
        assert torch.equal(exact.bfloat16(), spread.bfloat16())
        assert share_on_grid(exact) > 0.99
        assert share_on_grid(spread) < 0.02
