"""Hostile use, short: what tests/proofs/test_hostile.py does a hundred times."""

import random
import shutil

import pytest

from tests.proofs import hostile


@pytest.fixture(scope="module")
def references(tmp_path_factory):
    return hostile.reference(tmp_path_factory.mktemp("references"), seeds=2)


def test_two_processes_at_one_directory_lose_and_mix_nothing(references, tmp_path):
    hostile.meet(tmp_path, references, 3, random.Random(4), longest_s=1.0)


def test_runs_that_were_ended_by_signals_go_on_to_the_same_end(references, tmp_path):
    hostile.signalled(tmp_path, references, 3, random.Random(6), longest_s=2.0)


def test_a_cache_that_vanishes_while_it_is_used_costs_no_run(tmp_path, monkeypatch):
    monkeypatch.setenv("MOPD_CACHE", str(tmp_path / "cache"))
    child = hostile.disturbed(
        tmp_path,
        lambda: shutil.rmtree(tmp_path / "cache", ignore_errors=True),
        tmp_path / "run",
        "warmup={kind='demonstrator', steps=3, batch_size=4}",
    )
    child.assert_clear(0)


def test_two_runs_with_one_warm_up_side_by_side_share_its_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MOPD_CACHE", str(tmp_path / "cache"))
    warmup = "warmup={kind='demonstrator', steps=3, batch_size=4}"
    children = [hostile.start(tmp_path, hostile.train(tmp_path / name, warmup)) for name in ("a", "b")]
    for child in children:
        child.assert_clear(0)
        assert "warm-up is not cached" not in child.printed, child.printed
        assert "cannot be read" not in child.printed, child.printed
    hostile.assert_same_end(tmp_path / "a", tmp_path / "b")
    (cached,) = (tmp_path / "cache" / "warmups").iterdir()  # and nothing is left aside
    assert (cached / "warmup.json").is_file()
