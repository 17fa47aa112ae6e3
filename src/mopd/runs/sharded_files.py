"""The large tensors of a checkpoint of a run that is split over ranks: each rank writes what it holds.

torch.distributed.checkpoint writes them as a folder, `shares`, and reads them into any number of ranks. The student is
not among them: it is gathered, a tensor at a time, into a folder that other programs open, as in any checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mopd.parallel.sharded import as_share, local, ranks_of

SHARES = "shares"
"""The folder within a checkpoint."""


def write_shares(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write named tensors, in all ranks together, to a folder that is there."""
    from torch.distributed.checkpoint.state_dict_saver import save

    save(dict(tensors), checkpoint_id=folder)


@torch.no_grad()
def read_shares(folder: Path, prefix: str, model: Any) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, without it, as a model holds the parameters of the same names.

    Where the model is split each rank reads its shares, else everything.
    """
    from torch.distributed.checkpoint.filesystem import FileSystemReader
    from torch.distributed.checkpoint.state_dict_loader import load

    like = dict(model.named_parameters())
    found: dict[str, Tensor] = {}
    described = FileSystemReader(folder).read_metadata().state_dict_metadata
    for name, known in described.items():
        if name.startswith(prefix):
            found[name] = _empty(known, like.get(name.removeprefix(prefix).rpartition("/")[2]))
    load(found, checkpoint_id=folder, no_dist=ranks_of(model).size == 1)
    return {name.removeprefix(prefix): tensor for name, tensor in found.items()}


def _empty(known: Any, like: Tensor | None) -> Tensor:
    """A tensor to read into: of the size that was written, split as `like` is where that has the same size."""
    if like is None or like.shape != known.size:
        return torch.empty(known.size, dtype=known.properties.dtype)
    return as_share(torch.empty_like(local(like), dtype=known.properties.dtype), like)
