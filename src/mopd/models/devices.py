"""Where a student computes, and in which dtype."""

from __future__ import annotations

import resource
import sys
from typing import Any

import torch

from mopd.core.errors import ConfigError


def resolve_device(device: str) -> torch.device:
    """`auto` as cuda where there is one, else cpu. Raises ConfigError where a device is not there."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError("compute.device exists on this machine", f"{device}: {error}", "use auto or cpu") from error
    return torch.device(device)


def device_name(device: torch.device) -> str:
    """The device with the name of its GPU: "cuda:0 (NVIDIA H200)"."""
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)


def peak_memory_bytes(device: torch.device) -> int:
    """The most memory that was held so far: tensors on a GPU, elsewhere the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def held_memory_bytes() -> int:
    """What this process holds of main memory now; where the system does not say so, the most that it held."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        return peak_memory_bytes(torch.device("cpu"))


BFLOAT16_PAYS_PARAMETERS = 20_000_000
"""Below this, conversions on a CPU cost more than faster matrix products save."""


def resolve_dtype(dtype: str, device: torch.device, model: Any) -> torch.dtype:
    """The dtype of matrix products. `auto`: bfloat16 where the processor multiplies it and the model is large."""
    if dtype != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[dtype]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    is_large = sum(parameter.numel() for parameter in model.parameters()) >= BFLOAT16_PAYS_PARAMETERS
    is_fast = device.type == "cpu" and _cpu_multiplies_bfloat16()
    return torch.bfloat16 if is_large and is_fast else torch.float32


def _cpu_multiplies_bfloat16() -> bool:
    """AMX or AVX-512 BF16. Measured on SmolLM2-135M: 1.8 times as fast with AVX-512 BF16, more with AMX."""
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
