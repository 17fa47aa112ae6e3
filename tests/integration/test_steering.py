"""What is done about an alarm: a run that anneals or falls back goes on, is recorded, and is resumed bit for bit."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mopd import load_run
from mopd.config import build_config
from mopd.core.errors import AlarmError, ConfigError
from mopd.runs.records import read_jsonl
from mopd.training.loop import train
from tests.conftest import TINY
from tests.integration.resuming import assert_equal_runs

FAR_TOO_LONG = [
    *("optimizer.warmup_steps=3", "optimizer.fall_share=0", "optimizer.drift_nats=0"),
    *("steps=9", "problems_per_step=8", "group_size=8", "checkpoint.keep=4", "alarms.rate_share=1e-4"),
]

RATES = {"fall_back": 1.0, "anneal": 0.005}
"""Behind the second of them there are still successes to learn from, so that the annealed rate shows."""

KILLED = """
import os, signal, sys
from mopd import load_config, train
from mopd.runs.run import Run

def die(*given, **more):
    os.kill(os.getpid(), signal.SIGKILL)

def after_step(done):
    if done.step == 5:
        die()

moment, config, *overrides = sys.argv[1:]
record = Run.record_alarm
if moment == "before the alarm is written":
    Run.record_alarm = die
elif moment == "when the alarm is written":
    Run.record_alarm = lambda run, alarm: (record(run, alarm), die())
elif moment == "when the checkpoint has the alarm":
    Run._note = lambda run, event, *more: die() if event == "fell back" else None
train(load_config(config, overrides), quiet=True, on_step=after_step)
"""


def overrides(action, run):
    return [*FAR_TOO_LONG, f"optimizer.learning_rate={RATES[action]}", f"alarms.action='{action}'", f"run='{run}'"]


def mopd(*words):
    return subprocess.run([sys.executable, "-m", "mopd", *words], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module", params=["fall_back", "anneal"])
def steered(request, tmp_path_factory):
    """A run whose first updates destroy its student, and that goes on otherwise; and what it said."""
    run = tmp_path_factory.mktemp(request.param) / "run"
    done = mopd("train", str(TINY), *overrides(request.param, run), "--quiet")
    assert done.returncode == 0, done.stderr
    return request.param, run, done.stderr


@pytest.mark.long
def test_the_run_goes_on_to_its_end_with_a_lower_rate_and_says_so(steered):
    action, run, told = steered
    rows, alarms = read_jsonl(run / "metrics.jsonl"), read_jsonl(run / "alarms.jsonl")
    assert [row["step"] for row in rows] == list(range(9))
    acted = [alarm for alarm in alarms if alarm["action"] in ("fell back", "annealed")]
    assert acted
    behind = [row for row in rows if row["step"] > acted[-1]["step"] or action == "fall_back"]
    rates = [row["update/learning_rate"] for row in behind if row.get("update/count")]
    assert rates
    assert max(rates) < 1e-3 * RATES[action], "what an alarm leaves of it"
    assert f"warning: {acted[0]['told']}; the " in told
    assert list(load_run(run).alarm_rows()) == alarms
    assert json.loads((run / "summary.json").read_text())["alarms"] == alarms


def test_a_run_that_fell_back_has_the_student_of_before(steered):
    action, run, _ = steered
    evaluations = read_jsonl(run / "evaluations.jsonl")
    lost = evaluations[0]["mean_at_8"] - evaluations[-1]["mean_at_8"]
    assert (lost < 0.05) == (action == "fall_back")
    history = [line for line in read_jsonl(run / "history.jsonl") if line["event"] == "fell back"]
    backs = [line for line in read_jsonl(run / "alarms.jsonl") if line["action"] == "fell back"]
    assert [line["step"] for line in history] == [line["to_step"] for line in backs]
    assert all(line["to_step"] <= line["step"] for line in backs)


@pytest.mark.long
@pytest.mark.parametrize(
    "moment",
    [
        "before the alarm is written",
        "when the alarm is written",
        "when the checkpoint has the alarm",
        "three steps later",
    ],
)
def test_a_run_that_is_killed_meanwhile_equals_the_undisturbed_one(steered, moment, tmp_path):
    action, undisturbed, _ = steered
    if action == "anneal" and "checkpoint" in moment:
        pytest.skip("an annealed run does not go back")
    run = tmp_path / "run"
    words = [sys.executable, "-c", KILLED, moment, str(TINY), *overrides(action, run)]
    assert subprocess.run(words, capture_output=True, check=False).returncode == -9
    done = mopd("train", "--resume", str(run), "--quiet")
    assert done.returncode == 0, done.stderr
    assert_equal_runs(run, undisturbed)
    assert (run / "alarms.jsonl").read_bytes() == (undisturbed / "alarms.jsonl").read_bytes()


def test_a_run_that_lower_rates_do_not_help_is_stopped(tiny_config):
    values = tiny_config.model_dump(mode="json")
    config = build_config(values, [*overrides("fall_back", tiny_config.run), "alarms.rate_share=0.99"])
    with pytest.raises(AlarmError, match="has fallen back 3 times"):
        train(config, quiet=True)
    actions = [line["action"] for line in read_jsonl(Path(config.run) / "alarms.jsonl")]
    assert actions.count("fell back") == 3
    assert actions[-1] == "stopped"


def test_a_run_can_only_fall_back_where_a_checkpoint_from_before_is_kept():
    with pytest.raises(ConfigError, match=r"raise checkpoint.keep or checkpoint.every"):
        build_config({}, ["alarms.action='fall_back'", "checkpoint.every=1", "checkpoint.keep=2"])
