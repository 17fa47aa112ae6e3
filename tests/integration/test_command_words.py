"""Words that every command line has, and those of machines and shells."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import mopd
from mopd.cli import main
from mopd.cli.words import complete_keys, parse
from mopd.config import config_keys
from mopd.warmup.cache import MARK

TINY = str(Path(__file__).parents[1] / "configs" / "tiny.toml")


def run(*words, **environment):
    return subprocess.run(
        [sys.executable, "-m", "mopd", *words], capture_output=True, text=True, env={**os.environ, **environment}
    )


def test_the_version_is_the_packages():
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"mopd {mopd.__version__}\n")


def test_help_shows_commands_that_can_be_run():
    text = run("--help").stdout
    for line in [line.strip() for line in text.splitlines() if line.strip().startswith("mopd ")]:
        words = line.split("  ")[0].split()[1:]
        if words[0] != "init":
            parse(words)  # exits where it cannot
    assert "mopd init math > mine.toml" in text


@pytest.mark.parametrize("words", [["--set", "steps=7", TINY], [TINY, "--set", "steps=7"], [TINY, "steps=7"]])
def test_set_is_an_override_wherever_it_stands(words, capsys):
    assert main(["config", *words]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 7


@pytest.mark.long
def test_a_log_for_machines_has_one_object_a_line_for_each_step_and_the_end(tmp_path):
    done = run("train", TINY, "steps=2", f"run={tmp_path / 'run'}", "--log-json")
    assert done.returncode == 0
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["event"] for row in rows] == ["step", "step", "end"]
    assert [row["step"] for row in rows[:2]] == [0, 1]
    assert rows[0]["reward/success_share"] >= 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert rows[2]["after"] == summary["after"]


def test_a_shell_completes_keys_of_the_configuration():
    assert complete_keys("optimizer.l") == ["optimizer.learning_rate="]
    assert {key.removesuffix("=") for key in complete_keys("")} <= set(config_keys())
    out = Path(os.devnull)
    line = "mopd train optimizer.lear"
    environment = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE_IFS": "\n"}
    script = "from mopd.cli.words import parse; parse(None)"
    done = subprocess.run(
        ["bash", "-c", 'exec "$0" -c "$1" 8>&1 9>/dev/null', sys.executable, script],
        capture_output=True,
        text=True,
        stdin=out.open(),
        env={**os.environ, **environment},
    )
    assert "optimizer.learning_rate=" in done.stdout, done.stderr


def test_warm_ups_are_listed_and_those_not_used_for_long_are_pruned(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MOPD_CACHE", str(tmp_path))
    for name, days in (("old", 40), ("new", 2)):
        folder = tmp_path / "warmups" / name
        folder.mkdir(parents=True)
        (folder / MARK).write_text("{}")
        (folder / "weights").write_bytes(bytes(2**20))
        os.utime(folder / MARK, (time.time() - days * 86400,) * 2)
    assert main(["cache"]) == 0
    text = capsys.readouterr().out
    assert text.index("new") < text.index("old")
    assert "2 warm-ups, 2 MiB" in text
    assert main(["cache", "--prune"]) == 0
    assert "removed 1 warm-ups" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "warmups").iterdir()] == ["new"]
    assert main(["cache", "--prune", "--days", "-1"]) == 2


def test_a_warm_up_that_is_used_again_counts_as_new(tmp_path, monkeypatch):
    monkeypatch.setenv("MOPD_CACHE", str(tmp_path / "cache"))
    words = ["train", TINY, "steps=1", "warmup.steps=1", "--quiet"]
    assert main([*words, f"run={tmp_path / 'one'}"]) == 0
    (mark,) = (tmp_path / "cache" / "warmups").glob(f"*/{MARK}")
    os.utime(mark, (0, 0))
    assert main([*words, f"run={tmp_path / 'two'}"]) == 0
    assert time.time() - mark.stat().st_mtime < 600
