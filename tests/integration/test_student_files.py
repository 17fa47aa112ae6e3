"""A student is what its files hold, all of it, or it is refused."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, LlamaModel

from mopd.config import build_config
from mopd.core.errors import AdapterError, StudentError
from mopd.models.pretrained import open_pretrained
from mopd.models.student import load_student
from mopd.runs.paths import settled
from tests.architectures import ARCHITECTURES, CLASSES, save


@pytest.fixture
def folder(tmp_path):
    return save(tmp_path / "model", "llama")


def rewrite(folder, change):
    file = folder / "model.safetensors"
    save_file(change(load_file(file)), file, {"format": "pt"})


@pytest.mark.parametrize("name", [*ARCHITECTURES, *CLASSES])
def test_what_a_model_saved_itself_is_opened_whole(name, tmp_path):
    model, _ = open_pretrained(str(save(tmp_path / "model", name)))
    assert type(model).__name__.lower().startswith(name.split("_")[0])


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "base_model.model.", "pretrained_model."])
def test_tensors_under_a_wrappers_names_are_refused_and_the_prefix_is_named(prefix, folder):
    rewrite(folder, lambda tensors: {prefix + name: tensor for name, tensor in tensors.items()})
    with pytest.raises(StudentError, match="have every tensor of LlamaForCausalLM") as error:
        load_student(str(folder), 0)
    assert repr(prefix) in error.value.do


@pytest.mark.parametrize("lost", ["model.layers.1.mlp.up_proj.weight", "lm_head.weight", "model.norm.weight"])
def test_a_missing_tensor_is_named(lost, folder):
    rewrite(folder, lambda tensors: {name: tensor for name, tensor in tensors.items() if name != lost})
    with pytest.raises(StudentError, match=lost):
        load_student(str(folder), 0)


@pytest.mark.parametrize("layers", [1, 3])
def test_a_configuration_with_other_layers_than_the_file_is_refused(layers, folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": layers}))
    with pytest.raises(StudentError, match="have every tensor"):
        load_student(str(folder), 0)


def test_a_value_head_beside_the_model_is_named(folder):
    rewrite(folder, lambda tensors: {**tensors, "v_head.summary.weight": torch.zeros(1, 32)})
    with pytest.raises(StudentError, match=r"1 unused, v_head\.summary\.weight"):
        load_student(str(folder), 0)


@pytest.mark.parametrize("kind", ["bare", "classifier"])
def test_a_folder_of_another_kind_of_model_is_refused(kind, folder):
    if kind == "bare":
        LlamaModel.from_pretrained(folder).save_pretrained(folder)
    else:
        AutoModelForSequenceClassification.from_pretrained(folder).save_pretrained(folder)
    with pytest.raises(StudentError, match="have every tensor"):
        load_student(str(folder), 0)


def test_an_adapter_is_never_half_used(folder, tmp_path):
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    with pytest.raises(StudentError, match="one whole model") as error:
        load_student(str(folder), 0)
    assert "merge_and_unload" in error.value.do
    alone = tmp_path / "adapter"
    alone.mkdir()
    shutil.copy(folder / "adapter_config.json", alone)
    with pytest.raises(StudentError, match="half of an adapter"):
        load_student(str(alone), 0)
    save_file({"x": torch.zeros(1)}, alone / "adapter_model.safetensors")
    with pytest.raises(AdapterError, match="no base_model_name_or_path"):
        load_student(str(alone), 0)


def test_an_opened_model_is_always_the_same(folder):
    one, two = (load_student(str(folder), 0).model for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


# --- other files in the folder ------------------------------------------------------------------------------------


def edit(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin.index.json", "model.safetensors.index.json", "openvino.index.json"]
)
def test_an_index_of_shards_that_nothing_opens_is_no_reason_to_refuse(folder, name):
    (folder / name).write_text(json.dumps({"weight_map": {"a": "absent-00001-of-00002.bin"}}))
    load_student(str(folder), 0)


def test_shards_that_are_opened_are_all_there(folder):
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    with pytest.raises(StudentError, match="all 2 shards"):
        load_student(str(folder), 0)


def test_a_link_to_nowhere_is_a_file_that_is_not_whole(folder):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("/nowhere/blob")
    with pytest.raises(StudentError, match="a file of weights is whole"):
        load_student(str(folder), 0)


@pytest.mark.parametrize("method", ["fp8", "gptq", "bitsandbytes", "mxfp4"])
def test_quantised_weights_are_refused_by_name(folder, method):
    edit(folder, quantization_config={"quant_method": method})
    with pytest.raises(StudentError, match=rf"quantization_config \({method}\)"):
        load_student(str(folder), 0)


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn])
def test_numbers_without_their_scale_are_no_weights(folder, dtype):
    rewrite(folder, lambda tensors: {name: tensor.to(dtype) for name, tensor in tensors.items()})
    with pytest.raises(StudentError, match="nothing says by what it is scaled"):
        load_student(str(folder), 0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_any_plain_precision_are_opened(folder, dtype):
    rewrite(folder, lambda tensors: {name: tensor.to(dtype) for name, tensor in tensors.items()})
    assert next(load_student(str(folder), 0).model.parameters()).dtype == torch.float32


@pytest.mark.parametrize("name", ["", " "])
def test_an_empty_name_is_not_the_working_directory(folder, name, monkeypatch):
    monkeypatch.chdir(folder)
    config = build_config({"student": name, "run": str(folder / "run")})
    assert settled(config).student == name
    with pytest.raises(StudentError, match="a student has a name"):
        load_student(settled(config).student, 0)
