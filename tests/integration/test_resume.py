"""Exact resume: a run killed at any moment and resumed equals the run nobody killed, bit for bit."""

import os

import pytest

from mopd import resume
from mopd.config import build_config
from mopd.core.errors import RunError
from mopd.runs.reading import read_config
from tests.integration import resuming


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    resuming.finish(run)  # with its warm-up, so that the duration below is of a run with the warm-up cached
    again = tmp_path_factory.mktemp("undisturbed") / "run"
    return again, resuming.finish(again)


@pytest.mark.long
def test_a_run_killed_at_three_random_moments_equals_the_undisturbed_run(reference, tmp_path):
    undisturbed, duration_s = reference
    for run in resuming.survive(undisturbed, tmp_path, kills=3, seed=7, duration_s=duration_s):
        resuming.assert_equal_runs(run, undisturbed)


@pytest.mark.long
def test_a_run_killed_while_it_writes_a_checkpoint_equals_the_undisturbed_run(reference, tmp_path):
    undisturbed, _ = reference
    run = tmp_path / "run"
    assert resuming.kill_when(run, resuming.while_checkpointing(run)), "no checkpoint was caught half written"
    resuming.finish(run)
    resuming.assert_equal_runs(run, undisturbed)


@pytest.mark.slow
def test_a_run_killed_many_times_equals_the_undisturbed_run(reference, tmp_path):
    undisturbed, duration_s = reference
    kills = int(os.environ.get("KILLS", "50"))
    runs = resuming.survive(undisturbed, tmp_path, kills, seed=11, duration_s=duration_s)
    for run in runs:
        resuming.assert_equal_runs(run, undisturbed)
    print(f"{kills} kills over {len(runs)} runs, all equal to the undisturbed run")


def test_resuming_under_another_configuration_names_the_first_difference(reference):
    undisturbed, _ = reference
    values = read_config(undisturbed).model_dump(mode="json")
    other = build_config(values, ["optimizer.learning_rate=0.5", "steps=9"])
    with pytest.raises(RunError, match=r"optimizer.learning_rate = 0.5, but the run has 0.0003"):
        resume(undisturbed, expected=other)


def test_resuming_a_finished_run_returns_its_summary(reference):
    undisturbed, _ = reference
    assert resume(undisturbed, quiet=True)["after"] == resume(undisturbed, quiet=True)["after"]


def test_resuming_nothing_says_what_to_do(tmp_path):
    with pytest.raises(RunError, match="mopd train CONFIG"):
        resume(tmp_path / "nowhere")
