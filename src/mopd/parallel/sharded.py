"""Models of which each rank holds a share (FSDP2): their decoder layers, gathered one by one when they are computed.

What is around the layers (embeddings, head, last norm) stays whole in every rank: the loss reaches the head outside of
the model's forward pass, a part of the loss tokens at a time. Sharded tensors are torch's DTensors, split along their
first dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from mopd.core.errors import ConfigError
from mopd.parallel.ranks import ONE, Ranks

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

_RANKS: WeakKeyDictionary[Any, Ranks] = WeakKeyDictionary()


def check_can_shard() -> None:
    """Raises ConfigError where this torch's FSDP2 cannot do what is asked of it here."""
    from torch.distributed.fsdp import FSDPModule

    if not hasattr(FSDPModule, "set_force_sum_reduction_for_comms"):
        raise ConfigError(
            "parallel.strategy = 'fsdp' has a torch whose FSDP2 can add gradients up",
            f"torch {torch.__version__}",
            "install torch 2.9 or newer, or set parallel.strategy = 'ddp'",
        )


def shard(model: Any, decoder: Any, layers: Sequence[Any], ranks: Ranks) -> None:
    """Split the weights of a model's layers over ranks, in place; `decoder` is the part of it that is called.

    Gradients are added up over ranks as they are made, not averaged: the loss of a rank is its share of a sum.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(next(model.parameters()).device.type, (ranks.size,))
    of_layers = {id(parameter) for layer in layers for parameter in layer.parameters()}
    around = {parameter for parameter in decoder.parameters() if id(parameter) not in of_layers}
    for layer in layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(decoder, mesh=mesh, ignored_params=around)
    for module in (*layers, decoder):
        module.set_gradient_divide_factor(1.0)
        module.set_force_sum_reduction_for_comms(True)
    _RANKS[model] = ranks


def ranks_of(model: Any) -> Ranks:
    """The ranks that a model is split over; `ONE` where it is whole."""
    return _RANKS.get(model, ONE)


def is_sharded(tensor: Tensor) -> bool:
    """Whether this rank holds a share of it."""
    if not _RANKS:  # nothing is: torch's module of such tensors takes a while to import
        return False
    from torch.distributed.tensor import DTensor

    return isinstance(tensor, DTensor)


def local(tensor: Tensor) -> Tensor:
    """What this rank holds of a tensor, in the same memory; itself where that is all."""
    return _sharded(tensor).to_local() if is_sharded(tensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor, gathered by all ranks; itself where this rank holds all."""
    return _sharded(tensor).full_tensor() if is_sharded(tensor) else tensor


@torch.no_grad()
def gathered(model: Any, ranks: Ranks) -> dict[str, Tensor] | None:
    """A model's state in main memory, whole, in the first rank; None in the others, which take part."""
    found: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        full = whole(tensor)
        if ranks.is_first:
            found[name] = full.cpu()
    return found if ranks.is_first else None


def share_of(full: Tensor, like: Tensor) -> Tensor:
    """What this rank holds of a tensor where it is split as `like` is; of one that is split already, as it is."""
    if is_sharded(full) or not is_sharded(like):
        return local(full)
    from torch.distributed.tensor import distribute_tensor

    there = _sharded(like)
    spread = distribute_tensor(full.to(like.device), there.device_mesh, there.placements, src_data_rank=None)
    return local(spread)


def as_share(part: Tensor, like: Tensor) -> Tensor:
    """What this rank holds of a tensor, as the tensor that is split as `like` is."""
    if not is_sharded(like):
        return part
    from torch.distributed.tensor import DTensor

    there = _sharded(like)
    return DTensor.from_local(
        part, there.device_mesh, there.placements, run_check=False, shape=like.shape, stride=like.stride()
    )


def _sharded(tensor: Tensor) -> DTensor:
    return cast("DTensor", tensor)
