"""A model's shapes, from its configuration alone: built on torch's meta device, which holds no numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mopd.core.errors import StudentError
from mopd.models.embedded import EMBEDDED, PREFIX
from mopd.models.pretrained import open_tokenizer


@dataclass(frozen=True)
class Shapes:
    """What the rules of bytes and operations need of a model. `parameters` are the numbers of each tensor."""

    parameters: tuple[int, ...]
    linear_weights: int
    """Numbers of the decoder's matrices, by which every token is multiplied; the head is not among them."""
    head_weights: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    hidden: int
    vocabulary: int

    @property
    def count(self) -> int:
        """All parameters, tied ones once."""
        return sum(self.parameters)

    @property
    def cache_numbers(self) -> int:
        """Numbers that one token leaves in the cache: a key and a value in each layer."""
        return 2 * self.layers * self.kv_heads * self.head_size


def shapes_of(model: Any) -> Shapes:
    """The shapes of a causal language model, with weights or without."""
    config = model.config.get_text_config()
    heads = int(config.num_attention_heads)
    head = model.get_output_embeddings().weight
    return Shapes(
        parameters=tuple(parameter.numel() for parameter in model.parameters()),
        linear_weights=sum(layer.weight.numel() for layer in model.get_decoder().modules() if type(layer) is nn.Linear),
        head_weights=head.numel(),
        layers=int(config.num_hidden_layers),
        heads=heads,
        kv_heads=int(getattr(config, "num_key_value_heads", None) or heads),
        head_size=int(getattr(config, "head_dim", None) or config.hidden_size // heads),
        hidden=int(config.hidden_size),
        vocabulary=int(head.shape[0]),
    )


def empty_model(student: str) -> Any:
    """The model called `student`, its float32 weights without numbers: no file of weights is read.

    Raises StudentError where there is no configuration, or transformers cannot build a model of it.
    """
    if student.startswith(PREFIX):
        with torch.device("meta"):
            return EMBEDDED[student.removeprefix(PREFIX)].build(0)[0]
    from transformers import AutoModelForCausalLM

    config, _ = open_tokenizer(student)
    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    except Exception as error:  # architectures differ in every way
        raise StudentError(
            "transformers can build the student as a causal language model from its configuration",
            f"{student}: {type(error).__name__}: {' '.join(str(error).split())[:300]}",
            "check the folder's config.json; a model that needs code of its own is not supported",
        ) from error
