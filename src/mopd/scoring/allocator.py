"""The C library's memory allocator, told to keep what a step frees for the next one.

By default glibc returns every large block to the system and asks for fresh pages, zeroed, for the next one. Training on
a CPU frees and allocates the same tensors all the time: on SmolLM2-135M a tenth of a step went into page faults.
"""

from __future__ import annotations

import ctypes
import os

KEPT = {
    "MALLOC_MMAP_THRESHOLD_": 2**27,  # larger blocks still come from the system: kept, they would leave holes
    "MALLOC_TRIM_THRESHOLD_": 2**30,
    "MALLOC_TOP_PAD_": 2**26,
}
"""Bytes, by the environment variable with which glibc can be told at its start."""

_OPTIONS = {"MALLOC_TRIM_THRESHOLD_": -1, "MALLOC_TOP_PAD_": -2, "MALLOC_MMAP_THRESHOLD_": -3}  # glibc's malloc.h


def keep_freed_memory() -> bool:
    """Tell glibc, unless MALLOC_* variables do; whether it was told. Another allocator in its place ignores it."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    told = [mallopt(_OPTIONS[name], size) == 1 for name, size in KEPT.items()]
    return all(told)
