"""Where a run computes: a table of cards with their published figures, and this machine as it is found."""

from __future__ import annotations

import difflib
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from mopd.core.errors import ConfigError


@dataclass(frozen=True)
class Device:
    """Memory in bytes, operations a second of matrix products by dtype, and bytes a second that are moved.

    `free` is what other processes leave; `share` the part of the rates that a whole step is taken to reach.
    """

    name: str
    memory: int
    free: int
    rates: dict[str, float]
    bandwidth: float
    share: float
    is_gpu: bool
    is_published: bool = False
    """Whether its figures are a maker's, and none was measured."""
    link: float = 1e9
    """Bytes a second to another device of the same host, in each direction. Here: gloo over loopback, about."""


GPU_SHARE = 0.35
"""Of a card's published rates: assumed, not measured. Training with large batches reaches .3 to .5 of them."""

CPU_SHARE = 0.6
"""Of the rates measured here: a step's products are of many shapes, and norms, softmax and gathers take time too."""

CONTEXT = 600 * 2**20
"""What CUDA itself takes of a card's memory: assumed."""

_PUBLISHED: dict[str, tuple[int, float, float, float, float]] = {
    "rtx-3090": (24, 71, 35.6, 936, 32),
    "rtx-4090": (24, 165, 82.6, 1008, 32),
    "l4": (24, 121, 30.3, 300, 32),
    "rtx-5090": (32, 210, 105, 1792, 64),
    "a100-40": (40, 312, 19.5, 1555, 300),
    "l40s": (48, 362, 91.6, 864, 32),
    "h100": (80, 989, 67, 3350, 450),
    "a100-80": (80, 312, 19.5, 2039, 300),
    "h200": (141, 989, 67, 4800, 450),
    "b200": (180, 2250, 75, 8000, 900),
}
"""GiB; dense TFLOP/s in bfloat16 and float32 (no TF32); GB/s of memory, and in each direction to another card of a
host: NVLink of the SXM boards, else PCIe x16. From the makers' data sheets. Smallest memory first."""


def card(name: str) -> Device:
    """A card by name. Raises ConfigError with the nearest name where there is none."""
    if name not in _PUBLISHED:
        near = difflib.get_close_matches(name.lower().replace("_", "-"), ("auto", "cpu", *_PUBLISHED), n=1, cutoff=0.4)
        raise ConfigError(
            f"--device is auto, cpu, or one of {', '.join(_PUBLISHED)}",
            f"--device {name}",
            f"did you mean {near[0]}?" if near else "name one of these",
        )
    gib, half, single, bandwidth, link = _PUBLISHED[name]
    rates = {"bfloat16": half * 1e12, "float32": single * 1e12}
    return Device(name, gib * 2**30, gib * 2**30, rates, bandwidth * 1e9, GPU_SHARE, True, True, link * 1e9)


def cards() -> list[Device]:
    """All cards, those of the smallest memory first."""
    return [card(name) for name in _PUBLISHED]


def this_machine(device: torch.device, products: str) -> Device:
    """The device of this machine: its memory, and its rates, measured in about a second."""
    memory, free = memory_of(device)
    rate, bandwidth = _product_rate(device, products), _copy_rate(device)
    is_gpu = device.type == "cuda"
    return Device(str(device), memory, free, {products: rate}, bandwidth, CPU_SHARE, is_gpu)


def memory_of(device: torch.device) -> tuple[int, int]:
    """(total, free) bytes of a device of this machine; of a CPU no more than the process's control group has."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return int(total), int(free)
    if device.type != "cpu" or not Path("/proc/meminfo").exists():
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return total, total if sys.platform == "darwin" else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    found = {words[0]: int(words[1]) * 1024 for words in lines}
    limit, used = (_control_group(name) for name in ("memory.max", "memory.current"))
    total, free = found["MemTotal:"], found["MemAvailable:"]
    return (total, free) if limit is None else (min(total, limit), min(free, max(0, limit - (used or 0))))


def _control_group(name: str) -> int | None:
    """A number of this process's control group (cgroup v2); None where there is none or no limit."""
    try:
        text = (Path("/sys/fs/cgroup") / name).read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _product_rate(device: torch.device, products: str) -> float:
    """Operations a second of a product of 512 rows with a matrix of 1,024 x 1,024, as a microbatch makes them."""
    dtype = torch.bfloat16 if products == "bfloat16" else torch.float32
    rows, weight = torch.ones(512, 1024, device=device, dtype=dtype), torch.ones(1024, 1024, device=device, dtype=dtype)
    return 2 * rows.numel() * len(weight) * _times_a_second(device, lambda: rows @ weight)


def _copy_rate(device: torch.device) -> float:
    """Bytes a second that are read and written."""
    numbers = torch.ones(2**24, device=device)
    target = torch.empty_like(numbers)
    return 2 * numbers.nbytes * _times_a_second(device, lambda: target.copy_(numbers))


def _times_a_second(device: torch.device, call: Callable[[], object], seconds: float = 0.3) -> float:
    """How often something can be done in a second: by the shortest time of several, since neighbours only slow down."""
    times: list[float] = []
    while len(times) < 3 or sum(times) < seconds:
        began = time.perf_counter()
        call()
        _wait(device)
        times.append(time.perf_counter() - began)
    return 1 / max(1e-9, min(times))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
