"""GGUF files: every key and tensor is applied, or refused by name."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFWriter
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM

from mopd.core.errors import StudentError
from mopd.models.pretrained import open_pretrained, open_tokenizer
from mopd.models.student import load_student

SMOLLM2 = Path(__file__).parents[2] / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WIDTH, HEADS, INNER, WINDOW = 32, 2, 64, 512
TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "ĠĠ", "10"]


def write_gguf(path, *, pre="smollm", tensors=None, **keys):
    """A Llama with random weights; `keys` (dots as two underscores) and `tensors` are added."""
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(WINDOW)
    writer.add_block_count(1)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    if pre is not None:
        writer.add_tokenizer_pre(pre)
    writer.add_token_list(TOKENS)
    writer.add_token_types([3, 3, 3] + [1] * (len(TOKENS) - 3))
    writer.add_token_merges(["Ġ Ġ", "1 0"])
    writer.add_chat_template(CHATML)
    for name, value in {"tokenizer__ggml__eos_token_id": 2, **keys}.items():
        adds = {bool: writer.add_bool, str: writer.add_string, float: writer.add_float32, int: writer.add_uint32}
        adds[type(value)](name.replace("__", "."), value)
    rng = np.random.default_rng(0)
    shapes = {"token_embd": (len(TOKENS), WIDTH), "output_norm": (WIDTH,), "blk.0.attn_norm": (WIDTH,)}
    shapes |= {"blk.0.ffn_norm": (WIDTH,), "blk.0.ffn_down": (WIDTH, INNER)}
    shapes |= {f"blk.0.attn_{part}": (WIDTH, WIDTH) for part in ("q", "k", "v", "output")}
    shapes |= {f"blk.0.ffn_{part}": (INNER, WIDTH) for part in ("gate", "up")}
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", rng.normal(size=shape, scale=0.3).astype(np.float32))
    for name, values in (tensors or {}).items():
        writer.add_tensor(name, np.asarray(values, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return str(path)


def logits_of(name):
    model, _ = open_pretrained(name)
    with torch.no_grad():
        return model(torch.tensor([[5, 80, 6, 7, 90, 40, 41, 42]])).logits[0], model


def inverse_frequencies(model):
    return next(buffer for name, buffer in model.named_buffers() if name.endswith("inv_freq"))


BASE = torch.tensor([10000.0 ** (-2 * i / 16) for i in range(8)])


def test_a_plain_file_opens_as_it_is(tmp_path):
    _, model = logits_of(write_gguf(tmp_path / "plain.gguf"))
    torch.testing.assert_close(inverse_frequencies(model), BASE)


def test_linear_scaling_is_applied(tmp_path):
    plain, _ = logits_of(write_gguf(tmp_path / "plain.gguf"))
    keys = {"llama__rope__scaling__type": "linear", "llama__rope__scaling__factor": 4.0}
    scaled, model = logits_of(write_gguf(tmp_path / "scaled.gguf", **keys))
    torch.testing.assert_close(inverse_frequencies(model), BASE / 4)
    assert not torch.allclose(plain, scaled)


def test_yarn_is_applied(tmp_path):
    keys = {"llama__rope__scaling__type": "yarn", "llama__rope__scaling__factor": 4.0}
    keys |= {"llama__rope__scaling__original_context_length": 128}
    _, model = logits_of(write_gguf(tmp_path / "yarn.gguf", **keys))
    rope = model.config.rope_parameters
    assert (rope["rope_type"], rope["factor"], rope["original_max_position_embeddings"]) == ("yarn", 4.0, 128)
    found = inverse_frequencies(model)
    assert found[0] == BASE[0]  # fast frequencies stay, slow ones are divided
    torch.testing.assert_close(found[-1], BASE[-1] / 4)
    assert model.model.rotary_emb.attention_scaling == pytest.approx(0.1 * math.log(4) + 1)


def test_factors_of_frequencies_are_applied_saved_and_opened_again(tmp_path):
    factors = [1.0, 1.0, 1.5, 2.0, 4.0, 8.0, 8.0, 8.0]
    name = write_gguf(tmp_path / "llama3.gguf", tensors={"rope_freqs.weight": factors})
    wanted, model = logits_of(name)
    torch.testing.assert_close(inverse_frequencies(model), BASE / torch.tensor(factors))
    student = load_student(name, 0)
    assert student.window == WINDOW
    student.save(tmp_path / "saved")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    with torch.no_grad():
        torch.testing.assert_close(again(torch.tensor([[5, 80, 6, 7, 90, 40, 41, 42]])).logits[0], wanted)


@pytest.mark.parametrize(
    ("keys", "tensors", "named"),
    [
        ({"llama__rope__scaling__type": "longrope"}, {}, "longrope"),
        (
            {"llama__rope__scaling__type": "yarn", "llama__rope__scaling__yarn_log_multiplier": 0.1},
            {},
            "log_multiplier",
        ),
        ({"llama__logit_scale": 8.0}, {}, "llama.logit_scale"),
        ({"llama__attention__sliding_window": 64}, {}, "llama.attention.sliding_window"),
        ({"llama__attention__key_length": 8}, {}, "llama.attention.key_length"),
        ({"llama__attention__causal": False}, {}, "llama.attention.causal"),
        ({"llama__use_parallel_residual": False}, {}, "llama.use_parallel_residual"),
        ({"llama__expert_weights_norm": False}, {}, "llama.expert_weights_norm"),
        ({"llama__residual_scale": 2.0}, {}, "llama.residual_scale"),
        ({"llama__attention__scale": 2.0}, {}, "llama.attention.scale"),
        ({"llama__embedding_scale": 12.0}, {}, "llama.embedding_scale"),
        ({"llama__rope__freq_base_swa": 1e6}, {}, "llama.rope.freq_base_swa"),
        ({"tokenizer__ggml__remove_extra_whitespaces": True}, {}, "remove_extra_whitespaces"),
        ({"tokenizer__ggml__eog_token_ids": 5}, {}, "eog_token_ids"),
        ({"qwen2__rope__freq_base": 1e6}, {}, "qwen2.rope.freq_base"),
        ({"general__type": "adapter"}, {}, "adapter"),
        ({"split__count": 2}, {}, "one of 2"),
        ({}, {"blk.0.attn_q_norm.weight": [1.0] * 16}, "attn_q_norm"),
        ({}, {"rope_factors_long.weight": [1.0] * 8}, "rope_factors_long"),
        ({}, {"blk.1.attn_norm.weight": [1.0] * WIDTH}, r"blk\.1\.attn_norm"),
    ],
)
def test_what_would_be_passed_over_is_refused_by_name(keys, tensors, named, tmp_path):
    with pytest.raises(StudentError, match=named) as error:
        open_pretrained(write_gguf(tmp_path / "odd.gguf", tensors=tensors, **keys))
    assert "safetensors" in error.value.do


@pytest.mark.parametrize(
    "keys",
    [
        {"llama__attention__key_length": WIDTH // HEADS, "llama__attention__value_length": WIDTH // HEADS},
        {"llama__expert_count": 0, "llama__rope__scaling__type": "none"},
        {"llama__attention__causal": True, "llama__attention__max_alibi_bias": 0.0},
        {"general__name": "x", "quantize__imatrix__file": "y", "tokenizer__ggml__fim_pre_token_id": 0},
        {"tokenizer__ggml__add_bos_token": False, "tokenizer__ggml__add_space_prefix": False},
        {"llama__rope__scaling__type": "linear", "llama__rope__scaling__factor": 1.0},
    ],
)
def test_what_says_nothing_new_is_no_reason_to_refuse(keys, tmp_path):
    wanted, _ = logits_of(write_gguf(tmp_path / "plain.gguf"))
    got, _ = logits_of(write_gguf(tmp_path / "more.gguf", **keys))
    assert torch.equal(got, wanted)


# --- text -----------------------------------------------------------------------------------------------------------


def tokens_of(tokenizer, text):
    return tokenizer.convert_ids_to_tokens(tokenizer(text, add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize(
    ("pre", "wanted"),
    [
        ("smollm", ["x", "ĠĠ", "1", "0"]),
        ("gpt-2", ["x", "Ġ", "Ġ", "10"]),
        ("llama-bpe", ["x", "Ġ", "Ġ", "10"]),
        ("qwen2", ["x", "Ġ", "Ġ", "1", "0"]),
    ],
)
def test_text_is_cut_before_merges_as_the_file_says(pre, wanted, tmp_path):
    name = write_gguf(tmp_path / "model.gguf", pre=pre)
    tokenizers = [open_pretrained(name)[1], open_tokenizer(name)[1]]
    tokenizers[0].save_pretrained(tmp_path / "saved")
    assert [tokens_of(one, "x  10") for one in tokenizers] == [wanted] * 2


@pytest.mark.parametrize("pre", ["default", "deepseek-llm", "falcon", None])
def test_a_way_of_cutting_that_is_unknown_is_refused(pre, tmp_path):
    for opened in (open_pretrained, open_tokenizer):
        with pytest.raises(StudentError, match=r"tokenizer\.ggml\.pre"):
            opened(write_gguf(tmp_path / "model.gguf", pre=pre))


@pytest.mark.parametrize("name", ["eot", "eom"])
def test_the_end_of_a_turn_and_of_a_message_end_a_completion(name, tmp_path):
    ids = {"tokenizer__ggml__eos_token_id": 0, f"tokenizer__ggml__{name}_token_id": 2}
    student = load_student(write_gguf(tmp_path / "model.gguf", **ids), 0)
    assert student.tokenizer.end_ids == {0, 2}
    student.save(tmp_path / "saved")
    assert load_student(str(tmp_path / "saved"), 0).tokenizer.end_ids == {0, 2}


@pytest.mark.long
@pytest.mark.skipif(not SMOLLM2.is_file(), reason="`make smollm2` has not been run")
def test_smollm2_is_cut_as_by_its_own_tokenizer():
    assert tokens_of(open_tokenizer(str(SMOLLM2))[1], "x  10") == ["x", "ĠĠ", "1", "0"]
