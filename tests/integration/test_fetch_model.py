"""`make smollm2` and its like: a folder that is there is left alone, a file that is not the expected one is refused."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "fetch_model.py"


def fetch(folder):
    command = [sys.executable, str(SCRIPT), "smollm2", "--folder", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_a_folder_that_is_there_is_left_alone(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    done = fetch(tmp_path / "model")
    assert done.returncode == 0
    assert "is there" in done.stdout
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["config.json"]


@pytest.mark.parametrize("content", [b"", b"GGUF and half a download"])
def test_a_file_with_another_checksum_is_refused_and_leaves_no_folder(content, tmp_path):
    (tmp_path / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(content)
    done = fetch(tmp_path / "model")
    assert done.returncode != 0
    assert "SHA-256" in done.stderr
    assert "Remove it" in done.stderr
    assert not (tmp_path / "model").exists()
