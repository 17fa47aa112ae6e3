"""What all tests share: one thread, no hub, and a warmed-up tiny student."""

from __future__ import annotations

import os
import signal
from importlib.util import find_spec
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["OMP_NUM_THREADS"] = "1"

import jaxtyping

ROOMS = Path(__file__).parents[1] / "src" / "mopd"
CHECKED = [
    "mopd." + ".".join(path.relative_to(ROOMS).with_suffix("").parts)
    for room in ("method", "scoring")
    for path in sorted((ROOMS / room).rglob("*.py"))
    if path.name
    not in ("__init__.py", "flex.py")  # flex_attention counts the parameters of a function that it is given
]
jaxtyping.install_import_hook(CHECKED, "beartype.beartype")  # shapes and types in signatures hold in every test

import pytest
import torch
from hypothesis import HealthCheck, settings

from mopd import load_config
from mopd.preflight.setup import prepare
from mopd.problems import load_problems
from mopd.runs.progress import ProgressDisplay
from mopd.warmup.warmup import warm_up
from tests.servers import serving

torch.set_num_threads(1)

settings.register_profile("fuzz", max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
"""Many more examples for the laws that do not say how many: `make fuzz`."""

needs_torchao = pytest.mark.skipif(find_spec("torchao") is None, reason="without torchao; `make test-lean` has it")

TINY = Path(__file__).parent / "configs" / "tiny.toml"


@pytest.fixture(scope="session")
def two_servers(tmp_path_factory):
    """(config file, urls, the process of `mopd serve`): two vLLM servers with SmolLM2."""
    with serving(tmp_path_factory.mktemp("servers"), 2) as found:
        yield found


@pytest.fixture
def tiny_config(tmp_path):
    return load_config(TINY, [f"run='{tmp_path / 'run'}'"])


@pytest.fixture
def tiny_problems(tiny_config):
    return load_problems(tiny_config.problems)


@pytest.fixture
def tiny_setup(tiny_config, tiny_problems):
    """A run's setup with a fresh copy of the warmed-up tiny student (the warm-up is cached after its first use)."""
    setup = prepare(tiny_config, tiny_problems)
    warm_up(setup, ProgressDisplay(quiet=True))
    return setup


@pytest.fixture
def tiny_student(tiny_setup):
    return tiny_setup.student


@pytest.fixture
def interrupts():
    """SIGINT interrupts this process and those it starts, also where all of them run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
