"""What a newcomer does wrong: each error says what happened, what must hold and what to do, in words of its own."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mopd.cli import main
from mopd.config import config_keys
from mopd.config.explaining import KNOWN_ELSEWHERE

TINY = str(Path(__file__).parents[1] / "configs" / "tiny.toml")
OTHERS_WORDS = re.compile(r"pydantic|Traceback|Input should|validation error|Errno|\bNoneType\b", re.IGNORECASE)
RECORDS = [{"id": n, "prompt": str(1234 - n), "answer": "1", "kind": "exact"} for n in range(40)]


def lines(records):
    return "".join(json.dumps(record) + "\n" for record in records)


FILES = {
    "good.jsonl": lines(RECORDS).encode(),
    "twice.jsonl": lines([*RECORDS, RECORDS[3]]).encode(),
    "empty.jsonl": b"",
    "binary.jsonl": bytes(range(256)) * 4,
    "huge.jsonl": lines([*RECORDS, {"prompt": "7" * 5000, "answer": "7", "kind": "exact"}]).encode(),
    "column.jsonl": lines([{"question": r["prompt"], "answer": "1", "kind": "exact"} for r in RECORDS]).encode(),
    "broken.toml": b"steps = \n",
}

MISTAKES = {
    "a misspelt key": (["setps=3"], "unknown key setps (from the override of setps)", "did you mean steps?"),
    "a key of the wrong table": (["optimizer.lr=1e-4"], "unknown key optimizer.lr", "optimizer.learning_rate"),
    "a key without its table": (["temperature=0.7"], "unknown key temperature", "sampling.temperature"),
    "a name of another trainer": (["num_generations=8"], "unknown key num_generations", "group_size"),
    "a wrong type": (["steps=many"], "steps = 'many'", "mopd config"),
    "no steps": (["steps=0"], "steps = 0", "mopd config"),
    "a learning rate of another world": (["optimizer.learning_rate=1e3"], "optimizer.learning_rate = 1000", "mopd"),
    "more peers than the group has": (["group_size=2", "peers.successes=3"], "group_size", "change"),
    "an unknown kind": (["objective.kind=ppo"], "objective.kind = 'ppo'", "grpo"),
    "the wrong case of a name": (["objective.kind=GRPO"], "objective.kind = 'GRPO'", "did you mean 'grpo'?"),
    "a table that is a number": (["sampling=3"], "sampling = 3", "mopd config"),
    "a missing file": (["problems.source=none.jsonl"], "none.jsonl: No such file", "check problems.source"),
    "a folder for a file": (["problems.source=."], "Is a directory", "hub:"),
    "a wrong column": (["problems.source=column.jsonl"], "column.jsonl", "columns"),
    "duplicate ids": (["problems.source=twice.jsonl"], "twice.jsonl", "id"),
    "an empty file": (["problems.source=empty.jsonl"], "empty.jsonl is empty", "check"),
    "a binary file": (["problems.source=binary.jsonl"], "binary.jsonl, line 2", "UTF-8"),
    "a huge prompt": (["problems.source=huge.jsonl"], "huge.jsonl", "problems.over_long"),
    "an unknown student": (["student=my-modle"], "my-modle", "folder"),
    "an unknown builtin student": (["student=builtin:digit"], "there is no builtin:digit", "did you mean digits?"),
    "an unknown reward function": (
        ["rewards.functions=['mopd.starters.rewards:keeps']"],
        "keeps",
        "keeps_to_the_order",
    ),
}


def test_every_key_that_is_suggested_for_a_name_of_another_trainer_is_there():
    assert set(KNOWN_ELSEWHERE.values()) <= set(config_keys())


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


def check_error(text, happened, remedy):
    """The three answers are there, what happened first; no word is a library's."""
    first, *rest = text.split("error: ", 1)[1].split("\n")
    must = next(line for line in rest if line.startswith("  must hold:"))
    do = next(line for line in rest if line.startswith("  what to do:"))
    assert happened in first
    assert remedy in do
    assert len(must.split()) > 3
    assert len(do.split()) > 3
    assert not OTHERS_WORDS.search(text)


@pytest.mark.parametrize("mistake", list(MISTAKES))
def test_a_mistake_is_answered_in_three_parts_and_leaves_nothing_behind(folder, capsys, mistake):
    overrides, happened, remedy = MISTAKES[mistake]
    source = [] if any("problems.source" in o for o in overrides) else ["problems.source=good.jsonl"]
    assert main(["train", TINY, *source, *overrides, "problems.options={}", "run=run", "--quiet"]) == 2
    check_error(capsys.readouterr().err, happened, remedy)
    assert not (folder / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_gpu_that_is_not_there_is_named(folder, capsys):
    assert main(["train", TINY, "compute.device=cuda", "run=run", "--quiet"]) == 2
    text = capsys.readouterr().err
    assert "cuda" in text.split("\n")[0]
    assert "use auto or cpu" in text


@pytest.mark.parametrize(
    ("words", "happened", "remedy"),
    [
        (["train", "none.toml"], "none.toml: No such file", "mopd init"),
        (["train", "broken.toml"], "broken.toml", "mend that line"),
        (["train"], "neither CONFIG.toml nor --resume RUN", "mopd init math > mine.toml"),
        (["train", "--resume", "."], "no config.json", "run"),
        (["evaluate", "builtin:digits"], "builtin:digits alone", "CONFIG.toml"),
        (["init", "maths"], "maths", "math"),
    ],
)
def test_a_command_that_misses_something_says_what(folder, capsys, words, happened, remedy):
    assert main(words) == 2
    check_error(capsys.readouterr().err, happened, remedy)


def test_two_runs_in_one_directory_are_refused(folder, capsys):
    words = ["train", TINY, "steps=1", "warmup.steps=1", "problems.held_out=0", "run=run", "--quiet"]
    assert main(words) == 0
    capsys.readouterr()
    assert main(words) == 2
    check_error(capsys.readouterr().err, "holds a run", "--fresh")


@pytest.mark.long
@pytest.mark.parametrize("phase", ["student ", "warm-up", "step 1/"])
def test_an_interrupt_in_any_phase_ends_with_130_and_says_how_to_go_on(tmp_path, phase):
    keys = ["steps=400", "warmup.steps=60", f"run={tmp_path / 'run'}"]
    environment = {**os.environ, "MOPD_CACHE": str(tmp_path / "cache")}
    process = subprocess.Popen(
        [sys.executable, "-m", "mopd", "train", TINY, *keys],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background ignores it
    )
    said, end = "", time.monotonic() + 120
    for line in process.stderr:
        said += line
        if line.startswith(phase) or time.monotonic() > end:
            process.send_signal(signal.SIGINT)
            break
    said += process.stderr.read()
    assert process.wait(timeout=60) == 130, said
    assert "mopd train --resume" in said.splitlines()[-1]
    assert "Traceback" not in said
