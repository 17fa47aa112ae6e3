"""How far a process's memory grows in a step beyond what training always holds."""

from __future__ import annotations

import gc
import os
import threading
import time
from typing import Any


def state_bytes(model: Any) -> int:
    """Gradients of a model's weights, which a step needs whoever makes it; the rest of the state is there before."""
    return sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)


class PeakMemory:
    """Resident memory, sampled every 20 ms from `start` to `growth`."""

    def __init__(self) -> None:
        self.is_on = False
        self.before = self.peak = 0
        threading.Thread(target=self._sample, daemon=True).start()

    def start(self) -> None:
        """A step begins."""
        gc.collect()
        self.before = self.peak = resident_bytes()
        self.is_on = True

    def growth(self, state: int) -> dict[str, float]:
        """GiB at the peak, and beyond what was there at the start and `state`. The step is over."""
        self.peak = max(self.peak, resident_bytes())
        self.is_on = False
        return {"peak_gib": self.peak / 2**30, "growth_gib": max(0, self.peak - self.before - state) / 2**30}

    def _sample(self) -> None:
        while True:
            if self.is_on:
                self.peak = max(self.peak, resident_bytes())
            time.sleep(0.02)


def resident_bytes() -> int:
    """Of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
