"""Tiny models of some architectures with random weights, and a tokenizer of characters, as transformers has them."""

from __future__ import annotations

import torch

from mopd.models.embedded import EMBEDDED

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


def _llama(vocab_size):
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(vocab_size=vocab_size, tie_word_embeddings=False, **SMALL))


def _qwen3(vocab_size):
    from transformers import Qwen3Config, Qwen3ForCausalLM

    return Qwen3ForCausalLM(Qwen3Config(vocab_size=vocab_size, tie_word_embeddings=True, head_dim=16, **SMALL))


def _gemma3(vocab_size):
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    kinds = ["sliding_attention", "full_attention"]
    return Gemma3ForCausalLM(
        Gemma3TextConfig(vocab_size=vocab_size, head_dim=16, sliding_window=8, layer_types=kinds, **SMALL)
    )


def _olmo2(vocab_size):
    from transformers import Olmo2Config, Olmo2ForCausalLM

    return Olmo2ForCausalLM(Olmo2Config(vocab_size=vocab_size, tie_word_embeddings=False, **SMALL))


def _gpt_neox(vocab_size):
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    small = {key: value for key, value in SMALL.items() if key != "num_key_value_heads"}
    return GPTNeoXForCausalLM(GPTNeoXConfig(vocab_size=vocab_size, **small))


ARCHITECTURES = {"llama": _llama, "qwen3": _qwen3, "gemma3": _gemma3, "olmo2": _olmo2, "gpt_neox": _gpt_neox}

THINKING_TEMPLATE = (
    "{% for message in messages %}[{{ message['role'] }}] {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant] "
    "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}{% endif %}"
)
"""Shows the roles of turns, and closes the thinking span in the header when thinking is off, as Qwen3's does."""


def make_tokenizer(chat_template=None):
    tokenizer = EMBEDDED["letters"].build(0)[1]
    if chat_template is not None:
        tokenizer.chat_template = chat_template
    return tokenizer


def make_model(name, extra_rows=0, seed=0):
    """A model with a row a token, and `extra_rows` more."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ARCHITECTURES[name](len(make_tokenizer()) + extra_rows).eval()


def save(folder, name, *, extra_rows=0, chat_template=None):
    """The folder of a model and its tokenizer."""
    make_model(name, extra_rows).save_pretrained(folder)
    make_tokenizer(chat_template).save_pretrained(folder)
    return folder
