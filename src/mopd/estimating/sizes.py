"""A model's shapes, from its configuration alone: built on torch's meta device, which holds no numbers."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mopd.core.errors import StudentError
from mopd.models.adapter_files import find_adapter
from mopd.models.embedded import PREFIX, embedded_student
from mopd.models.pretrained import open_config
from mopd.scoring.attention import decoder_layers


@dataclass(frozen=True)
class Shapes:
    """What the rules of bytes and operations need of a model. `parameters` are the numbers of each tensor."""

    parameters: tuple[int, ...]
    matrices: tuple[tuple[str, int, int], ...]
    """The decoder's matrices, by which every token is multiplied: name, rows (outputs), columns. The head is not among
    them."""
    head_weights: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    hidden: int
    vocabulary: int
    by_layer: tuple[int, ...] = ()
    """Parameters of each decoder layer."""

    @property
    def linear_weights(self) -> int:
        """Numbers of the decoder's matrices."""
        return sum(rows * columns for _, rows, columns in self.matrices)

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
    heads = int(getattr(config, "num_attention_heads", None) or 1)  # models with states alone have none
    head = model.get_output_embeddings().weight
    by_layer = tuple(sum(weight.numel() for weight in layer.parameters()) for layer in decoder_layers(model))
    return Shapes(
        parameters=tuple(parameter.numel() for parameter in model.parameters()),
        matrices=tuple(
            (name, *layer.weight.shape)
            for name, layer in model.get_decoder().named_modules()
            if type(layer) is nn.Linear
        ),
        head_weights=head.numel(),
        layers=int(config.num_hidden_layers),
        heads=heads,
        kv_heads=int(getattr(config, "num_key_value_heads", None) or heads),
        head_size=int(getattr(config, "head_dim", None) or config.hidden_size // heads),
        hidden=int(config.hidden_size),
        vocabulary=int(head.shape[0]),
        by_layer=by_layer,
    )


def architecture_of(student: str) -> Any:
    """transformers' configuration of the model called `student`; no file of weights is read. Raises StudentError."""
    if student.startswith(PREFIX):
        return embedded_student(student).build(0)[0].config
    path = Path(student).expanduser()
    if path.is_dir() and not (path / "config.json").is_file() and find_adapter(student) is None:
        raise StudentError(
            "a student's folder holds a transformers model", f"{path} has no config.json", "check the key student"
        )
    return open_config(student)


def empty_model(architecture: Any) -> Any:
    """A model of an architecture whose float32 weights have shapes and no numbers.

    Raises StudentError where transformers cannot build one.
    """
    from transformers import AutoModelForCausalLM

    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(copy.deepcopy(architecture), dtype=torch.float32)
    except Exception as error:  # architectures differ in every way
        raise StudentError(
            "transformers can build the student as a causal language model from its configuration",
            f"{getattr(architecture, 'model_type', 'it')}: {type(error).__name__}: "
            f"{' '.join(str(error).split())[:300]}",
            "check the folder's config.json; a model that needs code of its own is not supported",
        ) from error
