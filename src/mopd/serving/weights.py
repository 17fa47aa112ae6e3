"""Weights on their way to servers: written to a folder that both see, then read by each server without a restart.

Weights are named by a digest of what they are, so a server that was restarted, or was given weights by somebody else,
is known by the name that it tells. An adapter is pushed as an adapter: the base never moves.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mopd.core.errors import ServerError
from mopd.core.files import advice, locked_folder, remove_left_aside
from mopd.models.adapters import adapter_tensors, save_adapter
from mopd.models.pretrained import hide_transformers_bars
from mopd.models.student import Student, copy_model
from mopd.models.weights import kept_dtypes, tensors_digest, weights_digest
from mopd.serving.client import Client, Unanswered, said
from mopd.serving.fleet import Server

NAME = "mopd"
"""What the folders, and the names of adapters, begin with."""

UNTOUCHED = "default"
"""What a server calls the weights that it was started with."""


@dataclass(frozen=True)
class Pushed:
    """Weights that are there to be read: their name, their folder, and whether they are an adapter's alone."""

    version: str
    folder: Path
    is_adapter: bool


class WeightsFolder:
    """The folder through which servers get a student's weights, or its teacher's. It holds the newest alone, and goes
    with this process; what a killed process left is removed by the next."""

    def __init__(self, parent: str, student: Student) -> None:
        self.student = student
        place = Path(parent or tempfile.gettempdir()).absolute() / NAME
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            remove_left_aside(place.parent, NAME)
            self.path, descriptor = locked_folder(place)
            self.path.chmod(0o755)  # servers may be another user's
        except OSError as error:
            raise _unwritable(place.parent, error) from error
        self.remove = weakref.finalize(self, _remove, self.path, descriptor)

    @torch.no_grad()
    def write(self, model: Any, now: Pushed | None, state: dict[str, Tensor] | None = None) -> Pushed:
        """Write the weights of `model` as they are now, in the dtype of the student's products; nothing where `now` are
        those. Of a model that is split over ranks `state` has them whole.

        Raises ServerError where they cannot be written: the folder is then empty, and nothing else is lost.
        """
        hide_transformers_bars()
        base, is_adapter = self.student.base, self.student.base is not None
        copied = model
        if state is not None:
            kinds = kept_dtypes(model, self.student.dtype)
            state = {name: tensor.to(kinds.get(name, tensor.dtype)) for name, tensor in state.items()}
            digest = tensors_digest(state.items())
        elif is_adapter:
            digest = tensors_digest(adapter_tensors(model).items())
        else:
            copied = copy_model(model, self.student.dtype, torch.device("cpu"))
            digest = weights_digest(copied)
        version = f"{NAME}-{digest[:16]}"
        if now is not None and version == now.version:
            return now
        folder = self.path / version
        try:
            for old in self.path.iterdir():  # before, so that the disk holds them once
                shutil.rmtree(old)
            folder.mkdir()
            if base is None:
                copied.save_pretrained(folder, state_dict=state)
            else:
                save_adapter(model, base, folder)
        except Exception as error:  # a full disk is an exception of their own to safetensors
            shutil.rmtree(folder, ignore_errors=True)
            raise _unwritable(self.path, error) from error
        return Pushed(version, folder, is_adapter)


def _remove(path: Path, descriptor: int) -> None:
    shutil.rmtree(path, ignore_errors=True)
    os.close(descriptor)


def _unwritable(folder: Path, error: Exception) -> ServerError:
    return ServerError(
        "weights for the servers can be written",
        f"{folder}: {error}",
        f"{advice(error)}, or set engine.folder to another; the run is resumed from its checkpoint",
    )


async def version_on(client: Client, server: Server, wanted: Pushed) -> str:
    """The name of the weights that a server has; of several adapters the wanted one, else the newest."""
    version = str(said(await client.get(server.url, "/weight_info"), "weight_version"))
    if not wanted.is_adapter or version != UNTOUCHED:
        return version
    names = await _adapters(client, server)
    return wanted.version if wanted.version in names else (names or [UNTOUCHED])[-1]


async def push(client: Client, server: Server, weights: Pushed) -> None:
    """Let a server read weights. While it reads, and where that fails, they have a name that is nobody's.

    Raises Unanswered.
    """
    if weights.is_adapter:
        await _push_adapter(client, server, weights)
        return
    await _name(client, server, f"reading {weights.version}")
    asked = {"method": "read_weights", "kwargs": {"folder": str(weights.folder)}}  # worker/mopd_worker.py
    await client.post(server.url, "/collective_rpc", asked)
    freed = await client.post(server.url, "/reset_prefix_cache?reset_running_requests=true")
    if not said(freed, "success"):  # keys and values of the old weights would go on beside the new ones
        raise Unanswered(f"{server.url}: its cache of prefixes cannot be emptied")
    await _name(client, server, weights.version)


async def _name(client: Client, server: Server, version: str) -> None:
    await client.post(server.url, "/update_weight_version", {"new_version": version})


async def _push_adapter(client: Client, server: Server, weights: Pushed) -> None:
    if (base := said(await client.get(server.url, "/weight_info"), "weight_version")) != UNTOUCHED:
        raise Unanswered(f"{server.url}: its base was overwritten by {base}; an adapter needs a server started afresh")
    old = await _adapters(client, server)
    asked = {"lora_name": weights.version, "lora_path": str(weights.folder)}
    await client.post(server.url, "/v1/load_lora_adapter", asked, is_json=False)
    for name in old:
        if name != weights.version:
            await client.post(server.url, "/v1/unload_lora_adapter", {"lora_name": name}, is_json=False)


async def _adapters(client: Client, server: Server) -> list[str]:
    """The adapters that were pushed to a server, the newest last."""
    models = said(await client.get(server.url, "/v1/models"), "data")
    names = [str(said(model, "id")) for model in models]
    return [name for name in names if name.startswith(f"{NAME}-")]
