"""`mopd diff`: what differs between two real runs is told, what is the same is said, what is missing is named."""

import json
import shutil

import pytest

from mopd import load_config, load_run, train
from mopd.analysis.differences import diff_runs
from mopd.cli import main
from mopd.core.errors import RunError
from mopd.evaluation.held_out import paired_gain
from tests.conftest import TINY


def trained(folder, *overrides):
    train(load_config(TINY, [f"run='{folder}'", "steps=2", *overrides]), quiet=True)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("compared")


@pytest.fixture(scope="module")
def first(folder):
    return trained(folder / "first")


@pytest.fixture(scope="module")
def other(folder):
    return trained(folder / "other", "optimizer.learning_rate=3e-3", "peers.failures=0")


def test_a_run_and_one_that_was_trained_again_in_the_same_way_are_equal(first, folder, capsys):
    again = trained(folder / "again")
    found = diff_runs(str(first), str(again))
    assert found["is_equal"]
    assert (found["settings"], found["environment"], found["missing"]) == ([], [], [])
    assert found["results"]["beside"]["mean"] == 0.0
    assert main(["diff", str(first), str(again)]) == 0
    assert "the runs are equal" in capsys.readouterr().out


def test_settings_that_differ_are_told_from_and_to_with_what_they_mean(first, other, capsys):
    found = diff_runs(str(first), str(other))
    values = {row["key"]: row["values"] for row in found["settings"]}
    assert values == {"optimizer.learning_rate": [3e-4, 3e-3], "peers.failures": [1, 0]}
    assert all(row["meaning"] for row in found["settings"])
    assert all(row["is_same"] for row in found["data"])
    assert not found["is_equal"]
    main(["diff", str(first), str(other)])
    assert "peers.failures: 1 -> 0" in capsys.readouterr().out


def test_results_are_paired_by_held_out_problem(first, other):
    found = diff_runs(str(first), str(other))["results"]
    ends = [[*load_run(run).evaluation_rows()][-1] for run in (first, other)]
    mean, interval = paired_gain(*ends)
    assert found["beside"] == {"mean": mean, "interval": list(interval), "problems": 16}
    for told, run in zip(found["runs"], (first, other), strict=True):
        rows = [*load_run(run).metrics_rows()]
        assert told["steps"] == len(rows) == 2
        assert told["cost"]["step_seconds"] == pytest.approx(sum(row["time/step_s"] for row in rows))
        assert told["gain"] == load_run(run).summary["gain"]
    assert found["parts"]["step"] == 0


def test_runs_of_other_held_out_problems_are_not_compared_and_say_why(first, folder, capsys):
    fewer = trained(folder / "fewer", "problems.held_out=8")
    found = diff_runs(str(first), str(fewer))
    assert found["results"]["beside"] == {"why": "other held-out problems"}
    rows = {row["key"]: row for row in found["data"]}
    assert rows["held-out problems"] == {"key": "held-out problems", "is_same": False, "values": [16, 8]}
    main(["diff", str(first), str(fewer)])
    assert "held-out problems are not the same ones" in capsys.readouterr().out


def test_what_cannot_be_read_is_named_and_the_rest_is_told(first, other, tmp_path):
    copied = shutil.copytree(other, tmp_path / "copied")
    (copied / "evaluations.jsonl").write_text("{ not json\n")
    (copied / "environment.json").unlink()
    (copied / "summary.json").unlink()
    found = diff_runs(str(first), str(copied))
    assert found["results"]["beside"] == {"why": "no evaluation"}
    assert found["results"]["runs"][1]["is_finished"] is False
    told = "\n".join(found["missing"])
    assert "evaluations of copied" in told
    assert "environment.json of copied" in told
    assert {row["key"] for row in found["settings"]} == {"optimizer.learning_rate", "peers.failures"}


def test_another_environment_is_told_by_what_differs(first, tmp_path):
    copied = shutil.copytree(first, tmp_path / "elsewhere")
    environment = json.loads((copied / "environment.json").read_text())
    environment["torch_threads"] = 64
    environment["packages"]["torch"] = "0.0"
    (copied / "environment.json").write_text(json.dumps(environment))
    found = diff_runs(str(first), str(copied))
    assert {row["key"]: row["values"][1] for row in found["environment"]} == {
        "torch_threads": 64,
        "packages.torch": "0.0",
    }
    assert not found["is_equal"]


def test_what_is_no_run_is_refused_and_json_is_what_is_told(first, other, tmp_path, capsys):
    with pytest.raises(RunError, match=r"config\.json"):
        diff_runs(str(first), str(tmp_path))
    assert main(["diff", str(first), str(tmp_path)]) == 2
    out = tmp_path / "differences.json"
    assert main(["diff", str(first), str(other), "--json", str(out)]) == 0
    assert json.loads(out.read_text()) == diff_runs(str(first), str(other))
    capsys.readouterr()
