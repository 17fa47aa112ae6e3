"""Who reads what a command prints, or nobody: its work and its exit code are the same."""

import json
import os
import sys
import tomllib
from contextlib import suppress

import pytest

from mopd import train
from mopd.cli import main
from mopd.config import build_config
from mopd.core.streams import Lasting

WRONG = '{"prompt": "1", "answer": "1", "kind": "exact", "completion": "1"}\n'
SETTINGS = """
steps = 5
group_size = 2
problems_per_step = 2
problems = { size = 40, held_out = 4, options = { length = 3 } }
sampling = { completion_tokens = 4 }
context = { tokens = 60 }
objective = { kind = "grpo" }
preflight = { action = "off" }
checkpoint = { every = 5 }
evaluation = { rollouts = 2 }
"""
"""Five steps none of which finds a success: the run says early that nothing is learnt."""


@pytest.fixture
def unread(monkeypatch):
    """A stream whose reader has gone away; of a full disk, with `/dev/full`."""
    opened = []

    def take(name, path=None):
        if path is None:
            read, write = os.pipe()
            os.close(read)
        else:
            write = os.open(path, os.O_WRONLY)
        opened.append(os.fdopen(write, "w", buffering=1))
        monkeypatch.setattr(sys, name, opened[-1])

    yield take
    monkeypatch.undo()
    for stream in opened:
        with suppress(OSError):
            stream.close()


@pytest.mark.parametrize("streams", [("stderr",), ("stdout",), ("stderr", "stdout")])
@pytest.mark.parametrize("quiet", [[], ["--quiet"]])
def test_a_run_that_nobody_watches_goes_to_its_end(tmp_path, unread, streams, quiet):
    (tmp_path / "some.toml").write_text(SETTINGS)
    for name in streams:
        unread(name)
    assert main(["train", str(tmp_path / "some.toml"), f"run={tmp_path / 'run'}", *quiet]) == 0
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["steps"] == 5


def test_a_run_from_python_whose_screen_is_gone_goes_to_its_end(tmp_path, unread):
    unread("stderr")
    train(build_config(tomllib.loads(SETTINGS) | {"run": str(tmp_path / "run")}))
    assert (tmp_path / "run" / "summary.json").exists()


def test_the_exit_code_is_that_of_the_work_whoever_reads(tmp_path, unread):
    (tmp_path / "c.jsonl").write_text(WRONG)
    unread("stdout")
    unread("stderr")
    assert main(["verify", str(tmp_path / "c.jsonl"), "--json", str(tmp_path / "out.jsonl")]) == 0
    assert (tmp_path / "out.jsonl").read_text().count("\n") == 1
    assert main(["config"]) == 0
    assert main(["config", "--markdown"]) == 0
    assert main(["train", str(tmp_path / "absent.toml")]) == 2


def test_output_that_a_full_disk_refuses_is_an_error_without_a_traceback(tmp_path, unread, capsys):
    unread("stdout", "/dev/full")
    assert main(["config"]) == 2
    assert "what a command prints can be written" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["config", "--markdown"], ["config", "steps=3"], ["config"]])
def test_closed_streams_are_no_error(monkeypatch, command):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert main(command) == 0


def test_what_is_behind_a_failed_write_is_dropped_and_only_a_reader_that_left_is_no_loss():
    for number, is_loss in ((32, False), (5, False), (28, True)):

        class Stream:
            written = 0

            def write(self, text, number=number):
                self.written += 1
                raise OSError(number, "x")

        stream = Stream()
        lasting = Lasting(lambda stream=stream: stream)
        assert lasting.write("ab") == 2
        lasting.write("cd")
        assert stream.written == 1
        assert (lasting.lost is not None) == is_loss


# --- words that name paths and seeds ------------------------------------------------------------------------------


def test_a_tilde_is_the_home_directory_in_every_word_that_names_a_path(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.jsonl").write_text(WRONG)
    (tmp_path / "some.toml").write_text("steps = 7")
    assert main(["verify", "~/c.jsonl", "~/some.toml", "--json=~/out.jsonl", "--quiet"]) == 0
    assert (tmp_path / "out.jsonl").exists()


def test_the_run_behind_a_tilde_is_the_one_that_is_read(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("damaged")
    for command in (["train", "--resume", "~/run", "steps=9"], ["show-context", "~/run"]):
        assert main(command) == 2
        assert str(tmp_path / "run" / "config.json") in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        ["verify", ""],
        ["evaluate", "m", "--json", ""],
        ["train", "--resume", " "],
        ["evaluate", ""],
        ["show-context", ""],
    ],
)
def test_an_empty_word_names_no_path(command, capsys):
    assert main(command) == 2
    assert "is empty" in capsys.readouterr().err


@pytest.mark.parametrize("seed", ["-1", str(2**63)])
def test_a_seed_has_the_bounds_of_the_key_wherever_it_is_given(seed, capsys):
    assert main(["evaluate", "builtin:digits", "problems.source=sort-digits", f"--seed={seed}"]) == 2
    assert "--seed" in capsys.readouterr().err


def test_an_override_may_be_longer_than_a_name_of_a_file(tmp_path, capsys):
    (tmp_path / "some.toml").write_text("")
    assert main(["config", str(tmp_path / "some.toml"), f"problems.instruction={'x' * 5000}"]) == 0
    assert "x" * 5000 in capsys.readouterr().out
