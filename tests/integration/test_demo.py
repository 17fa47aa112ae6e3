"""The demo's promise, for seed 0: MOPD lifts the warmed-up student, and it is the peers' content that does it."""

import json
from pathlib import Path

import pytest

from mopd import load_config, train
from mopd.runs.records import read_jsonl
from tests.builders import UNMEASURED

pytestmark = pytest.mark.long
DEMO = Path(__file__).parents[2] / "configs" / "demo.toml"


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    run = tmp_path_factory.mktemp("demo") / "run"
    return run, train(load_config(DEMO, [f"run='{run}'"]), quiet=True)


def test_mopd_raises_mean_at_8_by_at_least_030(demo):
    _, summary = demo
    assert 0.10 <= summary["before"]["mean_at_8"] <= 0.50
    assert summary["after"]["mean_at_8"] - summary["before"]["mean_at_8"] >= 0.30
    assert summary["gain"]["interval"][0] > 0.30 * 0.5


def test_peers_of_unrelated_problems_reach_less_than_half_of_the_gain(demo, tmp_path):
    """Under the recipe that the demo chose; and the control's teacher, which is no good, teaches to the end."""
    _, summary = demo
    recipe = summary["preflight"]["recipe"]
    shown = [f"peers.successes={recipe['successes']}", f"peers.failures={recipe['failures']}"]
    shown += [f"context.order='{recipe['order']}'", "peers.control='unrelated_problem'", "alarms.action='off'"]
    config = load_config(DEMO, [*UNMEASURED, *shown, f"run='{tmp_path / 'run'}'"])
    control = train(config, quiet=True)
    assert control["before"]["mean_at_8"] == summary["before"]["mean_at_8"]
    assert control["gain"]["mean"] < 0.5 * summary["gain"]["mean"]
    groups = read_jsonl(tmp_path / "run" / "groups.jsonl")
    own = [g for g in groups for r in g["rollouts"] for p in r["peers"].get("problem_ids", []) if p == g["problem_id"]]
    assert own == []


def test_the_teacher_is_right_from_contexts_more_often_than_the_student_without(demo):
    run, summary = demo
    first = read_jsonl(run / "metrics.jsonl")[0]
    assert first["teacher/accuracy_from_contexts_share"] > summary["before"]["mean_at_8"] + 0.2


def test_the_summary_tells_its_seconds_as_floats(demo):
    run, _ = demo
    seconds = json.loads((run / "summary.json").read_text())["seconds"]
    assert set(seconds) == {"warmup", "preflight", "train", "evaluate", "total"}
    assert all(isinstance(value, float) for value in seconds.values())
