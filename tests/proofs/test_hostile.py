"""Hostile use, long: `make proof-hostile` (ROUNDS=100). The ordinary suite has short versions of each."""

import os
import random
import shutil
import subprocess
import sys

import pytest

from tests.integration.test_bad_input import can_mount_a_small_disk
from tests.proofs import hostile

pytestmark = pytest.mark.slow
ROUNDS = int(os.environ.get("ROUNDS", "100"))


@pytest.fixture(scope="module")
def references(tmp_path_factory):
    return hostile.reference(tmp_path_factory.mktemp("references"))


def test_two_processes_at_one_directory_lose_and_mix_nothing(references, tmp_path):
    refused = hostile.meet(tmp_path, references, ROUNDS, random.Random(1), longest_s=2.0)
    assert refused
    print(f"{ROUNDS} rounds, {refused} processes refused")


def test_runs_that_were_ended_by_signals_go_on_to_the_same_end(references, tmp_path):
    ended = hostile.signalled(tmp_path, references, max(3, ROUNDS * 3 // 10), random.Random(2), longest_s=3.0)
    assert sum(ended.values())
    print(f"ended: {ended}")


def test_every_file_of_a_run_may_be_cut_short(references, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(references[1], run)
    shutil.rmtree(run / "checkpoints" / "step-4")
    (run / "summary.json").unlink()
    print(hostile.truncated(tmp_path, run, references[1], random.Random(3)))


def test_a_cache_that_vanishes_again_and_again_costs_no_run(tmp_path, monkeypatch):
    warmup = "warmup={kind='demonstrator', steps=3, batch_size=4}"
    plain = hostile.start(tmp_path, hostile.train(tmp_path / "plain", warmup, "problems.options={length=3}"))
    plain.assert_clear(0)
    monkeypatch.setenv("MOPD_CACHE", str(tmp_path / "cache"))
    for index in range(max(1, ROUNDS // 20)):
        run = tmp_path / f"run-{index}"
        child = hostile.disturbed(tmp_path, lambda: shutil.rmtree(tmp_path / "cache", ignore_errors=True), run, warmup)
        child.assert_clear(0)
        hostile.assert_same_end(run, tmp_path / "plain")


@pytest.mark.skipif(not can_mount_a_small_disk(), reason="needs unshare and user namespaces to mount a small disk")
@pytest.mark.parametrize("with_cache", [False, True])
def test_a_disk_that_fills_anywhere_costs_no_step_that_was_saved(references, tmp_path, with_cache):
    """A real disk of a random size: the run ends with the clear error; with room it goes on to the same end."""
    points = max(1, ROUNDS // 10)
    command = [sys.executable, "-m", "tests.proofs.full_disk", str(tmp_path), str(references[1]), str(points)]
    command = ["unshare", "--mount", "--map-root-user", *command, *(["--with-cache"] if with_cache else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
