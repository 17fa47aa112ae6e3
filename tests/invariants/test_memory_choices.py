"""Whatever weights, moments and teacher are kept in, the update, the samples and the teaching are what they should."""

import copy
import math

import pytest
import torch

from mopd.config import ComputeConfig, EmaTeacher, FrozenTeacher, OptimizerConfig, Sampling
from mopd.core.errors import ConfigError
from mopd.learning.lean import LeanAdamW
from mopd.learning.optimizer import AdamW
from mopd.learning.teacher import Health, LocalTeacher
from mopd.models.embedded import EMBEDDED
from mopd.models.student import copy_model, load_student
from mopd.models.weights import full_weights, is_in
from mopd.rollouts.engine import SamplingRequest
from mopd.rollouts.local import LocalEngine
from mopd.scoring.rows import Row
from mopd.scoring.scorer import Scorer
from tests.conftest import needs_torchao
from tests.invariants.test_learner import make_lessons

CPU, HEALTH = torch.device("cpu"), Health(1.0, 1.0)
ROWS = [Row(tuple(range(3, 9)), (4, 5, 6, 2), (True,) * 4), Row(tuple(range(3, 9)), (4, 5, 7, 7), (True,) * 4)]
RATES = (1e-3, 2e-3, 1e-3)


def student_of(**choices):
    compute = ComputeConfig(device="cpu", dtype="bfloat16", **choices)
    return load_student("builtin:digits", 3, compute)


def gradients(model, seed):
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator).to(parameter.dtype)


def test_updates_of_parts_are_those_of_torch_to_the_bit():
    one = torch.nn.Linear(700, 301)
    other = copy.deepcopy(one)
    theirs = torch.optim.AdamW(one.parameters(), lr=1e-3, weight_decay=0.01, fused=True)
    config = OptimizerConfig(learning_rate=1e-3)
    ours = LeanAdamW(list(other.parameters()), dict(other.named_parameters()), config, "float32", 0)
    for step in range(3):
        for model, optimizer in ((one, theirs), (other, ours)):
            gradients(model, step)
            optimizer.step()
    for wanted, found in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(wanted, found)


def test_offloaded_masters_are_updated_like_float32_weights_and_the_model_is_rounded_from_them():
    plain, offloaded = student_of().model, student_of(weights="offloaded").model
    optimizers = [AdamW(model, OptimizerConfig()) for model in (plain, offloaded)]
    for step, rate in enumerate(RATES):
        for model, optimizer in zip((plain, offloaded), optimizers, strict=True):
            gradients(model, step)
            for parameter in model.parameters():
                parameter.grad = parameter.grad.bfloat16().to(parameter.dtype)
            optimizer.update(rate, math.inf)
            optimizer.take_back(0.5)
    masters = full_weights(offloaded)
    for name, wanted in plain.named_parameters():
        torch.testing.assert_close(masters[name], wanted.detach(), rtol=0, atol=2e-5)
        shown = dict(offloaded.named_parameters())[name]
        assert shown.dtype == torch.bfloat16
        assert torch.equal(shown, masters[name].bfloat16())


@needs_torchao
@pytest.mark.parametrize("weights", ["float32", "bfloat16", "offloaded"])
def test_moments_of_8_bits_make_nearly_the_same_updates_and_go_on_bit_for_bit(weights):
    moved = {}
    for moments in ("float32", "8bit"):
        model = student_of(weights=weights).model
        before = {name: weight.detach().clone() for name, weight in full_weights(model).items()}
        optimizer = AdamW(model, OptimizerConfig(weight_decay=0), moments, seed=1)
        for step, rate in enumerate(RATES):
            gradients(model, step)
            optimizer.update(rate)
        moved[moments] = torch.cat([(w.detach() - before[n]).float().flatten() for n, w in full_weights(model).items()])
    assert torch.nn.functional.cosine_similarity(*moved.values(), dim=0) > 0.99

    again = student_of(weights=weights).model
    for name, weight in full_weights(again).items():
        weight.data.copy_(full_weights(model)[name])
    resumed = AdamW(again, OptimizerConfig(weight_decay=0), "8bit", seed=1)
    resumed.load_state_tensors({name: tensor.clone() for name, tensor in optimizer.state_tensors().items()})
    for one, its in ((model, optimizer), (again, resumed)):
        gradients(one, 9)
        its.update(1e-3, 0.001)
    for name, wanted in full_weights(model).items():
        assert torch.equal(full_weights(again)[name], wanted), name


def test_an_update_in_bfloat16_that_is_taken_back_a_little_moves_that_much_less_on_average():
    model = student_of(weights="bfloat16").model
    before = [weight.detach().float() for weight in model.parameters()]
    gradients(model, 0)
    optimizer = AdamW(model, OptimizerConfig(weight_decay=0), seed=4)
    optimizer.update(1e-3, math.inf)
    whole = [weight.detach().float() - was for weight, was in zip(model.parameters(), before, strict=True)]
    optimizer.take_back(0.25)
    part = [weight.detach().float() - was for weight, was in zip(model.parameters(), before, strict=True)]
    projected = sum((a * b).sum() for a, b in zip(whole, part, strict=True)) / sum((a * a).sum() for a in whole)
    assert projected.item() == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("weights", ["bfloat16", "offloaded"])
def test_the_engine_samples_with_the_students_own_weights_what_a_copy_would_write(weights):
    lean, plain = student_of(weights=weights), student_of()
    engine, copying = LocalEngine(lean, 8), LocalEngine(plain, 8)
    assert engine.model is lean.model
    assert copying.model is not plain.model
    request, sampling = [SamplingRequest((1, 10, 9, 3), 4, (0,))], Sampling(completion_tokens=6)
    assert engine.sample(request, sampling) == copying.sample(request, sampling)
    teacher = copy_model(plain.model)
    engine.sync(teacher)
    assert engine.model is not teacher
    assert is_in(engine.model, torch.bfloat16, CPU)
    assert engine.sample(request, sampling) == copying.sample(request, sampling)
    engine.sync(lean.model)
    assert engine.model is lean.model


def test_gradients_of_bfloat16_weights_are_those_of_float32_weights_but_for_rounding():
    found = []
    for model in (student_of().model, student_of(weights="bfloat16").model):
        scorer = Scorer(torch.bfloat16, 512)
        scorer.backward(model, ROWS, lambda pack: lambda part, seen: seen.whole()[:, 5].sum())
        found.append({name: parameter.grad for name, parameter in model.named_parameters()})
    for name, wanted in found[0].items():
        got = found[1][name]
        assert got.dtype == torch.bfloat16
        assert (got.float() - wanted).norm() <= 0.05 * wanted.norm(), name


def predictions(teacher):
    lessons = make_lessons()
    reading = teacher.read(lessons)(range(len(lessons)))
    return reading(range(3)).whole()


@pytest.mark.parametrize("kept", ["bfloat16", "offloaded"])
def test_a_teacher_that_is_kept_otherwise_predicts_the_same_where_products_round_its_weights_anyhow(kept):
    model, _ = EMBEDDED["digits"].build(seed=3)  # its norms are ones, which bfloat16 holds
    embedding = model.get_input_embeddings().weight
    embedding.data = embedding.data.bfloat16().float()  # neither norms nor embeddings that are looked up are products
    scorer = Scorer(torch.bfloat16, 512)
    plain = LocalTeacher(model, FrozenTeacher(), scorer)
    other = LocalTeacher(model, FrozenTeacher(), scorer, weights=kept)
    assert torch.equal(predictions(plain), predictions(other))
    wanted = torch.bfloat16 if kept == "bfloat16" else torch.float32
    assert {parameter.dtype for parameter in other.model.parameters()} == {wanted}


def test_an_average_in_bfloat16_follows_the_student_where_the_nearest_would_stand_still():
    model, _ = EMBEDDED["digits"].build(seed=3)
    teacher = LocalTeacher(model, EmaTeacher(rate=0.01), Scorer(torch.bfloat16), weights="bfloat16", seed=2)
    start = torch.cat([weight.detach().float().flatten() for weight in teacher.model.parameters()])
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.05)
    ends = torch.cat([weight.detach().flatten() for weight in model.parameters()])
    assert torch.equal(start.lerp(ends, 0.01).bfloat16().float(), start)
    for step in range(20):
        teacher.follow(model, HEALTH, step)
    moved = torch.cat([weight.detach().float().flatten() for weight in teacher.model.parameters()]) - start
    share = ((moved * (ends - start)).sum() / (ends - start).square().sum()).item()
    assert share == pytest.approx(1 - 0.99**20, rel=0.03)


def test_a_float32_teacher_of_an_offloaded_student_follows_its_masters():
    model = student_of(weights="offloaded").model
    teacher = LocalTeacher(model, EmaTeacher(rate=0.5), Scorer(torch.bfloat16))
    masters = full_weights(model)
    for name, weight in teacher.model.named_parameters():
        assert torch.equal(weight, masters[name])
        masters[name].mul_(1.0001)
    teacher.follow(model, HEALTH, 0)
    for name, weight in teacher.model.named_parameters():
        torch.testing.assert_close(weight, masters[name] * (1 - 0.00005), rtol=1e-6, atol=0)


@pytest.mark.parametrize("choice", [{"weights": "bfloat16"}, {"weights": "offloaded"}, {"teacher": "bfloat16"}])
def test_weights_in_bfloat16_are_refused_where_products_are_not(choice):
    with pytest.raises(ConfigError, match=r"products in float32(.|\n)*set compute.dtype = 'bfloat16'"):
        load_student("builtin:digits", 0, ComputeConfig(device="cpu", dtype="float32", **choice))
