"""`make steady-table` and its problems: arms are resumed, a stopped arm costs no other, splits are as published."""

import json
import subprocess
import sys
from pathlib import Path

import steady_table
from mopd.core.errors import AlarmError
from tests.builders import UNMEASURED

ROOT = Path(__file__).parents[2]
CONFIG = str(ROOT / "tests" / "configs" / "tiny.toml")


def test_an_arm_that_was_ended_goes_on_and_a_finished_one_is_read(tmp_path, capsys):
    short = ["steps=1", "evaluation.rollouts=2", *UNMEASURED]
    steady_table.run_arm(CONFIG, "grpo", 0, tmp_path, short)
    first = steady_table.figures_of(tmp_path / "grpo-0")
    assert first["steps"] == 1
    assert first["low"] <= first["gain"] <= first["high"]
    steady_table.run_arm(CONFIG, "grpo", 0, tmp_path, short)
    assert steady_table.figures_of(tmp_path / "grpo-0") == first
    assert steady_table.figures_of(tmp_path / "sft-0") is None
    capsys.readouterr()
    steady_table.print_table(tmp_path, ["grpo", "sft"], [0, 1])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("grpo            0     1")


def test_an_arm_that_an_alarm_stops_is_told(tmp_path, capsys, monkeypatch):
    def stopped(config):
        raise AlarmError("a run does not destroy its student", "success fell", "lower the rate")

    monkeypatch.setattr(steady_table, "train", stopped)
    steady_table.run_arm(CONFIG, "unbounded", 0, tmp_path, [])
    assert "stopped: success fell" in capsys.readouterr().out


def fetch_mbpp(tmp_path, ids):
    rows = [{"task_id": number, "text": "Add.", "code": "x", "test_list": ["assert 1"]} for number in ids]
    (tmp_path / "mbpp.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = [sys.executable, str(ROOT / "scripts" / "fetch_mbpp.py")]
    command += ["--from", str(tmp_path / "mbpp.jsonl"), "--folder", str(tmp_path / "data")]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_the_splits_of_mbpp_are_the_published_ones(tmp_path):
    assert fetch_mbpp(tmp_path, range(1, 975)).returncode == 0
    found = {
        name: [json.loads(line)["task_id"] for line in (tmp_path / "data" / f"{name}.jsonl").read_text().splitlines()]
        for name in ("train", "test")
    }
    assert found == {"train": list(range(601, 975)), "test": list(range(11, 511))}
    assert "is there" in fetch_mbpp(tmp_path, []).stdout


def test_a_file_without_all_problems_is_refused(tmp_path):
    done = fetch_mbpp(tmp_path, range(601, 975))
    assert done.returncode != 0
    assert "500 problems of MBPP's test split are missing, such as 11" in done.stderr
    assert not (tmp_path / "data" / "test.jsonl").exists()
