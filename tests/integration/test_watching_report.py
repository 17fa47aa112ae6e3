"""`mopd report --watch` writes the page of a run that another process trains, until that ends."""

import os
import signal
import subprocess
import sys
import time

import pytest

from mopd.runs.directory import is_in_use
from mopd.runs.records import read_jsonl
from tests.conftest import TINY

FROM_HERE = [sys.executable, "-m", "mopd"]


def started(*words, **options):
    return subprocess.Popen([*FROM_HERE, *words], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options)


def waited_for(moment, limit_s=180):
    began = time.monotonic()
    while not moment():
        assert time.monotonic() - began < limit_s
        time.sleep(0.05)


@pytest.fixture
def training(tmp_path):
    """A run that trains, with two steps done, and its process."""
    run = tmp_path / "run"
    process = started("train", str(TINY), f"run='{run}'", "steps=2000", "problems_per_step=1", "evaluation.rollouts=1")
    metrics = run / "metrics.jsonl"
    waited_for(lambda: process.poll() is not None or (metrics.exists() and metrics.read_bytes().count(b"\n") >= 2))
    assert process.poll() is None, process.communicate()
    yield run, process
    process.kill()
    process.communicate()


@pytest.mark.long
def test_the_page_follows_a_run_until_its_process_ends(training):
    run, process = training
    page = run / "report.html"
    watching = started("report", str(run), "--watch", "--score", "0")
    waited_for(page.exists)
    first = page.stat().st_mtime_ns
    assert 'http-equiv="refresh"' in page.read_text()
    waited_for(lambda: page.stat().st_mtime_ns != first)
    assert is_in_use(run)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    out, told = watching.communicate(timeout=120)
    assert watching.returncode == 0, told
    assert not is_in_use(run)
    steps = len(read_jsonl(run / "metrics.jsonl"))
    assert f"the run is not finished; {steps} of 2000 steps are recorded" in out
    assert 'http-equiv="refresh"' not in page.read_text()
    assert told.count(f"{page}: ") >= 2


@pytest.mark.long
def test_who_watches_no_longer_leaves_a_whole_page_and_the_run_alone(training):
    run, process = training
    page = run / "report.html"
    watching = started(
        "report",
        str(run),
        "--watch",
        "--quiet",
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    waited_for(page.exists)
    os.kill(watching.pid, signal.SIGINT)
    _, told = watching.communicate(timeout=120)
    assert watching.returncode == 130
    assert told == "interrupted; the page is as it was last written\n"
    assert page.read_text().endswith("</html>\n")
    assert process.poll() is None
