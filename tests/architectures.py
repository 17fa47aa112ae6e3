"""Tiny models of some architectures with random weights, and a tokenizer of characters, as transformers has them."""

from __future__ import annotations

import torch
import transformers

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

LINEAR = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"],
}
MAMBA2 = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_n_groups": 1, "mamba_d_state": 8, "mamba_chunk_size": 8}
PURE = {"hidden_size": 32, "num_hidden_layers": 2, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 16}

WITH_STATES = {
    "qwen3_5": ("Qwen3_5ForCausalLM", "Qwen3_5TextConfig", {"head_dim": 16, **LINEAR, **SMALL}),
    "qwen3_next": (
        "Qwen3NextForCausalLM",
        "Qwen3NextConfig",
        {"head_dim": 16, "num_experts": 4, "shared_expert_intermediate_size": 16, **EXPERTS, **LINEAR, **SMALL},
    ),
    "lfm2": (
        "Lfm2ForCausalLM",
        "Lfm2Config",
        {"layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False, **SMALL},
    ),
    "mamba": ("MambaForCausalLM", "MambaConfig", {"state_size": 8, **PURE}),
    "mamba2": (
        "Mamba2ForCausalLM",
        "Mamba2Config",
        {"state_size": 8, "num_heads": 4, "head_dim": 16, "n_groups": 1, "chunk_size": 8, **PURE},
    ),
    "falcon_h1": ("FalconH1ForCausalLM", "FalconH1Config", {"mamba_d_ssm": 64, **MAMBA2, **SMALL}),
    "jamba": (
        "JambaForCausalLM",
        "JambaConfig",
        {
            **{"attn_layer_period": 2, "attn_layer_offset": 1, "num_experts": 2, "num_experts_per_tok": 1},
            **{"mamba_d_state": 8, "use_mamba_kernels": False, **SMALL},
        },
    ),
    "granite_hybrid": (
        "GraniteMoeHybridForCausalLM",
        "GraniteMoeHybridConfig",
        {
            "layer_types": ["mamba", "attention"],
            **{"num_local_experts": 0, "shared_intermediate_size": 32, **MAMBA2, **SMALL},
        },
    ),
    "qwen3_5_moe": (
        "Qwen3_5MoeForCausalLM",
        "Qwen3_5MoeTextConfig",
        {"head_dim": 16, "num_experts": 4, "shared_expert_intermediate_size": 16, **EXPERTS, **LINEAR, **SMALL},
    ),
    "lfm2_moe": (
        "Lfm2MoeForCausalLM",
        "Lfm2MoeConfig",
        {"layer_types": ["conv", "full_attention"], "num_experts": 4, "num_dense_layers": 1, **EXPERTS, **SMALL},
    ),
    "falcon_mamba": ("FalconMambaForCausalLM", "FalconMambaConfig", {"state_size": 8, **PURE}),
    "bamba": ("BambaForCausalLM", "BambaConfig", {"attn_layer_indices": [1], **MAMBA2, **SMALL}),
    "zamba2": (
        "Zamba2ForCausalLM",
        "Zamba2Config",
        {
            **{"layers_block_type": ["mamba", "hybrid"] * 2, "use_mem_rope": True, "adapter_rank": 4},
            **{"mamba_d_state": 8, "n_mamba_heads": 4, "mamba_headdim": 16, "mamba_ngroups": 1, "chunk_size": 8},
            **{"num_mem_blocks": 1, **SMALL, "num_key_value_heads": 4, "num_hidden_layers": 4},
        },
    ),
    "nemotron_h": (
        "NemotronHForCausalLM",
        "NemotronHConfig",
        {
            **{"layers_block_type": ["mamba", "attention", "moe"], "mamba_num_heads": 4, "mamba_head_dim": 16},
            **{"n_groups": 1, "ssm_state_size": 8, "chunk_size": 8, "head_dim": 8, "n_routed_experts": 4},
            **{"moe_shared_expert_intermediate_size": 16, **EXPERTS, **SMALL, "num_hidden_layers": 3},
        },
    ),
    "olmo_hybrid": ("OlmoHybridForCausalLM", "OlmoHybridConfig", {**LINEAR, "linear_num_value_heads": 2, **SMALL}),
}
"""Decoders with a state beside or instead of attention: (class, configuration's class, its values)."""

WITHOUT_CACHE = {
    "rwkv": ("RwkvForCausalLM", "RwkvConfig", {"context_length": 512, **PURE}),
    "openai_gpt": (
        "OpenAIGPTLMHeadModel",
        "OpenAIGPTConfig",
        {"n_positions": 512, "n_embd": 32, "n_layer": 2, "n_head": 4, "bos_token_id": 1, "eos_token_id": 2},
    ),
    "minimax": (
        "MiniMaxForCausalLM",
        "MiniMaxConfig",
        {
            **{"head_dim": 8, "layer_types": ["linear_attention", "full_attention"]},
            **{"num_local_experts": 2, "num_experts_per_tok": 1, **SMALL},
        },
    ),
    "recurrent_gemma": (
        "RecurrentGemmaForCausalLM",
        "RecurrentGemmaConfig",
        {
            **{"lru_width": 32, "attention_window_size": 16, "block_types": ("recurrent", "attention")},
            **{key: value for key, value in SMALL.items() if key != "num_key_value_heads"},
        },
    ),
    "xlstm": (
        "xLSTMForCausalLM",
        "xLSTMConfig",
        {
            "num_heads": 4,
            "chunk_size": 16,
            "autocast_kernel_dtype": "float32",
            "inference_state_dtype": "float32",
            **PURE,
        },
    ),
}
"""Decoders that cannot go on from a cache as this package would ask them to."""

OTHERS = {
    "llama4": (
        "Llama4ForCausalLM",
        "Llama4TextConfig",
        {"head_dim": 8, "num_local_experts": 2, "intermediate_size_mlp": 64, **SMALL},
    ),
    "deepseek_v3": (
        "DeepseekV3ForCausalLM",
        "DeepseekV3Config",
        {
            **{"n_routed_experts": 4, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1, **EXPERTS},
            **{"q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8},
            **SMALL,
            "num_key_value_heads": 4,
        },
    ),
    "phi3": ("Phi3ForCausalLM", "Phi3Config", SMALL),
}
CLASSES = {**WITH_STATES, **WITHOUT_CACHE, **OTHERS}

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


def make_model(name, extra_rows=0, seed=0, **changes):
    """A model with a row a token, and `extra_rows` more; `changes` are of its configuration, for those of `CLASSES`."""
    rows = len(make_tokenizer()) + extra_rows
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name in ARCHITECTURES:
            return ARCHITECTURES[name](rows).eval()
        model, config, values = CLASSES[name]
        made = getattr(transformers, config)(vocab_size=rows, **{**values, **changes})
        return getattr(transformers, model)(made).eval()


def save(folder, name, *, extra_rows=0, chat_template=None, **changes):
    """The folder of a model and its tokenizer."""
    make_model(name, extra_rows, **changes).save_pretrained(folder)
    make_tokenizer(chat_template).save_pretrained(folder)
    return folder
