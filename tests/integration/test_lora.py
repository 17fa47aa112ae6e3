"""Adapters (LoRA): trained, shared, saved, resumed, merged, exported, and those of others opened or refused."""

import json
import shutil

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM

from mopd import evaluate, load_config, resume, train
from mopd.cli import main
from mopd.config import ComputeConfig, LoraConfig, Sampling
from mopd.core.errors import AdapterError, ConfigError, StudentError
from mopd.evaluation.generating import Asked, generate
from mopd.judging.verdicts import by_verifiers
from mopd.learning.optimizer import AdamW
from mopd.learning.teacher import LocalTeacher
from mopd.models.adapter_files import PREFIX
from mopd.models.adapters import adapter_tensors
from mopd.models.masters import spread_masters
from mopd.models.student import copy_model, load_reader, load_student
from mopd.preflight.setup import Setup
from mopd.report.header import header_lines
from mopd.rollouts.engine import SamplingRequest
from mopd.rollouts.local import LocalEngine
from mopd.runs.records import read_jsonl
from mopd.scoring.rows import Row
from mopd.scoring.scorer import Scorer
from tests.architectures import make_model, make_tokenizer, save
from tests.builders import UNMEASURED, make_config
from tests.integration import resuming
from tests.integration.test_pretrained import SMOLLM2, config_for, needs_smollm2

LORA = LoraConfig(rank=4, alpha=8.0)
TOOL_CALLS = SMOLLM2.parents[1] / "configs" / "smollm2-tool-calls.toml"
IDS = torch.tensor([[3, 9, 12, 40, 7, 8, 22, 30]])


@pytest.fixture
def folder(tmp_path):
    return save(tmp_path / "model", "llama")


def perturbed(student):
    """The same student with an adapter that says something: B is zero at first."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in adapter_tensors(student.model).values():
            tensor.add_(0.1 * torch.randn(tensor.shape, generator=generator))
    return student


def own_weights(copied, model):
    """The weights of a copy that it does not share with the model."""
    shared = {id(parameter) for parameter in model.parameters()}
    return [parameter for parameter in copied.parameters() if id(parameter) not in shared]


@torch.no_grad()
def logits(model):
    return model(IDS).logits


def of_peft(tmp_path, name, base, *, model=None, **changes):
    """The folder of an adapter as PEFT itself makes and writes it, every weight of it random."""
    torch.manual_seed(3)
    options = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "init_lora_weights": False, **changes}
    wrapped = peft.get_peft_model(
        AutoModelForCausalLM.from_pretrained(base) if model is None else model,
        peft.LoraConfig(task_type="CAUSAL_LM", **options),
    )
    wrapped.save_pretrained(tmp_path / name)
    return tmp_path / name, wrapped


# --- what is trained ------------------------------------------------------------------------------------------------


def test_a_new_adapter_changes_nothing_and_is_a_function_of_the_seed(folder):
    plain = load_student(str(folder), 0).model
    one, same, other = (load_student(str(folder), seed, lora=LORA).model for seed in (0, 0, 1))
    assert torch.equal(logits(plain), logits(one))
    tensors = [adapter_tensors(model) for model in (one, same, other)]
    assert all(torch.equal(tensor, tensors[1][name]) for name, tensor in tensors[0].items())
    drawn = [name for name in tensors[0] if ".lora_A." in name]
    assert len(drawn) == 14
    assert not any(torch.equal(tensors[0][name], tensors[2][name]) for name in drawn)
    spread = torch.cat([(tensors[0][name] * tensors[0][name].shape[1] ** 0.5).flatten() for name in drawn])
    assert spread.abs().max() <= 1  # uniform within 1 / sqrt(inputs)
    assert spread.var().item() == pytest.approx(1 / 3, rel=0.05)


@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt_neox"])
def test_gradients_are_those_of_pefts_own_wrapper(tmp_path, name):
    """The loss: cross-entropy of two completions behind one prompt, here over a trie, there as two sequences."""
    student = perturbed(load_student(str(save(tmp_path / "model", name)), 0, lora=LORA))
    student.save(tmp_path / "adapter")
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    wrapped = peft.PeftModel.from_pretrained(base, tmp_path / "adapter", is_trainable=True)
    prompt, ends = (3, 9, 12, 40), [(7, 8, 22), (7, 30)]
    rows = [Row(prompt, end, (True,) * len(end)) for end in ends]

    def loss_of(pack):
        targets = torch.tensor([token for index in pack for token in rows[index].completion])
        return lambda part, predictions: -predictions.of(targets[part]).sum()

    Scorer().backward(student.model, rows, loss_of)
    for end in ends:
        found = wrapped(torch.tensor([prompt + end])).logits[0, len(prompt) - 1 : -1]
        torch.nn.functional.cross_entropy(found, torch.tensor(end), reduction="sum").backward()
    theirs = {name.replace(".default.", "."): p.grad for name, p in wrapped.named_parameters() if p.requires_grad}
    ours = {
        PREFIX + n.replace(".default.", "."): p.grad for n, p in student.model.named_parameters() if p.grad is not None
    }
    assert ours.keys() == theirs.keys()
    for key, gradient in ours.items():
        torch.testing.assert_close(gradient, theirs[key], rtol=1e-5, atol=1e-5)
        assert gradient.abs().max() > 0


def test_the_base_is_held_in_the_dtype_of_products_and_its_masters_are_not_spread(folder):
    compute = make_config("compute.dtype='bfloat16'").compute
    student, plain = load_student(str(folder), 0, compute, lora=LORA), load_student(str(folder), 0)
    weights = dict(plain.model.named_parameters())
    for name, parameter in student.model.named_parameters():
        if parameter.requires_grad:
            assert parameter.dtype == torch.float32
        else:
            assert torch.equal(parameter, weights[name.replace(".base_layer.", ".")].bfloat16())
    assert spread_masters(student.model, 0) == 0


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["ema", "frozen", "snapshot"])
def test_a_teacher_and_an_engine_hold_an_adapter_and_no_second_base(folder, dtype, kind):
    config = make_config(f"compute.dtype='{dtype}'", f"teacher.kind='{kind}'")
    student = load_student(str(folder), 0, config.compute, lora=LORA)
    teacher = LocalTeacher(student.model, config.teacher, Scorer(student.dtype))
    engine = LocalEngine(student, 8)
    adapter = sum(tensor.numel() for tensor in adapter_tensors(student.model).values())
    copies = [teacher.model] + [engine.model] * (dtype == "bfloat16")
    for copied in copies:
        assert sum(weight.numel() for weight in own_weights(copied, student.model)) == adapter
        assert not any(parameter.requires_grad for parameter in copied.parameters())
    assert {p.data_ptr() for p in teacher.model.parameters()} & {p.data_ptr() for p in student.model.parameters()}


def test_teachers_follow_the_adapter_alone(folder):
    student = load_student(str(folder), 0, lora=LORA)
    teachers = {
        kind: LocalTeacher(student.model, make_config(f"teacher.kind='{kind}'").teacher, Scorer())
        for kind in ("ema", "frozen", "live")
    }
    base = load_student(str(folder), 0).model
    before = {name: tensor.clone() for name, tensor in adapter_tensors(student.model).items()}
    perturbed(student)
    for teacher in teachers.values():
        teacher.follow(student.model, None)
    now = adapter_tensors(student.model)
    for name, tensor in adapter_tensors(teachers["ema"].model).items():
        torch.testing.assert_close(tensor, before[name] + 0.05 * (now[name] - before[name]))
    assert torch.equal(logits(teachers["frozen"].model), logits(base))  # B was zero
    assert not torch.equal(logits(teachers["ema"].model), logits(base))
    assert torch.equal(logits(teachers["live"].model), logits(student.model))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_engine_samples_by_the_adapter_it_was_last_synchronised_with(folder, dtype):
    student = load_student(str(folder), 0, make_config(f"compute.dtype='{dtype}'").compute, lora=LORA)
    engine, asked = LocalEngine(student, 8), [SamplingRequest((3, 9, 12), 4, ("test",))]
    before = engine.sample(asked, Sampling(completion_tokens=6))
    with torch.no_grad():
        for tensor in adapter_tensors(student.model).values():
            tensor.add_(0.5)
    engine.sync(student.model)
    after = engine.sample(asked, Sampling(completion_tokens=6))
    fresh = LocalEngine(student, 8).sample(asked, Sampling(completion_tokens=6))
    assert after == fresh
    assert after != before


def test_the_optimiser_holds_moments_of_the_adapter_alone(folder):
    student = load_student(str(folder), 0, lora=LORA)
    optimizer = AdamW(student.model, make_config().optimizer)
    assert len(optimizer.parameters) == len(adapter_tensors(student.model)) == 28


def test_a_copy_of_a_model_that_is_trained_whole_shares_nothing(folder):
    model = load_student(str(folder), 0).model
    assert len(own_weights(copy_model(model), model)) == len(list(model.parameters()))


# --- runs -----------------------------------------------------------------------------------------------------------


def test_a_run_holds_adapters_and_goes_on_bit_for_bit(tmp_path):
    folder = save(tmp_path / "model", "qwen3")  # its embeddings are tied
    config = config_for(tmp_path, folder, "lora.rank=4", "teacher.rate=0.3")
    run, other = tmp_path / "run", tmp_path / "other"
    train(config, quiet=True)
    metrics = read_jsonl(run / "metrics.jsonl")
    assert all(row["update/grad_norm"] > 0 and row["lessons/count"] > 0 for row in metrics)
    newest = run / "checkpoints" / "step-2"
    assert not (newest / "model.safetensors").exists()
    assert (
        sum(file.stat().st_size for file in newest.glob("*.safetensors"))
        < (folder / "model.safetensors").stat().st_size
    )
    shutil.copytree(run, other)
    shutil.rmtree(other / "checkpoints" / "step-2")
    (other / "summary.json").unlink()
    resume(other, quiet=True)
    for file in sorted(newest.glob("*.safetensors")):
        assert (other / "checkpoints" / "step-2" / file.name).read_bytes() == file.read_bytes(), file.name
    assert resuming.without_durations(other) == resuming.without_durations(run)
    assert (other / "groups.jsonl").read_bytes() == (run / "groups.jsonl").read_bytes()


def test_a_run_on_another_base_is_refused(tmp_path, folder):
    config = config_for(tmp_path, folder, "lora.rank=4")
    train(config, quiet=True)
    run = tmp_path / "run"
    shutil.rmtree(run / "checkpoints" / "step-2")
    (run / "summary.json").unlink()
    make_model("llama", seed=5).save_pretrained(folder)
    for use in (
        lambda: resume(run, quiet=True),
        lambda: evaluate(run, quiet=True),
        lambda: load_student(str(run / "checkpoints" / "step-1"), 0),
    ):
        with pytest.raises(AdapterError, match="are others than those"):
            use()
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(AdapterError, match="does not exist") as error:
        resume(run, quiet=True)
    assert "a link will do" in error.value.do
    shutil.rmtree(tmp_path / "elsewhere")
    folder.symlink_to(save(tmp_path / "moved", "llama"))
    assert resume(run, quiet=True)["steps"] == 2


def test_everything_that_takes_a_model_takes_an_adapter(tmp_path, folder, capsys):
    config = config_for(tmp_path, folder, "lora.rank=4")
    summary = train(config, quiet=True)
    run = tmp_path / "run"
    adapter = run / "checkpoints" / "step-2"
    assert evaluate(run, quiet=True)["successes_by_problem"] == summary["after"]["successes_by_problem"]
    other = config.model_copy(update={"lora": LoraConfig(rank=2)})
    assert evaluate(adapter, other, quiet=True)["successes_by_problem"] == summary["after"]["successes_by_problem"]
    asked = Asked("1+1", count=2)
    assert generate(str(run), asked).group.rollouts
    assert generate(str(adapter), asked).group.rollouts == generate(str(run), asked).group.rollouts
    assert load_reader(str(adapter)).window == load_reader(str(folder)).window
    assert main(["show-context", str(run)]) == 0
    assert (
        main(
            [
                "problems",
                f"problems.source={config.problems.source}",
                "problems.held_out=2",
                "context.tokens=400",
                f"student={adapter}",
            ]
        )
        == 0
    )
    capsys.readouterr()


def test_exports_merged_or_alone_give_the_same_logits(tmp_path, folder, capsys):
    train(config_for(tmp_path, folder, "lora.rank=4", "optimizer.learning_rate=0.05"), quiet=True)
    run = str(tmp_path / "run")
    assert main(["export", run, str(tmp_path / "merged"), "--dtype", "float32"]) == 0
    assert main(["export", run, str(tmp_path / "alone"), "--dtype", "float32", "--adapter"]) == 0
    capsys.readouterr()
    wanted = logits(load_student(str(tmp_path / "run" / "checkpoints" / "step-2"), 0, lora=LoraConfig(rank=4)).model)
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert not any("lora" in name for name, _ in merged.named_parameters())
    base = AutoModelForCausalLM.from_pretrained(folder)
    assert (logits(base) - wanted).abs().max() > 1e-4
    alone = peft.AutoPeftModelForCausalLM.from_pretrained(tmp_path / "alone")
    for model in (merged, alone):
        torch.testing.assert_close(logits(model), wanted, rtol=1e-5, atol=1e-5)
    whole = config_for(tmp_path, folder, f"run='{tmp_path / 'whole'}'", "steps=1")
    train(whole, quiet=True)
    assert main(["export", str(tmp_path / "whole"), str(tmp_path / "none"), "--adapter"]) == 2
    assert "is a whole model" in capsys.readouterr().err


def test_a_model_that_was_passed_keeps_its_base_with_the_run(tmp_path):
    passed = make_model("llama"), make_tokenizer()
    config = config_for(tmp_path, "python:LlamaForCausalLM", "lora.rank=4", "compute.dtype='bfloat16'")
    train(config, student=passed, quiet=True)
    assert {p.requires_grad for p in passed[0].parameters()} == {True, False}
    del passed
    run, newest = tmp_path / "moved", tmp_path / "moved" / "checkpoints" / "step-2"
    (tmp_path / "run").rename(run)
    kept = {file.name: file.read_bytes() for file in newest.glob("*.safetensors")}
    shutil.rmtree(newest)
    (run / "summary.json").unlink()
    resume(run, quiet=True)
    assert {file.name: file.read_bytes() for file in newest.glob("*.safetensors")} == kept
    assert main(["export", str(run), str(tmp_path / "merged"), "--dtype", "float32"]) == 0


# --- adapters of others ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["llama", "qwen3"])
def test_an_adapter_of_pefts_own_is_merged_or_trained_on(tmp_path, name):
    base = save(tmp_path / "model", name)
    folder, wrapped = of_peft(tmp_path, "adapter", base)
    merged, going_on = load_student(str(folder), 0), load_student(str(folder), 0, lora=LORA)
    for student in (merged, going_on):
        torch.testing.assert_close(logits(student.model), logits(wrapped), rtol=1e-5, atol=1e-5)
    assert all(parameter.requires_grad for parameter in merged.model.parameters())
    config, problems = config_for(tmp_path, folder), type("None", (), {"train": (), "held_out": ()})
    assert "merged into its base; all weights are trained" in "\n".join(
        header_lines(Setup(config, problems, by_verifiers, merged, None), "run", 0)
    )
    merged.save(tmp_path / "saved")
    torch.testing.assert_close(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "saved")), logits(wrapped))


def test_a_base_may_be_named_by_a_path_from_the_adapters_folder(tmp_path, folder):
    adapter, wrapped = of_peft(tmp_path, "adapter", folder)
    edit(adapter, base_model_name_or_path="../model")
    torch.testing.assert_close(logits(load_student(str(adapter), 0).model), logits(wrapped), rtol=1e-5, atol=1e-5)


def test_an_adapter_of_the_hub_is_opened_from_its_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))

    def cached(name):
        repository = tmp_path / "hub" / f"models--org--{name}"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text("a" * 40)
        return repository / "snapshots" / ("a" * 40)

    base = save(cached("model"), "llama")
    written, wrapped = of_peft(tmp_path, "adapter", base)
    edit(written, base_model_name_or_path="org/model")
    shutil.copytree(written, cached("adapter"))
    for lora in (None, LORA):
        student = load_student("org/adapter", 0, lora=lora)
        torch.testing.assert_close(logits(student.model), logits(wrapped), rtol=1e-5, atol=1e-5)
    shutil.copytree(written, save(cached("both"), "llama"), dirs_exist_ok=True)
    with pytest.raises(StudentError, match="beside a model's weights"):
        load_student("org/both", 0)


@pytest.mark.parametrize(
    "lora", [LoraConfig(rank=8, alpha=8.0), LoraConfig(rank=4), LoraConfig(rank=4, alpha=8.0, targets=("q_proj",))]
)
def test_a_table_that_contradicts_the_adapter_is_refused(tmp_path, folder, lora):
    adapter, _ = of_peft(tmp_path, "adapter", folder)
    with pytest.raises(ConfigError, match="has rank 4, alpha 8, targets") as error:
        load_student(str(adapter), 0, lora=lora)
    assert "lora.rank = 4, lora.alpha = 8" in error.value.do


def edit(folder, **changes):
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"bias": "all"}, "bias"),
        ({"peft_type": "IA3"}, "peft_type = 'IA3'"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights"),
        ({"something_new": 3}, "something_new = 3"),
        ({"base_model_name_or_path": None}, "no base_model_name_or_path"),
        ({"base_model_name_or_path": "/not/there"}, "/not/there does not exist"),
        ({"target_modules": ["not_there"]}, "not_there"),
        ({"r": 8}, "would fit"),
        ({"target_modules": ["q_proj"]}, "of no layer"),
    ],
)
def test_an_adapter_that_cannot_be_used_is_refused_by_name(tmp_path, folder, changes, match):
    adapter, _ = of_peft(tmp_path, "adapter", folder)
    edit(adapter, **changes)
    with pytest.raises(AdapterError, match=match) as error:
        load_student(str(adapter), 0)
    assert error.value.do


def test_an_adapter_for_another_base_is_refused(tmp_path, folder):
    adapter, _ = of_peft(tmp_path, "adapter", folder)
    other = save(tmp_path / "other", "lfm2")
    edit(adapter, base_model_name_or_path=str(other))
    with pytest.raises(AdapterError, match=r"of no layer|missing|would fit|not found"):
        load_student(str(adapter), 0)


def test_a_quantised_base_is_refused(tmp_path, folder):
    adapter, _ = of_peft(tmp_path, "adapter", folder)
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"quantization_config": {"quant_method": "awq"}}))
    with pytest.raises(AdapterError, match=r"its base: .*quantization_config \(awq\)"):
        load_student(str(adapter), 0)


def test_a_damaged_adapter_is_named(tmp_path, folder):
    adapter, _ = of_peft(tmp_path, "adapter", folder)
    file = adapter / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(AdapterError, match=f"adapter {adapter}.*header") as error:
        load_student(str(adapter), 0)
    assert error.value.do == "fetch it again"


def test_half_an_adapter_is_refused(tmp_path, folder):
    adapter, _ = of_peft(tmp_path, "adapter", folder)
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(StudentError, match="half of an adapter"):
        load_student(str(adapter), 0)


def test_the_missing_package_is_named(tmp_path, folder, monkeypatch):
    find = __import__("importlib.util").util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None if name == "peft" else find(name, *rest))
    with pytest.raises(ConfigError, match=r"pip install \"mopd\[lora\]\""):
        load_student(str(folder), 0, lora=LORA)


# --- what does not suit the model -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lora", "match"),
    [
        (LoraConfig(rank=33), r"lora.rank = 33, but model.layers.0.self_attn.q_proj is 32 x 32"),
        (LoraConfig(rank=4, targets=("q_proj", "w_proj")), r"'w_proj' in lora.targets: there is no such layer"),
        (LoraConfig(rank=4, targets=("embed_tokens",)), "embeddings are not adapted"),
        (LoraConfig(rank=4, targets=("lm_head",)), "embeddings are not adapted"),
    ],
)
def test_what_does_not_suit_the_model_is_refused(folder, lora, match):
    with pytest.raises(ConfigError, match=match):
        load_student(str(folder), 0, lora=lora)


def test_layers_may_be_named(folder):
    model = load_student(str(folder), 0, lora=LoraConfig(rank=4, targets=("q_proj", "1.mlp.up_proj"))).model
    layers = {name.partition(".lora_")[0].removeprefix(PREFIX + "model.layers.") for name in adapter_tensors(model)}
    assert layers == {"0.self_attn.q_proj", "1.self_attn.q_proj", "1.mlp.up_proj"}


def test_an_embedded_student_has_nothing_to_adapt():
    with pytest.raises(ConfigError, match="weights are random"):
        load_student("builtin:digits", 0, lora=LORA)


# --- a pretrained model ---------------------------------------------------------------------------------------------


@pytest.mark.long
@needs_smollm2
def test_smollm2_learns_tool_calls_with_an_adapter(tmp_path):
    """48 demonstrations of calls, then two steps of MOPD. Before any of them the loss is 1.45 nats a token."""
    keys = ["warmup.context_steps=0", "warmup.learning_rate=2e-3", "warmup.problems=48", "lora.rank=16"]
    sizes = ["steps=2", "problems_per_step=4", "group_size=4", "problems.size=64", "problems.held_out=0"]
    places = [f"student='{SMOLLM2}'", f"run='{tmp_path / 'run'}'", "optimizer.learning_rate=5e-4"]
    train(load_config(TOOL_CALLS, [*UNMEASURED, *keys, *sizes, *places]), quiet=True)
    assert json.loads((tmp_path / "run" / "warmup.json").read_text())["loss_nats"] < 1
    metrics = read_jsonl(tmp_path / "run" / "metrics.jsonl")
    assert any(row["lessons/count"] > 0 and row["update/grad_norm"] > 0 for row in metrics)
    checkpoint = tmp_path / "run" / "checkpoints" / "step-2"
    assert sum(file.stat().st_size for file in checkpoint.glob("*.safetensors")) < 100e6  # the base has 538e6
    with torch.no_grad():
        adapter, whole = (
            load_student(str(checkpoint), 0, ComputeConfig(dtype="float32"), lora=lora).model(IDS).logits
            for lora in (LoraConfig(), None)
        )
    torch.testing.assert_close(adapter, whole, rtol=1e-4, atol=1e-3)
