"""Runs that keep weights, moments or teacher in less: resumed exactly, exported, and told when memory runs out."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from mopd import load_config, resume, train
from mopd.core.errors import ConfigError, OutOfMemoryError, RunError
from mopd.learning import lean
from mopd.models.memory import HELP, SIZES, is_out_of_memory, told_if_full
from mopd.preflight.checks import check_moments
from mopd.runs.changes import FREE
from mopd.runs.exporting import export
from tests.builders import UNMEASURED, make_config
from tests.conftest import needs_torchao
from tests.integration import resuming

RUN = {
    "student": "builtin:digits",
    "steps": 2,
    "group_size": 4,
    "problems_per_step": 2,
    "problems": {"source": "sort-digits", "size": 20, "held_out": 4, "options": {"length": 3}},
    "sampling": {"completion_tokens": 4},
    "context": {"tokens": 40},
    "peers": {"require_success": False},
    "evaluation": {"rollouts": 1},
    "optimizer": {"learning_rate": 1e-3},
    "checkpoint": {"every": 1, "keep": 9},
    "compute": {"threads": 1, "device": "cpu", "dtype": "bfloat16"},
}
CHOICES = [
    pytest.param(
        ["compute.weights='bfloat16'", "compute.moments='8bit'", "compute.teacher='bfloat16'"], marks=needs_torchao
    ),
    pytest.param(["compute.weights='offloaded'", "compute.teacher='offloaded'"], marks=pytest.mark.long),
    pytest.param(["compute.weights='bfloat16'"], marks=pytest.mark.long),
]


def config_of(run, *overrides):
    return load_config(RUN, [*UNMEASURED, *overrides], run=str(run))


@pytest.fixture(scope="module", params=CHOICES, ids=str)
def finished(request, tmp_path_factory):
    run = tmp_path_factory.mktemp("lean") / "run"
    train(config_of(run, *request.param), quiet=True)
    return run, request.param


def test_a_run_that_is_resumed_equals_the_undisturbed_one(finished, tmp_path):
    undisturbed, choice = finished
    run = tmp_path / "run"
    train(config_of(run, *choice, "steps=1"), quiet=True)
    resume(run, expected=config_of(run, *choice, "steps=2"), quiet=True)
    for name in ("model.safetensors", "teacher.safetensors", "optimizer.safetensors"):
        ours, theirs = (path / "checkpoints" / "step-2" / name for path in (run, undisturbed))
        assert ours.read_bytes() == theirs.read_bytes(), name
    assert resuming.without_durations(run) == resuming.without_durations(undisturbed)
    with pytest.raises(RunError, match=r"compute\.weights"):
        resume(run, expected=config_of(run, "steps=3"), quiet=True)


def test_a_step_moved_the_weights_and_the_checkpoint_keeps_what_is_kept_in_full(finished):
    undisturbed, choice = finished
    one, two = (load_file(undisturbed / "checkpoints" / f"step-{n}" / "model.safetensors") for n in (1, 2))
    assert any(not torch.equal(one[name], two[name]) for name in one)
    wanted = torch.float32 if "offloaded" in choice[0] else torch.bfloat16
    assert {tensor.dtype for tensor in two.values()} == {wanted}
    metrics = [json.loads(line) for line in (undisturbed / "metrics.jsonl").read_text().splitlines()]
    assert all(row["update/count"] == 1 for row in metrics)


def test_a_run_that_keeps_bfloat16_is_exported_to_float32_to_the_bit(finished, tmp_path):
    undisturbed, _ = finished
    export(str(undisturbed), tmp_path / "out", "float32")
    kept = load_file(undisturbed / "checkpoints" / "step-2" / "model.safetensors")
    for name, weight in AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto").named_parameters():
        assert torch.equal(weight, kept[name].float())


def test_updates_that_are_never_shortened_keep_no_weights_of_before(tmp_path):
    unbounded = ["optimizer.fall_share=0", "optimizer.drift_nats=0", "steps=1", "compute.dtype='float32'"]
    train(config_of(tmp_path / "run", *unbounded), quiet=True)
    row = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert "update/expected_fall_nats" not in row
    assert row["update/drift_nats"] > 0


def test_moments_of_8_bits_without_their_library_are_refused_by_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchao.optim.subclass_8bit", None)
    lean.packed_type.cache_clear()
    with pytest.raises(ConfigError, match=r'pip install "mopd\[lean\]"'):
        check_moments(make_config("compute.moments='8bit'"))
    lean.packed_type.cache_clear()


SPEAKING = "import transformers; from transformers import LlamaForCausalLM"
QUIET = f"import mopd; {SPEAKING}; import torchao.optim; import logging; logging.getLogger('torchao').warning('heard')"


@needs_torchao
def test_the_libraries_that_it_imports_say_nothing_but_what_concerns_a_user():
    done = subprocess.run([sys.executable, "-c", QUIET], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines() == ["heard"]
    assert done.stdout == ""


FILLING = """
import resource, sys
from mopd import train, load_config
from mopd.core.errors import MopdError
from mopd.learning.optimizer import AdamW
from mopd.rollouts.local import LocalEngine
from tests.integration.test_lean_runs import config_of

config = config_of(sys.argv[1], "sampling.completion_tokens=40", "compute.dtype='float32'")
kind, name = {"sample": (LocalEngine, "sample"), "update": (AdamW, "update")}[sys.argv[2]]
inner, is_in_step = getattr(kind, name), []

def with_little_memory(self, *args, **options):
    is_in_step.append(0)
    if len(is_in_step) > int(sys.argv[3]):
        held = 4096 * int(open("/proc/self/statm").read().split()[5])
        resource.setrlimit(resource.RLIMIT_DATA, (held, resource.RLIM_INFINITY))
    try:
        return inner(self, *args, **options)
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

setattr(kind, name, with_little_memory)
try:
    train(config, quiet=True)
except MopdError as error:
    print(type(error).__name__, error.exit_status, error)
"""
"""A run that has no more memory than it holds when it samples, or updates, for the first time in a step."""


@pytest.mark.long
@pytest.mark.parametrize(
    ("phase", "calls_before", "name", "settings"),
    [
        ("sample", 2, "sampling", ["compute.sampling_rows=256", "sampling.completion_tokens=20"]),
        ("update", 0, "the update", ["compute.moments=8bit", "compute.weights=bfloat16"]),
    ],
)
def test_memory_that_runs_out_in_a_step_is_told_with_its_phase_and_what_helps(
    phase, calls_before, name, settings, tmp_path
):
    words = [sys.executable, "-c", FILLING, str(tmp_path / "run"), phase, str(calls_before)]
    eager = {**os.environ, "MALLOC_TOP_PAD_": "0", "MALLOC_TRIM_THRESHOLD_": "0", "MALLOC_MMAP_THRESHOLD_": "4096"}
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=eager)
    assert done.stdout.startswith("OutOfMemoryError 1 out of memory in " + name), done.stdout + done.stderr
    for setting in settings:
        assert setting in done.stdout


def test_settings_that_a_run_may_go_on_with_are_those_that_it_may_change():
    assert all(key.startswith(FREE) for key in SIZES)
    others = {key for _, *keys in HELP.values() for key in keys} - set(SIZES)
    assert not {key for key in others if key.startswith(FREE)} - {"verification.workers", "evaluation.reading_contexts"}


def test_who_trains_an_adapter_is_told_no_setting_that_it_cannot_have():
    config = make_config("student='elsewhere'", "lora.rank=4")
    with pytest.raises(OutOfMemoryError) as told, told_if_full(config, lambda: "update"):
        raise MemoryError
    assert "compute.moments=8bit" in told.value.do
    assert "compute.weights" not in told.value.do


def test_errors_of_memory_are_told_from_others():
    with pytest.raises(RuntimeError) as found:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(found.value)
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not is_out_of_memory(RuntimeError("shapes"))
