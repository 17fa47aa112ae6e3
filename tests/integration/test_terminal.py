"""What a run shows in a terminal of some width, and to a pipe."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

TINY = str(Path(__file__).parents[1] / "configs" / "tiny.toml")
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def shown_in_a_terminal(words, width):
    """All that a process writes to a terminal of `width` columns, and its exit status."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    environment = {**os.environ, "TERM": "xterm", "OMP_NUM_THREADS": "1"}
    environment = {key: value for key, value in environment.items() if key not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, close_fds=True)
    os.close(theirs)
    parts = []
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the last writer has closed the terminal
            break
        if not part:
            break
        parts.append(part)
    os.close(ours)
    return b"".join(parts).decode(), process.wait(timeout=60)


@pytest.mark.long
@pytest.mark.parametrize("width", [60, 80, 200])
def test_steps_and_bars_hold_in_a_terminal_of_any_width(tmp_path, width):
    words = [sys.executable, "-m", "mopd", "train", TINY, "steps=3", f"run={tmp_path / 'run'}"]
    text, status = shown_in_a_terminal(words, width)
    assert status == 0
    lines = [CONTROL.sub("", line) for line in re.split(r"[\r\n]+", text)]
    panels = [line for line in lines if re.match(r"step \d/3|\s*(success|tokens|cut|loss|lessons|alarms)  ", line)]
    assert {line.split()[0] for line in panels} == {"step", "success", "tokens", "cut", "loss", "lessons", "alarms"}
    assert any("left " in line for line in panels)
    assert any("longest" in line for line in panels) == (width > 60)
    bars = [line for line in lines if re.match(r"\s*(train|evaluate|warm-up)", line) and "/" in line]
    assert any("3/3" in line for line in bars)
    assert max(map(len, panels + bars)) <= width
    assert {line.split()[1] for line in panels if line.startswith("step ")} == {"1/3", "2/3", "3/3"}
    courses = [re.findall("[▁▂▃▄▅▆▇█]+", line) for line in panels if line.split()[0] == "success"]
    assert max(len(found[0]) for found in courses if found) == 3, "a block a step"


@pytest.mark.long
def test_a_quiet_run_shows_nothing_of_its_steps_in_a_terminal_either(tmp_path):
    words = [sys.executable, "-m", "mopd", "train", TINY, "steps=2", f"run={tmp_path / 'run'}", "--quiet"]
    text, status = shown_in_a_terminal(words, 80)
    assert status == 0
    assert "step 1/2" not in text
    assert "▁" not in text


@pytest.mark.long
def test_a_pipe_gets_a_header_and_one_line_a_step(tmp_path):
    words = [sys.executable, "-m", "mopd", "train", TINY, "steps=3", f"run={tmp_path / 'run'}"]
    ran = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "\x1b" not in ran.stderr + ran.stdout
    lines = ran.stderr.splitlines()
    assert [line.split()[0] for line in lines[:5]] == ["student", "problems", "work", "memory", "run"]
    steps = [line for line in lines if line.startswith("step ")]
    assert [line.split()[1] for line in steps] == ["1/3", "2/3", "3/3"]
    assert all("success" in line and "tokens/s" in line and "left" in line for line in steps)
