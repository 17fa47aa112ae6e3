"""Trackers receive every metric: the real packages, offline, each skipped where it is not installed."""

import html
import json
import os
import re
import subprocess
import sys
import urllib.request
from contextlib import contextmanager

import pytest

from mopd import load_config, train
from mopd.config import build_config
from mopd.core.errors import ConfigError
from mopd.runs.records import read_jsonl
from mopd.runs.trackers import open_tracker
from tests.conftest import TINY


def test_tensorboard_holds_the_metrics_of_a_run(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = tmp_path / "run"
    train(load_config(TINY, [f"run='{run}'", "steps=2", "tracker.kind='tensorboard'"]), quiet=True)
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    written = [event.value for event in events.Scalars("reward/success_share")]
    expected = [row["reward/success_share"] for row in read_jsonl(run / "metrics.jsonl")]
    assert written == pytest.approx(expected, rel=1e-5)
    assert [event.step for event in events.Scalars("evaluation/mean_at_8")] == [0, 2]
    assert [event.step for event in events.Tensors("evaluation/completions/text_summary")] == [0, 2]


def test_trackio_takes_metrics_and_a_table_of_completions(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    pytest.importorskip("trackio", reason="trackio is not installed")
    tracker = open_tracker(build_config({}, ["tracker.kind='trackio'", f"run='{tmp_path / 'run'}'"]))
    tracker.log(0, {"reward/mean": 0.5})
    tracker.log_completions(3, completions(2))
    tracker.close()
    assert tracker.failed_count == 0
    held = b"".join(path.read_bytes() for path in tmp_path.rglob("*.db*"))
    assert b"reward/mean" in held
    assert b"evaluation/completions" in held


READ_BACK = """
import json, sys
from trackio import SQLiteStorage

project, run = sys.argv[1:]
print(json.dumps(SQLiteStorage.get_logs(project, run), default=str))
"""


@pytest.mark.long
def test_a_trackio_dashboard_has_the_curves_and_completions_of_a_run(tmp_path):
    pytest.importorskip("trackio", reason="trackio is not installed")
    run = tmp_path / "run"
    there = {**os.environ, "TRACKIO_DIR": str(run / "trackio")}
    words = [
        "train",
        str(TINY),
        f"run='{run}'",
        "steps=2",
        "evaluation.rollouts=2",
        "tracker.kind='trackio'",
        "--quiet",
    ]
    subprocess.run([sys.executable, "-m", "mopd", *words], env=there, check=True, capture_output=True)
    (name,) = json.loads((run / "tracker.json").read_text()).values()
    read = [sys.executable, "-c", READ_BACK, "mopd", name]
    logs = json.loads(subprocess.run(read, env=there, check=True, capture_output=True, text=True).stdout)
    curve = {row["step"]: row["reward/success_share"] for row in logs if "reward/success_share" in row}
    assert curve == {row["step"]: row["reward/success_share"] for row in read_jsonl(run / "metrics.jsonl")}
    tables = {row["step"]: row["evaluation/completions"]["_value"] for row in logs if "evaluation/completions" in row}
    assert tables.keys() == {0, 2}
    written = [row for row in read_jsonl(run / "evaluations" / "step-2.jsonl") if row["index"] == 0]
    assert [row["completion"] for row in tables[2]] == [row["completion"] for row in written]
    with served_dashboard(there) as url:
        assert "<html" in urllib.request.urlopen(url).read().decode().lower()


@contextmanager
def served_dashboard(environment):
    """The address of `trackio show`, until the block ends."""
    command = [sys.executable, "-m", "trackio.cli", "show", "--project", "mopd"]
    quiet = {**environment, "BROWSER": "true", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, env=quiet, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        told = []
        for line in process.stdout:
            told.append(line)
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                yield found.group()
                return
        raise AssertionError("".join(told))
    finally:
        process.kill()
        process.wait()


def test_wandb_takes_metrics_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    (tmp_path / "run").mkdir()
    tracker = open_tracker(build_config({}, ["tracker.kind='wandb'", f"run='{tmp_path / 'run'}'"]))
    tracker.log(0, {"reward/mean": 0.5})
    tracker.close()
    assert list((tmp_path / "run").rglob("*.wandb"))


def test_a_tracker_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)  # what Python does for a package that cannot be imported
    with pytest.raises(ConfigError, match="pip install wandb"):
        open_tracker(build_config({}, ["tracker.kind='wandb'", f"run='{tmp_path}'"]))


def test_wandb_knows_a_run_again_wherever_its_directory_lies(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="wandb is not installed")
    asked = []
    monkeypatch.setattr("wandb.init", lambda **options: asked.append((options["id"], options["resume"])))
    (tmp_path / "run").mkdir()
    open_tracker(build_config({}, ["tracker.kind='wandb'", f"run='{tmp_path / 'run'}'"]))
    (tmp_path / "run").rename(tmp_path / "moved")
    open_tracker(build_config({}, ["tracker.kind='wandb'", f"run='{tmp_path / 'moved'}'"]))
    open_tracker(build_config({}, ["tracker.kind='wandb'", f"run='{tmp_path / 'other'}'"]))
    assert asked[0] == asked[1] != asked[2]
    assert asked[0][1] == "allow"


def completions(count):
    """Lines of `evaluations/step-N.jsonl`, two of each problem."""
    return [
        {
            "problem_id": f"p{number}",
            "prompt": [{"role": "user", "content": f"{number} < *2* | x"}],
            "index": index,
            "completion": f"attempt {index}\nat {number}",
            "kind": "wrong",
            "reward": 0.0,
        }
        for number in range(count)
        for index in range(2)
    ]


def test_tensorboard_shows_one_completion_of_each_of_sixteen_problems_as_text(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugin_util import markdown_to_safe_html

    tracker = open_tracker(build_config({}, ["tracker.kind='tensorboard'", f"run='{tmp_path}'"]))
    tracker.log_completions(3, completions(20))
    tracker.close()
    assert tracker.failed_count == 0
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    (event,) = events.Tensors("evaluation/completions/text_summary")
    shown = html.unescape(markdown_to_safe_html(event.tensor_proto.string_val[0]))
    assert event.step == 3
    assert shown.count("<tr>") == 1 + 16
    assert "<td>7 < *2* | x</td>" in shown
    assert "<td>attempt 0<br>at 7</td>" in shown
    assert "attempt 1" not in shown


def test_wandb_takes_a_table_of_completions_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    (tmp_path / "run").mkdir()
    tracker = open_tracker(build_config({}, ["tracker.kind='wandb'", f"run='{tmp_path / 'run'}'"]))
    tracker.log_completions(3, completions(2))
    tracker.close()
    assert tracker.failed_count == 0
    (table,) = (tmp_path / "run").rglob("*.table.json")
    assert [row[:2] for row in json.loads(table.read_text())["data"]] == [["p0", "0 < *2* | x"], ["p1", "1 < *2* | x"]]


def test_a_table_that_cannot_be_sent_is_counted_and_ends_no_run(tmp_path, capsys):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    tracker = open_tracker(build_config({}, ["tracker.kind='tensorboard'", f"run='{tmp_path}'"]))
    tracker.log_completions("no step", completions(2))
    assert tracker.failed_count == 1
    assert "tracker tensorboard failed" in capsys.readouterr().err
