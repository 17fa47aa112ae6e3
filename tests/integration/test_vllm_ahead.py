"""Sampling a step ahead of learning, and several processes, on a real vLLM server. `make test-vllm`."""

import json
import os
import subprocess
import sys
from statistics import fmean

import pytest

from mopd import load_config, train
from mopd.runs.records import read_jsonl
from tests.servers import ROOT

pytestmark = pytest.mark.vllm

SETTINGS = [
    *("problems_per_step=2", "group_size=4", "preflight.action='off'", "peers.recipe='fixed'", "peers.successes=1"),
    *("peers.failures=0", "evaluation.contexts_every=0", "problems.held_out=2", "evaluation.rollouts=1", "seed=3"),
    "sampling.completion_tokens=24",
    *("objective.kind='grpo'", "rewards.functions=['tests.integration.test_vllm_ahead:varied']", "alarms.action='off'"),
]
"""Every rollout has an advantage, whatever it says, so that every step learns."""


def varied(completions, **columns):
    return [float(index % 2) for index in range(len(completions))]


def trained(config, run, *overrides):
    """The metrics of a run's steps, and for each step the versions of the weights that wrote its rollouts."""
    train(load_config(config, [*SETTINGS, *overrides], run=str(run)), fresh=True, quiet=True)
    return read_jsonl(run / "metrics.jsonl"), versions_of(run)


def versions_of(run):
    found = {}
    for group in read_jsonl(run / "groups.jsonl"):
        found.setdefault(group["step"], set()).update(one["weights_version"] for one in group["rollouts"])
    return [found[step] for step in sorted(found)]


def test_rollouts_that_are_written_ahead_are_one_update_older_and_weighted(two_servers, tmp_path):
    config = two_servers[0]
    at_once, own = trained(config, tmp_path / "at-once", "steps=4")
    ahead, older = trained(config, tmp_path / "ahead", "steps=4", "engine.ahead=1", "optimizer.learning_rate=1e-4")
    assert all(len(versions) == 1 for versions in own + older)
    assert len(set().union(*own)) == 4  # each step's rollouts are by the weights that it updates
    assert older[0] == older[1]  # the second step's were begun before the first update
    assert len(set().union(*older)) == 3
    assert [row["importance/updates_behind"] for row in ahead] == [0, 1, 1, 1]
    assert "importance/updates_behind" not in at_once[0]
    gap = "importance/logprob_gap_nats"
    assert fmean(row[gap] for row in ahead[2:]) > ahead[0][gap]  # one update lies between sampler and learner
    waits, whole = (
        [fmean(row[f"time/{name}_s"] for row in rows[1:]) for rows in (at_once, ahead)] for name in ("sample", "step")
    )
    print(f"\nseconds a step {whole[0]:.1f} -> {whole[1]:.1f}, of which sampling {waits[0]:.1f} -> {waits[1]:.1f}")


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_speak_to_a_server_through_the_first(two_servers, tmp_path, strategy):
    run = tmp_path / "run"
    overrides = [*SETTINGS, "steps=3", f"parallel.strategy='{strategy}'", "engine.ahead=1", f"run={run}"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launcher, "-m", "mopd", "train", str(two_servers[0]), *overrides, "--quiet"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((run / "summary.json").read_text())["steps"] == 3
    rows, versions = read_jsonl(run / "metrics.jsonl"), versions_of(run)
    assert [row["importance/updates_behind"] for row in rows] == [0, 1, 1]
    assert versions[0] == versions[1] != versions[2]
    assert all(row["importance/logprob_gap_nats"] < 0.05 for row in rows)
    assert all(row["update/count"] == 1 for row in rows)
