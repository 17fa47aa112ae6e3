"""In which dtype a model's weights are kept, and where: on its device, or in full in main memory beside it.

Masters are float32 weights in main memory of a model whose own, on its device, are rounded from them. They are known
by their model, and no copy of it has them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from mopd.config import ComputeConfig
from mopd.core.errors import ConfigError
from mopd.parallel.sharded import is_sharded

_MASTERS: WeakKeyDictionary[Any, dict[str, Tensor]] = WeakKeyDictionary()


def check_products(compute: ComputeConfig, products: torch.dtype) -> None:
    """Raises ConfigError where weights are to be kept in bfloat16 and products, which read them, are not in it."""
    asked = [
        f"compute.{key} = '{value}'"
        for key, value, kinds in (
            ("weights", compute.weights, ("bfloat16", "offloaded")),
            ("teacher", compute.teacher, ("bfloat16",)),
        )
        if value in kinds
    ]
    if asked and products != torch.bfloat16:
        raise ConfigError(
            "weights on the device are kept in bfloat16 where products are in bfloat16",
            f"{' and '.join(asked)}, and products in {str(products).removeprefix('torch.')} "
            f"(compute.dtype = '{compute.dtype}')",
            "set compute.dtype = 'bfloat16', or leave weights and teacher at 'float32'",
        )


def convert_weights(model: Any, dtype: torch.dtype) -> None:
    """Keep a model's weights in `dtype` from now on (`kept_dtypes`), each rounded to the nearest."""
    kinds = kept_dtypes(model, dtype)
    for name, parameter in model.named_parameters():
        parameter.data = parameter.data.to(kinds[name])
    if dtype == torch.bfloat16:
        widen_embeddings(model)


def kept_dtypes(model: Any, dtype: torch.dtype) -> dict[str, torch.dtype]:
    """By name the dtype of each weight where a model's weights are kept in `dtype`.

    Some stay in float32 because their architecture keeps them so: positions, decays and biases of experts' scores are
    wrong, not less exact, when they are rounded. It is what transformers makes of a file. Buffers stay as they are.
    """
    is_kept = _keeps_float32(model, dtype)
    own = {name: parameter.dtype for name, parameter in full_weights(model).items()}
    return {name: dtype if kind.is_floating_point and not is_kept(name) else kind for name, kind in own.items()}


def widen_embeddings(model: Any) -> None:
    """Let the sum that layers add to stay float32 under autocast, as with float32 weights: products alone round it."""
    embedding = model.get_input_embeddings()
    if _wide_under_autocast not in embedding._forward_hooks.values():  # a copy has those of its model
        embedding.register_forward_hook(_wide_under_autocast)


def _wide_under_autocast(module: Any, inputs: Any, states: Tensor) -> Tensor:
    is_rounded = states.dtype == torch.bfloat16 and torch.is_autocast_enabled(states.device.type)
    return states.float() if is_rounded else states


def is_in(model: Any, dtype: torch.dtype, device: torch.device) -> bool:
    """Whether a model is as it would be with its weights kept in `dtype` on `device`."""
    kinds = kept_dtypes(model, dtype)
    return all(own.device == device and own.dtype == kinds[name] for name, own in model.named_parameters())


def is_rounded(model: Any) -> bool:
    """Whether any of a model's weights is kept in bfloat16."""
    return any(parameter.dtype == torch.bfloat16 for parameter in model.parameters())


def keep_head(model: Any) -> None:
    """Free all weights of a model but those of its output embedding: it has read, and is only to predict."""
    kept = {id(weight) for weight in model.get_output_embeddings().parameters()}
    for parameter in model.parameters():
        if id(parameter) not in kept:
            parameter.data = parameter.data.new_empty(0)


def _keeps_float32(model: Any, dtype: torch.dtype) -> Callable[[str], bool]:
    """Whether a weight of this name stays in float32 while the others are in `dtype`."""
    from transformers.core_model_loading import build_glob_alternation

    plan = list(model._get_dtype_plan(dtype))
    if not plan:
        return lambda name: False
    kept, *_ = build_glob_alternation(plan)
    return lambda name: kept.search(name.replace(".base_layer.", ".")) is not None  # as the file of the model has it


@torch.no_grad()
def weights_digest(model: Any) -> str:
    """A digest of a model's weights as numbers in float32, whatever dtype they are held in."""
    return tensors_digest(model.named_parameters())


def tensors_digest(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """A digest of named tensors as numbers in float32."""
    found = hashlib.sha256()
    for name, tensor in tensors:
        found.update(f"{name} {tuple(tensor.shape)}".encode())
        numbers: Any = tensor.detach().float().cpu().contiguous().flatten().view(torch.uint8).numpy()
        found.update(numbers)
    return found.hexdigest()[:32]


@torch.no_grad()
def bits_of(model: Any) -> list[int]:
    """A sum over the bits of each weight that updates are made to and that this rank holds whole, by which copies of a
    model are compared at once."""
    whole = [weight for weight in full_weights(model).values() if not is_sharded(weight)]
    return [int(weight.detach().float().view(torch.int32).sum(dtype=torch.int64)) for weight in whole]


def held_tensors(model: Any) -> list[Tensor]:
    """All that a model computes with: parameters, buffers, and masters where it has them."""
    return [*model.parameters(), *model.buffers(), *_MASTERS.get(model, {}).values()]


# --- masters --------------------------------------------------------------------------------------------------------


def keep_masters(model: Any) -> None:
    """Let the weights that a model has now, in main memory, be its masters; its own become copies in bfloat16."""
    _MASTERS[model] = {name: parameter.data.cpu().contiguous() for name, parameter in model.named_parameters()}
    for name, parameter in model.named_parameters():
        parameter.data = _MASTERS[model][name].clone()
    convert_weights(model, torch.bfloat16)


def full_weights(model: Any) -> Mapping[str, Tensor]:
    """By name the weights that updates are made to: a model's masters where it has them, else its parameters."""
    return _MASTERS.get(model) or dict(model.named_parameters())


@contextmanager
def in_full(model: Any) -> Iterator[None]:
    """Within the block a model's parameters are its masters, where it has them; behind it they are rounded anew."""
    masters = _MASTERS.get(model, {})
    held = {name: parameter for name, parameter in model.named_parameters() if name in masters}
    own = {name: parameter.data for name, parameter in held.items()}
    for name, parameter in held.items():
        parameter.data = masters[name]
    try:
        yield
    finally:
        for name, parameter in held.items():
            parameter.data = own[name].copy_(masters[name])
