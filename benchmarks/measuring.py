"""What a measured process tells of itself: seconds by phase, and how far its memory grows.

On a CPU seconds are the process's CPU time, so that a neighbour on the machine costs nothing but noise, and memory is
resident memory. On a CUDA device they are wall time with the device synchronised, and memory is that of torch's
allocator there; that half has not been run, for want of a device.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import torch

SAMPLED_EVERY_S = 0.02


def now(device: str) -> float:
    """Seconds that count on `device`."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def state_bytes(model: Any) -> int:
    """Gradients of a model's weights, which a step needs whoever makes it; the rest of the state is there before.

    So it is from the second step on: the optimiser's moments come with the first.
    """
    return sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)


class PeakMemory:
    """Memory from `start` to `growth`; resident memory is sampled every 20 ms.

    At the start what is freed goes back to the system, also where the allocator was told to keep it: else a step would
    grow into memory that the step before had left, unseen.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self.before = self.peak = 0
        self.is_on = False

    def start(self) -> None:
        """A step begins."""
        gc.collect()
        give_back()
        if self.device != "cpu":
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            self.before = torch.cuda.memory_allocated()
            return
        self.before = self.peak = resident_bytes()
        self.is_on = True
        threading.Thread(target=self._sample, daemon=True).start()

    def growth(self, state: int) -> dict[str, float]:
        """GiB at the peak, and beyond what was there at the start and `state`. The step is over."""
        self.is_on = False
        self.peak = torch.cuda.max_memory_allocated() if self.device != "cpu" else max(self.peak, resident_bytes())
        return {"peak_gib": self.peak / 2**30, "growth_gib": max(0, self.peak - self.before - state) / 2**30}

    def _sample(self) -> None:
        while self.is_on:
            self.peak = max(self.peak, resident_bytes())
            time.sleep(SAMPLED_EVERY_S)


def give_back() -> None:
    """Return what is freed to the system, where the C library is glibc."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def resident_bytes() -> int:
    """Of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def available_gib() -> float:
    """Memory that the machine can still give."""
    with open("/proc/meminfo") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("MemAvailable:")) / 2**20


def finished(run: Path) -> dict[str, Any] | None:
    """The summary of a run that was ended before, None of one that was not: a study goes on where it was broken off."""
    file = run / "summary.json"
    return json.loads(file.read_text()) if file.exists() else None
