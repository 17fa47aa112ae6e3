"""Which engine samples: read by `rollouts/` and `serving/`."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from mopd.config.table import NonNegativeInt, PositiveFloat, Table


def _server(text: str) -> str:
    """An address without what may follow it: a server has no path."""
    try:
        parts = urlsplit(text.rstrip("/"))
        is_whole = parts.scheme in ("http", "https") and parts.hostname and parts.port
    except ValueError:  # a port that is no number
        is_whole = False
    if not is_whole or parts.path or parts.query:
        raise ValueError(f"a server is named with its port, as http://127.0.0.1:8000; got {text!r}")
    return text.rstrip("/")


def is_on_this_machine(server: str) -> bool:
    """Whether a server's address is a loopback one."""
    host = urlsplit(server).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _distinct(servers: tuple[str, ...]) -> tuple[str, ...]:
    if twice := sorted({server for server in servers if servers.count(server) > 1}):
        raise ValueError(f"each server stands once; {twice[0]} stands there twice")
    return servers


Servers = Annotated[tuple[Annotated[str, AfterValidator(_server)], ...], Field(min_length=1), AfterValidator(_distinct)]


class LocalEngineConfig(Table):
    """Rollouts are sampled in this process."""

    kind: Literal["local"] = "local"


class VllmEngineConfig(Table):
    """Rollouts are sampled by vLLM servers, spoken to over HTTP (docs/serving.md). `mopd serve` starts them."""

    kind: Literal["vllm"] = "vllm"
    servers: Servers = ("http://127.0.0.1:8000",)
    """Where the servers are. All get the student's weights, and share the work."""
    folder: str = ""
    """Where weights are written for the servers to read: a folder that they see under the same path. Empty: the
    system's folder for temporary files, where all servers are on this machine."""
    timeout_s: PositiveFloat = 600.0
    """Wall time of one request, all rollouts of one problem, or of one reading of new weights."""
    retries: NonNegativeInt = 8
    """How often a request that a server did not answer is sent again, to the next server, or to the same one after a
    pause that doubles from 1 to 30 s."""
    older: Literal["weight", "refuse"] = "refuse"
    """What becomes of a server that cannot be given new weights and still has older ones of this run. `weight`: its
    rollouts are trained on, by their importance weights, and counted; only for training. `refuse`: it is left out."""
    ahead: Annotated[int, Field(ge=0, le=1)] = 0
    """Steps that sampling is ahead of learning. 1: while the learner learns from a step's rollouts, the servers write
    the next step's by weights that are one update older, for which importance weights correct."""
    environment: str = ".venv-vllm"
    """For `mopd serve`: the virtual environment that vLLM is installed in, apart from this one."""
    arguments: tuple[str, ...] = ()
    """For `mopd serve`: further arguments of every server, for example `["--gpu-memory-utilization", "0.4"]`."""

    @model_validator(mode="after")
    def _shared(self) -> VllmEngineConfig:
        away = [server for server in self.servers if not is_on_this_machine(server)]
        if away and not self.folder:
            raise ValueError(f"engine.folder must name a folder that {away[0]} sees under the same path, but is empty")
        return self


EngineConfig = Annotated[LocalEngineConfig | VllmEngineConfig, Field(discriminator="kind")]
