"""GGUF files: what a file says of its model, all of it applied or refused by name.

transformers reads the keys and tensors that it knows and passes over the others in silence: scaled positions, the end
of a turn, the way in which text is cut before merges. Each changes the model, so that none may be passed over.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mopd.core.errors import StudentError

FROM_FOLDER = "use the model's folder (safetensors), which says everything in transformers' own words"

DESCRIBING = (
    *("GGUF.", "general.", "quantize.", "tokenizer.ggml.fim_", "tokenizer.ggml.prefix_token", "tokenizer.ggml.suffix_"),
    *("tokenizer.ggml.middle_", "tokenizer.ggml.seperator_", "tokenizer.ggml.separator_"),
    *("tokenizer.ggml.cls_", "tokenizer.ggml.mask_", "tokenizer.ggml.token_type_count", "tokenizer.chat_templates"),
    *("tokenizer.chat_template.", "tokenizer.huggingface.", "tokenizer.ggml.image", "tokenizer.ggml.nl_token_id"),
)
"""Beginnings of keys that describe a file, or tokens and templates that a chat does not use."""

END_KEYS = tuple(f"tokenizer.ggml.{name}_token_id" for name in ("eos", "eot", "eom"))
"""End of sequence, of turn, and of message: each ends a completion."""

SAME_AS: dict[str, tuple[str, ...]] = {
    "attention.key_length": ("head_dim",),
    "attention.value_length": ("head_dim", "v_head_dim"),
    "attention.sliding_window": ("sliding_window",),
    "attention.layer_norm_epsilon": ("layer_norm_eps", "norm_eps", "layer_norm_epsilon"),
    "rope.dimension_count": ("head_dim", "qk_rope_head_dim"),
    "final_logit_softcapping": ("final_logit_softcapping",),
    "attn_logit_softcapping": ("attn_logit_softcapping",),
    "expert_count": ("num_experts", "num_local_experts", "n_routed_experts"),
    "expert_used_count": ("num_experts_per_tok",),
    "expert_shared_count": ("n_shared_experts",),
    "expert_feed_forward_length": ("moe_intermediate_size",),
    "expert_weights_norm": ("norm_topk_prob",),
    "use_parallel_residual": ("use_parallel_residual",),
    "vocab_size": ("vocab_size",),
}
"""Keys that transformers does not read for every architecture, and where the model's configuration says the same."""


ON_UNLESS_SAID = ("attention.causal", "expert_weights_norm", "use_parallel_residual")
"""Switches that models have on: to switch them off says something."""


@dataclass(frozen=True)
class Gguf:
    """A file's keys, and the names of its tensors."""

    path: Path
    keys: Mapping[str, Any]
    tensors: tuple[str, ...]

    @property
    def architecture(self) -> str:
        return str(self.keys["general.architecture"])

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a key of the architecture."""
        return self.keys.get(f"{self.architecture}.{name}", default)

    @property
    def end_ids(self) -> list[int]:
        """The ids that end a completion."""
        return sorted({int(self.keys[key]) for key in END_KEYS if key in self.keys})

    def refusal(self, must: str, got: str) -> StudentError:
        return StudentError(must, f"{self.path}: {got}", FROM_FOLDER)


def read_gguf(path: Path) -> Gguf:
    """The keys and tensors' names of a file. Raises StudentError where it holds something else than a whole model."""
    from transformers.integrations.gguf.reader import read_gguf_metadata

    keys, tensors = read_gguf_metadata(str(path))
    found = Gguf(path, keys, tensors)
    if keys.get("general.type", "model") != "model":
        raise found.refusal("a GGUF student is a whole model", f"general.type is {keys['general.type']!r}")
    if int(keys.get("split.count", 0)) > 1:
        raise found.refusal("a GGUF student is one file", f"it is one of {keys['split.count']}")
    return found


# --- positions ------------------------------------------------------------------------------------------------------


def rope_scaling(gguf: Gguf) -> dict[str, Any]:
    """How a file scales positions, in transformers' words; empty where it does not.

    Raises StudentError for a way unknown here.
    """
    scaling = _scaling(gguf)
    factors = _frequency_factors(gguf)
    if not factors:
        return scaling
    if scaling:
        raise gguf.refusal("positions are scaled in one way", f"rope.scaling {scaling} and {FREQUENCY_FACTORS}")
    # transformers has no kind for a factor of each frequency, but longrope is one where both of its lists agree
    scaling = {"rope_type": "longrope", "factor": 1.0, "attention_factor": 1.0}
    window = int(gguf.get("context_length"))
    return scaling | {"short_factor": factors, "long_factor": factors, "original_max_position_embeddings": window}


def apply_rope(gguf: Gguf, scaling: Mapping[str, Any], config: Any) -> None:
    """Write what `rope_scaling` found into a model's configuration."""
    whole = dict(getattr(config, "rope_parameters", None) or {})
    by_kind = {kind: rope for kind, rope in whole.items() if isinstance(rope, Mapping)}
    if by_kind:  # layers with a window are never scaled
        if "full_attention" not in by_kind:
            raise gguf.refusal("it is known which layers' positions are scaled", f"kinds {', '.join(by_kind)}")
        whole["full_attention"] = {**by_kind["full_attention"], **scaling}
    else:
        whole |= scaling
    config.rope_parameters = whole


def _scaling(gguf: Gguf) -> dict[str, Any]:
    """`rope.scaling.*` in transformers' words; empty where positions are not scaled."""
    kind = str(gguf.get("rope.scaling.type", "linear" if gguf.get("rope.scale_linear") else "none"))
    factor = float(gguf.get("rope.scaling.factor", gguf.get("rope.scale_linear", 1.0)) or 1.0)
    if kind in ("none", "linear"):
        extra = [name for name in YARN_ONLY if gguf.get(name, 1.0) != 1.0]
        if extra:
            raise gguf.refusal("keys of yarn come with rope.scaling.type = yarn", f"{extra[0]} with {kind!r}")
    if kind == "none" or (kind == "linear" and factor == 1.0):
        return {}
    if kind == "linear":
        return {"rope_type": "linear", "factor": factor}
    if kind != "yarn":
        raise gguf.refusal("positions are scaled by a rule that is known here: linear, yarn", f"{kind!r}")
    attention = float(gguf.get("rope.scaling.attn_factor", gguf.get("rope.scaling.yarn_attn_factor", 1.0)))
    found = {
        "rope_type": "yarn",
        "factor": factor,
        "original_max_position_embeddings": int(
            gguf.get("rope.scaling.original_context_length", gguf.get("context_length"))
        ),
        "attention_factor": attention * (0.1 * math.log(factor) + 1.0 if factor > 1 else 1.0),
    }
    for name in ("beta_fast", "beta_slow"):
        value = gguf.get(f"rope.scaling.yarn_{name}")
        found |= {} if value is None else {name: float(value)}
    return found


YARN_ONLY = ("rope.scaling.attn_factor", "rope.scaling.yarn_attn_factor")

READ_OF_SCALING = {
    *("rope.scale_linear", "rope.scaling.type", "rope.scaling.factor", "rope.scaling.original_context_length"),
    *(*YARN_ONLY, "rope.scaling.yarn_beta_fast", "rope.scaling.yarn_beta_slow", "rope.scaling.finetuned"),
}
"""Keys of `_scaling`, and one that says how the file came to be."""

FREQUENCY_FACTORS = "rope_freqs.weight"


def _frequency_factors(gguf: Gguf) -> list[float]:
    """By what each frequency is divided, as in every Llama 3.1 to 3.3; empty where the file has none or all are 1."""
    if FREQUENCY_FACTORS not in gguf.tensors:
        return []
    from transformers.integrations.gguf.reader import GgufHeader, load_gguf_state_dict

    tensor = load_gguf_state_dict(GgufHeader.from_file(str(gguf.path)))[FREQUENCY_FACTORS][...]
    factors = [float(value) for value in tensor.float().flatten()]
    return [] if all(factor == 1.0 for factor in factors) else factors


# --- text -----------------------------------------------------------------------------------------------------------

WHOLE_WORDS = ("gpt-2", "phi-2", "mpt", "olmo", "jais", "exaone4")
"""Pre-tokenizers of GPT-2: words with the space before them. It is what transformers makes unless told."""

SINGLE_DIGITS = ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b")
"""Each digit apart, then as GPT-2."""


def apply_pre_tokenizer(gguf: Gguf, tokenizer: Any) -> None:
    """Cut text before merges as the file says. Raises StudentError for a byte-level vocabulary cut in a way unknown."""
    from tokenizers import pre_tokenizers
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

    name = gguf.keys.get("tokenizer.ggml.pre")
    if gguf.keys.get("tokenizer.ggml.model") != "gpt2" or name in GGUF_PRE_TOKENIZER_SPLITS:
        return
    words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if name in SINGLE_DIGITS:
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), words]
        )
    elif name in WHOLE_WORDS:
        tokenizer.backend_tokenizer.pre_tokenizer = words
    else:
        known = ", ".join(sorted({*SINGLE_DIGITS, *WHOLE_WORDS, *GGUF_PRE_TOKENIZER_SPLITS}))
        raise gguf.refusal(f"tokenizer.ggml.pre is one that is known here ({known})", repr(name))


# --- nothing passed over --------------------------------------------------------------------------------------------


def check_all_read(gguf: Gguf, model: Any) -> None:
    """Refuse a file with a key or tensor that nothing has read. Raises StudentError, which names them."""
    asked = _keys_of_configuration(gguf)
    left = [key for key in gguf.keys if not _is_read(gguf, key, model.config, asked)]
    if left:
        raise gguf.refusal("every key of a GGUF file is read", f"not read: {_some(left)}")
    if lost := sorted(set(gguf.tensors) - _tensors_read(gguf, model)):
        raise gguf.refusal("every tensor of a GGUF file is read", f"not read: {_some(lost)}")


def _is_read(gguf: Gguf, key: str, config: Any, asked: Collection[str]) -> bool:
    """Whether a key describes, or is among those `asked` for a configuration, or says what the configuration says."""
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_TOKENIZER_MAPPING

    if key.startswith((*DESCRIBING, "split.")) or key in END_KEYS:
        return True
    group, _, name = key.partition(".")
    if group == "tokenizer":
        return any(name in names for names in GGUF_TOKENIZER_MAPPING.values()) or not gguf.keys[key]
    if group != gguf.architecture:
        return False
    if name in READ_OF_SCALING or name in asked:
        return True
    value, same = gguf.keys[key], [getattr(config, other, None) for other in SAME_AS.get(name, ())]
    if any(other is not None and _equal(other, value) for other in same):
        return True
    return bool(value) == (name in ON_UNLESS_SAID)  # 0, false and the empty text switch nothing on


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, float) or isinstance(other, float):
        return math.isclose(float(one), float(other), rel_tol=1e-6)
    return bool(one == other)


class _Recorded(dict[str, Any]):
    """A dictionary that remembers which keys were asked for."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.asked: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.asked.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.asked.add(key)
        return super().get(key, default)


def _keys_of_configuration(gguf: Gguf) -> set[str]:
    """The architecture's keys from which transformers makes a configuration."""
    from transformers.integrations.ggml import GGUF_CONFIG_MAPPING
    from transformers.integrations.gguf import GGUF_CONFIG_ARCHS, get_gguf_config

    if gguf.architecture in GGUF_CONFIG_ARCHS:
        keys = _Recorded(gguf.keys)
        get_gguf_config(keys, gguf.tensors)
        return {key.removeprefix(f"{gguf.architecture}.") for key in keys.asked}
    mapping = GGUF_CONFIG_MAPPING.get(gguf.architecture.replace("-", "_"))
    mapping = mapping or {"qwen2moe": "qwen2_moe", "qwen3moe": "qwen3_moe"}.get(gguf.architecture, {})
    mapping = GGUF_CONFIG_MAPPING[mapping] if isinstance(mapping, str) else mapping
    return {name for name, renamed in mapping.items() if renamed is not None}


def _tensors_read(gguf: Gguf, model: Any) -> set[str]:
    """The tensors that went into the model, and those applied here."""
    from transformers.integrations.gguf import GGUF_CONFIG_ARCHS
    from transformers.modeling_gguf_pytorch_utils import TENSOR_PROCESSORS, TensorProcessor, get_gguf_hf_weights_map

    if gguf.architecture in GGUF_CONFIG_ARCHS:
        return set(gguf.tensors)  # opened like a folder: transformers reports what it could not place
    processor = TENSOR_PROCESSORS.get(gguf.architecture, TensorProcessor)(config=model.config.to_dict())
    known = set(get_gguf_hf_weights_map(model, processor)) | {FREQUENCY_FACTORS}
    experts = {name for name in gguf.tensors if name.removesuffix(".weight") in known}
    return known | experts


def _some(names: Collection[str]) -> str:
    shown = ", ".join(list(names)[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
