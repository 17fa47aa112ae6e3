"""A run's student leaves it as other programs want it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from mopd.cli import main

TINY = str(Path(__file__).parents[1] / "configs" / "tiny.toml")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = tmp_path_factory.mktemp("export") / "run"
    keys = ["steps=2", "checkpoint.every=1", "warmup.steps=2", "problems.held_out=0"]
    words = [sys.executable, "-m", "mopd", "train", TINY, *keys, f"run={run}", "--quiet"]
    subprocess.run(words, check=True, umask=0o027)
    return run


def weights(folder):
    return dict(AutoModelForCausalLM.from_pretrained(folder, dtype="auto").named_parameters())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_an_exported_student_has_its_weights_in_the_dtype_asked_for(run, tmp_path, capsys, dtype):
    assert main(["export", str(run), str(tmp_path / "out"), "--dtype", dtype]) == 0
    assert "step-2" in capsys.readouterr().out
    kept, exported = weights(run / "checkpoints" / "step-2"), weights(tmp_path / "out")
    for name, weight in exported.items():
        assert weight.dtype == getattr(torch, dtype)
        assert torch.equal(weight, kept[name].to(weight.dtype))
    assert not {path.name for path in (tmp_path / "out").iterdir()} & {"optimizer.safetensors", "cursor.json"}
    assert AutoTokenizer.from_pretrained(tmp_path / "out").chat_template


def test_one_checkpoint_can_be_exported(run, tmp_path):
    assert main(["export", str(run / "checkpoints" / "step-1"), str(tmp_path / "out"), "--dtype", "float32"]) == 0
    kept, exported = weights(run / "checkpoints" / "step-1"), weights(tmp_path / "out")
    assert all(torch.equal(weight, kept[name]) for name, weight in exported.items())


def test_what_is_there_is_never_overwritten_and_what_is_no_checkpoint_is_named(run, tmp_path, capsys):
    assert main(["export", str(run), str(tmp_path)]) == 2
    assert "exists" in capsys.readouterr().err
    assert main(["export", str(tmp_path), str(tmp_path / "out")]) == 2
    assert "cursor.json" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_files_of_a_checkpoint_are_readable_as_the_umask_says(run):
    modes = {path.name: path.stat().st_mode & 0o777 for path in (run / "checkpoints" / "step-2").iterdir()}
    assert set(modes.values()) == {0o640}, modes
    assert os.stat(run / "checkpoints" / "step-2").st_mode & 0o777 == 0o750
