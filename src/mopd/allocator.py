"""The C library's memory allocator, told to keep what a step frees for the next one.

By default glibc returns every large block to the system and asks for fresh pages, zeroed, for the next one. Training on
a CPU frees and allocates the same tensors all the time: on SmolLM2-135M a tenth of a step went into page faults.
"""

from __future__ import annotations

import ctypes
import os

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # from glibc's malloc.h

KEPT = {
    M_MMAP_THRESHOLD: 2**27,  # larger blocks still come from the system: kept, they would leave holes of their size
    M_TRIM_THRESHOLD: 2**30,
    M_TOP_PAD: 2**26,
}
"""Bytes."""


def keep_freed_memory() -> bool:
    """Tell glibc, unless MALLOC_* variables do; whether it was told. Another allocator in its place ignores it."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    told = [mallopt(option, size) == 1 for option, size in KEPT.items()]
    return all(told)
