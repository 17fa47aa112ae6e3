"""How a vLLM server is started: the words of its command line, and what stands in its environment."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from mopd.core.errors import ConfigError

LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The ranks for which vLLM has room; an adapter of another rank lies in the next."""

MOST_AT_ONCE = 256
"""Completions that one server writes at once at most."""

PROMPT_TOKENS = 2048
"""Tokens of prompts that a server reads at once at least."""


@dataclass(frozen=True)
class ServerCommand:
    """One server: its address, the words that start it, and what its environment has besides this process's."""

    url: str
    words: tuple[str, ...]
    environment: Mapping[str, str]

    def __str__(self) -> str:
        """As a shell takes it."""
        return " ".join(
            [*(f"{name}={shlex.quote(value)}" for name, value in self.environment.items()), shlex.join(self.words)]
        )


@dataclass(frozen=True)
class Served:
    """What servers serve: a model, the dtype of its products, its window in tokens, and completions at once.

    `lora_rank` is that of adapters that will be pushed, None where whole weights will be. `told` are the most probable
    tokens that a teacher tells, None of a student's server. `gpus` are those of the machine.
    """

    model: str
    dtype: str
    window: int
    at_once: int
    lora_rank: int | None = None
    told: int | None = None
    gpus: int = 0


def server_commands(
    served: Served, urls: Sequence[str], environment: str, arguments: Sequence[str] = ()
) -> list[ServerCommand]:
    """The commands of all servers on this machine. With GPUs to spare each server gets one of the last; the learner
    has the first."""
    python = Path(environment).expanduser().absolute() / "bin" / "python"
    words = [str(python), "-m", "vllm.entrypoints.openai.api_server", *_words(served)]
    commands = []
    for place, url in enumerate(urls):
        parts = urlsplit(url)
        at = ["--host", str(parts.hostname), "--port", str(parts.port)]
        own = _environment(served, len(urls))
        if served.gpus > len(urls):
            own["CUDA_VISIBLE_DEVICES"] = str(served.gpus - len(urls) + place)
        commands.append(ServerCommand(url, (*words, *at, *arguments), own))
    return commands


def _words(served: Served) -> list[str]:
    words = ["--model", served.model, "--dtype", served.dtype, "--max-model-len", str(served.window)]
    words += ["--max-num-seqs", str(min(served.at_once, MOST_AT_ONCE)), "--generation-config", "vllm"]
    words += ["--max-num-batched-tokens", str(max(served.window, PROMPT_TOKENS))]
    if served.gpus == 0:  # on a processor a request with a seed whose prompt is read in parts ends the server
        words += ["--no-enable-chunked-prefill"]
    if served.told is not None:
        return [*words, "--max-logprobs", str(served.told)]
    words += ["--logprobs-mode", "processed_logprobs", "--worker-extension-cls", "mopd_worker.WeightsReader"]
    if served.lora_rank is None:
        return words
    rank = next((room for room in LORA_RANKS if room >= served.lora_rank), None)
    if rank is None:
        raise ConfigError(
            f"an adapter on servers has a rank of at most {LORA_RANKS[-1]}",
            f"lora.rank = {served.lora_rank}",
            "lower it, or set engine.kind = 'local'",
        )
    return [*words, "--enable-lora", "--max-lora-rank", str(rank), "--max-loras", "2"]


def _environment(served: Served, servers: int) -> dict[str, str]:
    """What a server's environment holds besides; what is set in this process's own stays as it is, but for where the
    part of mopd is that vLLM loads."""
    found = {"VLLM_NO_USAGE_STATS": "1"}
    if served.told is None:
        found["VLLM_SERVER_DEV_MODE"] = "1"  # without it nobody may give it weights
        found["PYTHONPATH"] = str(Path(__file__).parent / "worker")
    if served.lora_rank is not None:
        found["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "1"
    if served.gpus == 0:
        threads = max(1, len(os.sched_getaffinity(0)) // servers)
        found |= {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": str(threads)}
    return {name: value if name == "PYTHONPATH" else os.environ.get(name, value) for name, value in found.items()}
