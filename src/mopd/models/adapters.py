"""Adapters of low rank (LoRA): put into a model's own layers, read, written, merged.

PEFT's layers take the place of the adapted ones inside the transformers model, so that whatever reads the model (its
decoder, its embeddings, attention over shared prefixes) goes on as before. The weights that they adapt are frozen, and
what is frozen is never copied (`student.copy_model`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mopd.config import LoraConfig
from mopd.core.errors import AdapterError, ConfigError
from mopd.core.seeding import derive_seed
from mopd.models.adapter_files import CONFIG, PREFIX, AdapterFiles, peft, read_weights, write_adapter

NAME = "default"
"""What PEFT calls an adapter in a model's tensors; files leave it out."""
KEPT_BASE = Path("..", "..", "base")
"""Where a run keeps the base of a student that was passed in Python, seen from a checkpoint of the run."""


@dataclass(frozen=True)
class Base:
    """What an adapter changes: the model's name, as adapter_config.json has it, and a digest of its weights."""

    name: str
    digest: str


def add_adapter(model: Any, lora: LoraConfig, seed: int) -> None:
    """Give a model a new adapter and freeze all else. It changes nothing at first: A is drawn by `seed`, B is 0.

    Adapter weights are float32. Raises ConfigError where `lora` does not suit the model.
    """
    layers = _layers(model, lora.targets)
    for name, layer in layers.items():
        if lora.rank > min(layer.weight.shape):
            raise ConfigError(
                "lora.rank is at most the smaller side of every adapted layer",
                f"lora.rank = {lora.rank}, but {name} is {' x '.join(map(str, layer.weight.shape))}",
                f"set lora.rank to at most {min(layer.weight.shape)}, or lora.targets without that layer",
            )
    ends = sorted({name.rpartition(".")[2] for name in layers}) if lora.targets == "all-linear" else list(lora.targets)
    exact = set(_matching(model, ends)) == set(layers)
    config = peft().LoraConfig(
        r=lora.rank,
        lora_alpha=int(lora.alpha) if lora.alpha.is_integer() else lora.alpha,
        target_modules=ends if exact else sorted(layers),
        lora_dropout=0.0,
        task_type="CAUSAL_LM",
    )
    try:
        _inject(model, config)
    except ValueError as error:  # PEFT knows layers that some architectures read past, as Mamba's out_proj
        must = "lora.targets are layers that can be adapted"
        raise ConfigError(must, " ".join(str(error).split())[:300], "set lora.targets to other layers") from error
    _draw(model, seed)


def _inject(model: Any, config: Any) -> None:
    """Put PEFT's layers in, with adapter weights in float32 and everything else frozen."""
    peft().inject_adapter_in_model(config, model, NAME)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(_is_adapter(name))
        if _is_adapter(name):
            parameter.data = parameter.data.float()
    model.eval()


def is_base(model: Any, name: str) -> bool:
    """Whether a model's parameter of this name is one that an adapter changes, and that stays as it is."""
    return hasattr(model, "peft_config") and not _is_adapter(name)


def _is_adapter(name: str) -> bool:
    return f".lora_A.{NAME}." in name or f".lora_B.{NAME}." in name


@torch.no_grad()
def _draw(model: Any, seed: int) -> None:
    """A uniform within 1 / sqrt(inputs), B zero: PEFT's own rule (`reset_lora_parameters`), by seed and name."""
    for name, parameter in model.named_parameters():
        if f".lora_A.{NAME}." in name:
            generator = torch.Generator().manual_seed(derive_seed(seed, "adapter", name))
            drawn = torch.rand(parameter.shape, generator=generator) * 2 - 1
            parameter.copy_(drawn / math.sqrt(parameter.shape[1]))
        elif _is_adapter(name):
            parameter.zero_()


def _layers(model: Any, targets: str | tuple[str, ...]) -> dict[str, Any]:
    """The layers that `targets` mean, by name. Raises ConfigError where one of them means none."""
    linear = _linear_layers(model)
    if isinstance(targets, str):
        return linear
    must = "each of lora.targets is the end of a linear layer's name"
    for target in targets:
        matching = _matching(model, [target])
        if not matching or not set(matching) <= set(linear):
            other = "there is no such layer" if not matching else f"{matching[0]} is none (embeddings are not adapted)"
            ends = sorted({name.rpartition(".")[2] for name in linear})
            raise ConfigError(must, f"{target!r} in lora.targets: {other}", f"use some of {', '.join(ends)}")
    return {name: linear[name] for name in _matching(model, targets)}


def _linear_layers(model: Any) -> dict[str, Any]:
    """All linear layers by name, without the output embedding. Raises ConfigError where there are none."""
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    found = {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, torch.nn.Linear | Conv1D) and layer is not head
    }
    if not found:
        must = "a model that is adapted has linear layers"
        raise ConfigError(must, f"{type(model).__name__} has none", "train without [lora]")
    return found


def _matching(model: Any, ends: Any) -> list[str]:
    """The modules whose dotted names end with one of `ends`, as PEFT matches a list of names."""
    return [name for name, _ in model.named_modules() if is_named(name, ends)]


def is_named(name: str, ends: Iterable[str]) -> bool:
    """Whether a module's dotted name ends with one of `ends`, part by part."""
    return any(f".{name}".endswith(f".{end}") for end in ends)


def attach(model: Any, files: AdapterFiles) -> None:
    """Put an adapter of files into its base and freeze all else. Raises AdapterError where it is for another base."""
    config = peft().LoraConfig.from_pretrained(str(files.folder))
    config.inference_mode = False
    try:
        _inject(model, config)
    except ValueError as error:
        raise _other_base(files, model, " ".join(str(error).split())[:300]) from error
    load_adapter(model, files)


def check_agrees(model: Any, files: AdapterFiles, lora: LoraConfig) -> None:
    """For a base that has no adapter yet: raises ConfigError where `[lora]` says something else than the adapter that
    is to be trained on."""
    tensors, alpha = read_weights(files), files.config.get("lora_alpha", 8)
    layers = {name.rpartition(".lora_")[0].removeprefix(PREFIX) for name in tensors}
    ranks = sorted({len(tensor) for name, tensor in tensors.items() if ".lora_A." in name})
    is_same = ranks == [lora.rank] and alpha == lora.alpha and not files.config.get("alpha_pattern")
    if is_same and layers == _layers(model, lora.targets).keys():
        return
    ends = json.dumps(sorted({name.rpartition(".")[2] for name in layers}))
    raise ConfigError(
        "[lora] has the rank, alpha and targets of the adapter that is trained on",
        f"adapter {files.name} has rank {' and '.join(map(str, ranks))}, alpha {alpha}, targets {ends}",
        f"set lora.rank = {ranks[-1]}, lora.alpha = {alpha}, lora.targets = {ends}; or leave [lora] out: the adapter "
        "is then merged, and all weights are trained",
    )


@torch.no_grad()
def load_adapter(model: Any, files: AdapterFiles) -> None:
    """Copy an adapter's weights into a model that has its layers. Raises AdapterError where they do not fit."""
    own, found = adapter_tensors(model), read_weights(files)
    if other := sorted(own.keys() ^ found.keys()):
        what = "is in its file and of no layer" if other[0] in found else "is missing in its file"
        raise _other_base(files, model, f"{other[0]} {what}; {len(other)} such tensors")
    for name, tensor in own.items():
        if tensor.shape != found[name].shape:
            raise _other_base(files, model, f"{name} is {list(found[name].shape)}, but {list(tensor.shape)} would fit")
        tensor.copy_(found[name])


def _other_base(files: AdapterFiles, model: Any, got: str) -> AdapterError:
    return files.refusal(
        f"an adapter fits the layers of its base ({type(model).__name__})",
        got,
        f"see whether base_model_name_or_path in its {CONFIG} is the model that it was trained on",
    )


def adapter_tensors(model: Any) -> dict[str, Tensor]:
    """The weights of a model's adapter by the names that PEFT's files have."""
    return {
        PREFIX + name.replace(f".{NAME}.", "."): parameter.detach()
        for name, parameter in model.named_parameters()
        if _is_adapter(name)
    }


# --- out of a model -------------------------------------------------------------------------------------------------


@torch.no_grad()
def merge(model: Any) -> None:
    """Add a model's adapter to the weights that it adapts, W + (alpha / rank) B A, and take its layers out."""
    from peft.tuners.lora import LoraLayer

    for name, layer in list(model.named_modules()):
        if isinstance(layer, LoraLayer):
            layer.merge()  # type: ignore[operator]
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, layer.get_base_layer())
    del model.peft_config
    model.requires_grad_(True)


def save_adapter(model: Any, base: Base, folder: Path) -> None:
    """Write a model's adapter to a folder, in float32, as PEFT does, with the digest of its base beside it."""
    config = model.peft_config[NAME].to_dict() | {"base_model_name_or_path": base.name, "inference_mode": True}
    write_adapter(folder, config, adapter_tensors(model), base.digest)


def save_base(model: Any, folder: Path) -> None:
    """Write the model without its adapter to a folder that transformers opens."""
    whole = {
        name.replace(".base_layer.", "."): tensor
        for name, tensor in model.state_dict().items()
        if not _is_adapter(name)
    }
    model.save_pretrained(folder, state_dict=whole)
