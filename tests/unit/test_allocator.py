"""The allocator is told once, and by nobody but its user where there are settings."""

import os
import subprocess
import sys

import pytest

from mopd.scoring.allocator import keep_freed_memory

FAULTS = """
import resource, sys, torch
from mopd.scoring.allocator import keep_freed_memory
told = keep_freed_memory()
def step():
    for _ in range(50):
        torch.ones(2**20, 4).sum()  # 16 MiB
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
step()
print(told, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(**variables):
    """Whether the allocator was told, and the page faults of fifty allocations, in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], env=environment | variables, capture_output=True, text=True, check=True
    )
    told, count = done.stdout.split()
    return told == "True", int(count)


def test_settings_of_ones_own_stay(monkeypatch):
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    assert not keep_freed_memory()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is not the C library here")
def test_freed_memory_is_kept_for_the_next_tensor():
    told, kept = faults()
    _, returned = faults(MALLOC_MMAP_THRESHOLD_="131072")
    assert told
    assert kept < 0.1 * returned
