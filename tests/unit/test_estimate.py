"""Estimates: bytes by part are those of models that are really built; what cannot be is refused by name."""

import pytest
import torch
from transformers import AutoTokenizer, Qwen3Config

from mopd.cli import main
from mopd.config import build_config
from mopd.core.errors import ConfigError, StudentError
from mopd.estimating.devices import card, cards
from mopd.estimating.estimate import estimate
from mopd.estimating.exchange import exchange_seconds
from mopd.estimating.fitting import check_fits
from mopd.estimating.layout import Layout
from mopd.estimating.memory import by_phase, peak
from mopd.estimating.plan import Keeping, adapter_numbers, keeping_of, kept_parts, moment_bytes, plan_of
from mopd.estimating.sizes import architecture_of, empty_model, shapes_of
from mopd.estimating.tracing import LiveBytes, StandIn
from mopd.learning.optimizer import AdamW
from mopd.models.adapters import add_adapter
from mopd.models.embedded import EMBEDDED
from mopd.models.student import copy_model
from mopd.scoring.rows import Row
from mopd.scoring.scorer import Scorer
from tests.architectures import ARCHITECTURES, WITH_STATES, WITHOUT_CACHE, make_model

QWEN3_4B = {
    **{"hidden_size": 2560, "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8},
    **{"head_dim": 128, "intermediate_size": 9728, "vocab_size": 151_936, "tie_word_embeddings": True},
}


def nbytes(tensors):
    return sum(tensor.nbytes for tensor in tensors)


def bytes_of(keeping, shapes):
    return {part.name: (part.bytes, part.host_bytes) for part in kept_parts(shapes, keeping)}


@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt_neox"])
def test_bytes_by_part_are_those_of_a_model_that_learns(name):
    model = ARCHITECTURES[name](40)
    config = build_config({})
    optimizer = AdamW(model, config.optimizer)
    model(input_ids=torch.tensor([[3, 4, 5]])).logits.sum().backward()
    gradients = nbytes(parameter.grad for parameter in model.parameters())
    optimizer.update(1e-4, most_fall=1.0)
    moments = sum(state[key].nbytes for state in optimizer.inner.state.values() for key in ("exp_avg", "exp_avg_sq"))
    found = {p.name: p.bytes for p in plan_of(config, shapes_of(empty_model(model.config)), "bfloat16")}
    assert found == {
        "weights": nbytes(model.parameters()),
        "gradients": gradients,
        "optimiser's moments": moments,
        "teacher": nbytes(copy_model(model).parameters()),
        "weights before an update": nbytes(optimizer._before),
        "engine's copy": nbytes(copy_model(model, torch.bfloat16).parameters()),
    }


def test_a_run_that_needs_less_keeps_less():
    shapes = shapes_of(ARCHITECTURES["llama"](40))
    unbounded = build_config({}, ["teacher.kind='live'", "optimizer.fall_share=0", "optimizer.drift_nats=0"])
    assert [part.name for part in plan_of(unbounded, shapes, "float32")] == [
        "weights",
        "gradients",
        "optimiser's moments",
    ]
    grpo = build_config({}, ["objective.kind='grpo'"])
    assert "teacher" not in {part.name for part in plan_of(grpo, shapes, "float32")}


def test_rules_of_smaller_numbers():
    shapes = shapes_of(ARCHITECTURES["llama"](40))
    n = shapes.count
    half = bytes_of(Keeping(products="bfloat16", weights="bfloat16", teacher="bfloat16"), shapes)
    assert half == {
        "weights": (2 * n, 0),
        "gradients": (2 * n, 0),
        "optimiser's moments": (8 * n, 0),
        "teacher": (2 * n, 0),
        "weights before an update": (2 * n, 0),
    }
    away = bytes_of(Keeping(products="bfloat16", weights="offloaded", teacher="offloaded"), shapes)
    assert away["weights"] == (2 * n, 4 * n)
    assert away["optimiser's moments"] == (0, 8 * n)
    assert away["weights before an update"] == (0, 4 * n)
    assert away["teacher"] == (2 * n, 4 * n)
    assert away["teacher's output embedding"] == (2 * shapes.head_weights, 0)
    assert moment_bytes([8192, 100], "8bit") == 2 * 8192 + 2 * 4 * 8192 // 256 + 8 * 100
    adapter = adapter_numbers([(64, 32)], rank=4)
    assert sum(adapter) == 4 * (64 + 32)
    lora = bytes_of(Keeping(products="bfloat16", teacher=None, adapter=adapter), shapes)
    assert lora["base weights"] == (2 * n, 0)
    assert lora["optimiser's moments"] == (8 * sum(adapter), 0)
    assert "engine's copy" not in lora
    assert bytes_of(Keeping(external=10), shapes)["another model that teaches"] == (40, 0)


@pytest.mark.parametrize("targets", ["'all-linear'", "['q_proj', 'down_proj']"])
def test_an_adapter_has_the_parameters_that_it_really_has(targets):
    config = build_config({}, ["student='elsewhere'", "lora.rank=4", f"lora.targets={targets}"])
    model = ARCHITECTURES["llama"](40)
    parts = {part.name: part.bytes for part in plan_of(config, shapes_of(model), "bfloat16")}
    base = sum(parameter.numel() for parameter in model.parameters())
    add_adapter(model, config.lora, seed=0)
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert parts == {
        "base weights": 2 * base,
        "weights": 4 * trained,
        "gradients": 4 * trained,
        "optimiser's moments": 8 * trained,
        "teacher": 4 * trained,
        "weights before an update": 4 * trained,
    }


def test_what_is_kept_is_as_the_configuration_says():
    shapes, said = (
        shapes_of(ARCHITECTURES["llama"](40)),
        ["weights='bfloat16'", "moments='8bit'", "teacher='offloaded'"],
    )
    keeping = keeping_of(build_config({}, [f"compute.{one}" for one in said]), shapes, "bfloat16")
    assert keeping == Keeping("bfloat16", "bfloat16", "8bit", "offloaded")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tensors_without_numbers_take_what_real_ones_take(dtype):
    config = ARCHITECTURES["llama"](40).config
    config.num_hidden_layers = 4
    pack = [Row(tuple(range(3, 20)), (20 + index, 5, 6), (True,) * 3) for index in range(3)]
    scorer = Scorer(dtype)
    kept, _ = StandIn(empty_model(config), scorer).learning(pack)
    real = type(ARCHITECTURES["llama"](40))(config)
    scorer.states_with_gradient(real, pack)  # tables that are made once
    with LiveBytes() as live, scorer.computing(real):
        states = scorer.states_with_gradient(real, pack)
        assert kept == pytest.approx(live.now, rel=0.02)
    assert len(states) == 9


@pytest.mark.long
def test_a_built_in_student_is_estimated_and_its_peak_is_that_of_one_phase(tmp_path):
    found = estimate(
        build_config({}, ["problems.size=9", "problems.held_out=2", "problems_per_step=1", "group_size=4"]), "cpu"
    )
    assert found.parameters == sum(p.numel() for p in EMBEDDED["digits"].build(0)[0].parameters())
    assert (found.fits, found.holder, found.helps) == (True, "rtx-3090", ())
    sums = by_phase(found.worst.parts)
    assert peak(found.worst.parts) == (found.worst.phase, found.worst.peak) == (found.worst.phase, max(sums.values()))
    assert found.expected.peak <= found.worst.peak
    assert all(seconds > 0 for seconds in found.worst.seconds.values())
    assert found.as_json()["fits"] is True


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    """From the shape of a model to a folder with its configuration and a tokenizer, and no weights."""

    def make(**shape):
        folder = tmp_path_factory.mktemp("model")
        tokenizer = EMBEDDED["digits"].tokenizer()
        tokenizer.save_pretrained(folder)
        Qwen3Config(**{**QWEN3_4B, **shape}).save_pretrained(folder)
        assert AutoTokenizer.from_pretrained(folder).chat_template
        return folder

    return make


def test_another_models_reading_is_estimated_by_its_own_shapes(folder_of):
    small = {"num_hidden_layers": 2, "vocab_size": 4096, "head_dim": 32}
    student = folder_of(hidden_size=64, intermediate_size=128, num_attention_heads=2, num_key_value_heads=2, **small)
    teacher = folder_of(hidden_size=256, intermediate_size=512, num_attention_heads=8, num_key_value_heads=8, **small)
    said = ["problems.size=9", "problems.held_out=2", "problems_per_step=1", "group_size=4", f"student='{student}'"]
    words = "{ success = '{text}', failure = '{text}', feedback = '{text}', turn = '{problem}{blocks}' }"
    said.append(f"context.template={words}")  # the folder's tokenizer knows digits alone
    fixed = [*said, "peers.recipe='fixed'", "peers.successes=1", "peers.failures=1", "compute.dtype='float32'"]

    def found(*overrides):
        needs = estimate(build_config({}, [*fixed, *overrides]), "rtx-3090").worst
        return needs, {part.name: part.bytes for part in needs.parts}

    _, own_bytes = found()
    same, same_bytes = found("teacher.kind='external'", f"teacher.model='{student}'")
    larger, larger_bytes = found("teacher.kind='external'", f"teacher.model='{teacher}'")
    reading = ("teacher's hidden states", "reading contexts")
    assert [same_bytes[name] for name in reading] == [own_bytes[name] for name in reading]
    assert larger_bytes["teacher's hidden states"] == 4 * same_bytes["teacher's hidden states"]  # its width
    assert larger_bytes["reading contexts"] > 2 * same_bytes["reading contexts"]
    assert larger_bytes["sampling cache"] > same_bytes["sampling cache"]  # its accuracy is measured
    assert larger.seconds["teacher"] > 4 * same.seconds["teacher"]
    assert larger.seconds["student"] == same.seconds["student"]
    served = "teacher.kind='served'", "divergence.support='teacher_top_k'"
    there, there_bytes = found(*served)
    assert there.seconds["teacher"] == 0
    assert "teacher accuracy" not in there.seconds
    assert set(own_bytes) - set(there_bytes) == {*reading, "teacher"}


def test_a_folder_without_weights_is_enough_and_a_published_model_has_its_published_size(folder_of):
    found = shapes_of(empty_model(architecture_of(str(folder_of()))))
    assert found.count == 4_022_468_096  # Qwen3-4B
    assert found.cache_numbers == 2 * 36 * 8 * 128


def test_a_run_that_cannot_fit_is_refused_before_anything_is_loaded(folder_of):
    folder = folder_of(hidden_size=16_384, num_hidden_layers=1_000, intermediate_size=53_248)
    with pytest.raises(ConfigError) as refused:
        check_fits(build_config({"student": str(folder)}))
    assert "optimiser's moments" in str(refused.value)
    assert "--force" in refused.value.do


def test_bad_input_is_named(tmp_path, capsys):
    with pytest.raises(ConfigError, match="did you mean h100"):
        card("h10")
    assert [one.memory for one in cards()] == sorted(one.memory for one in cards())
    with pytest.raises(StudentError, match=r"no config\.json"):
        architecture_of(str(tmp_path))
    assert main(["estimate", "steps=1", "--device", "rtx4090"]) == 2
    assert "did you mean rtx-4090" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted({*WITH_STATES, *WITHOUT_CACHE}))
def test_the_weights_of_a_model_with_states_are_counted(name):
    model = make_model(name)
    shapes = shapes_of(empty_model(model.config))
    assert shapes.count == sum(parameter.numel() for parameter in model.parameters())
    assert plan_of(build_config({}), shapes, "float32")[0].bytes == 4 * shapes.count


# --- several devices ------------------------------------------------------------------------------------------------


def test_layers_are_shared_by_shards_and_what_is_around_them_and_the_engines_copy_are_whole():
    shapes = shapes_of(ARCHITECTURES["llama"](40))
    one, four = bytes_of(Keeping(), shapes), bytes_of(Keeping(shards=4), shapes)
    layers = sum(shapes.by_layer)
    for name in ("weights", "gradients", "optimiser's moments", "teacher", "weights before an update"):
        each = one[name][0] // shapes.count
        assert four[name][0] == pytest.approx(each * (layers / 4 + shapes.count - layers), abs=each * shapes.layers)
    assert four["engine's copy"] == (4 * shapes.count, 0)
    assert "engine's copy" not in one
    assert four["gathered weights"] == (8 * max(shapes.by_layer), 0)


def exchanged(overrides, devices, shapes=None):
    config = build_config({}, overrides)
    shapes = shapes or shapes_of(ARCHITECTURES["llama"](40))
    rows = tuple(Row((1, 2, 3, n), (n, n), (True, True)) for n in range(4))
    layout = Layout(((1, 2, 3),), rows, rows, ((1, 2, 3),), 2, 1.0)
    keeping = keeping_of(config, shapes, "float32", devices)
    return exchange_seconds(config, shapes, layout, card("h100"), keeping, devices), shapes.count


def test_gradients_of_whole_copies_pass_each_link_twice():
    found, count = exchanged([], 4)
    assert found["exchange"] == pytest.approx(2 * 4 * count * (3 / 4) / (0.6 * 450e9))
    assert exchanged([], 1)[0] == {}


def test_shards_are_gathered_for_every_microbatch_and_once_for_the_engine():
    found, count = exchanged(["parallel.strategy='fsdp'"], 2)
    read, learnt = 1, 3  # one pack each: of the teacher once; of the student forward, backward, and its gradients
    layers = sum(shapes_of(ARCHITECTURES["llama"](40)).by_layer)
    moved = 4 * (read + learnt + 1) * layers + 2 * 4 * (count - layers)
    assert found["exchange"] == pytest.approx(moved / 2 / (0.6 * 450e9))


def test_a_server_gets_weights_in_the_dtype_of_products_through_a_folder_that_each_reads():
    servers = "['http://127.0.0.1:8000', 'http://127.0.0.1:8001']"
    found, count = exchanged(["student='a-model'", "engine.kind='vllm'", f"engine.servers={servers}"], 1)
    assert found == {"push": pytest.approx(4 * count * 3 / 1e9)}


@pytest.mark.long
def test_a_step_of_several_devices_is_that_of_the_largest_share():
    config = build_config({"problems_per_step": 5, "problems": {"held_out": 8}})
    one, two = estimate(config, "h100"), estimate(config, "h100", devices=2)  # rates that do not change in between
    assert two.worst.seconds["student"] < one.worst.seconds["student"]
    assert two.devices == 2
    assert any("linked at" in said for said in two.assumptions)
    assert "exchange" in two.worst.seconds
    assert "exchange" not in one.worst.seconds


def test_no_devices_are_refused():
    with pytest.raises(ConfigError, match="at least 1"):
        estimate(build_config({}), devices=0)
