"""Whole runs with rollouts by real vLLM servers, beside the same run with the local engine. `make test-vllm`."""

import threading
import time

import pytest

from mopd import load_config, resume, train
from mopd.evaluation.held_out import paired_gain
from mopd.runs.records import read_jsonl
from tests.servers import ROOT

pytestmark = pytest.mark.vllm

SMALL = (
    *("problems_per_step=4", "group_size=8", "problems.held_out=16", "evaluation.rollouts=4", "compute.threads=1"),
    *("peers.recipe='fixed'", "peers.successes=1", "peers.failures=0", "preflight.action='off'", "lessons.pause=false"),
    *("compute.dtype='float32'", "compute.sampling_rows=256"),
    *("evaluation.contexts_every=0", "warmup.context_problems=32", "sampling.completion_tokens=40"),
)
STEPS = 3


def config_of(urls, run, *overrides):
    """The run of configs/vllm-tool-calls.toml, smaller."""
    values = load_config(ROOT / "configs" / "vllm-tool-calls.toml").model_dump(mode="json")
    values["engine"] = {"kind": "vllm", "servers": list(urls)} if urls else {"kind": "local"}
    return load_config(values, [*SMALL, f"run='{run}'", *overrides])


@pytest.fixture(scope="module")
def warmed_up(tmp_path_factory):
    """A checkpoint of the warmed-up student, from which all runs here begin."""
    run = tmp_path_factory.mktemp("warm") / "run"
    tiny = ["steps=1", "optimizer.learning_rate=1e-12", "problems_per_step=2", "group_size=2", "evaluation.rollouts=1"]
    train(config_of(None, run, *tiny, "problems.held_out=2"), quiet=True)
    return run / "checkpoints" / "step-1"


def test_a_run_on_servers_learns_what_a_local_one_learns(two_servers, warmed_up, tmp_path):
    _, urls, _ = two_servers
    found = {}
    for name, servers in (("local", None), ("served", urls)):
        config = config_of(servers, tmp_path / name, f"student='{warmed_up}'", f"steps={STEPS}")
        config = config.model_copy(update={"warmup": None})
        began = time.monotonic()
        summary = train(config, quiet=True)
        found[name] = paired_gain(summary["before"], summary["after"])
        rows = read_jsonl(tmp_path / name / "metrics.jsonl")
        gap = max(row["importance/logprob_gap_nats"] for row in rows)
        before, (gain, (low, high)), seconds = summary["before"]["mean_at_4"], found[name], time.monotonic() - began
        print(f"{name}: {before:.3f} {gain:+.3f} [{low:+.3f}, {high:+.3f}], {seconds:.0f} s, {gap:.1e} nats")
        assert gap < 1e-3
    (local, local_interval), (served, served_interval) = found["local"], found["served"]
    assert local_interval[0] <= served <= local_interval[1] or served_interval[0] <= local <= served_interval[1]
    rows = read_jsonl(tmp_path / "served" / "metrics.jsonl")
    assert [row["engine/retries_count"] for row in rows] == [0.0] * STEPS
    assert all(row["engine/pushes_count"] == 2 and row["time/push_s"] > 0 for row in rows[1:])
    versions = [
        {rollout["weights_version"] for rollout in group["rollouts"]}
        for group in read_jsonl(tmp_path / "served" / "groups.jsonl")
    ]
    assert all(len(each) == 1 for each in versions)
    assert len(set.union(*versions)) == STEPS  # one for each step, of its own
    assert "weights_version" not in (tmp_path / "local" / "groups.jsonl").read_text()


def test_a_run_goes_on_when_a_server_is_killed_in_a_step_and_is_resumed(two_servers, warmed_up, tmp_path):
    _, urls, serve = two_servers
    serve.wait_until_ready(urls)
    overrides = [f"student='{warmed_up}'", "steps=2", "problems_per_step=4", "group_size=4", "problems.held_out=2"]
    config = config_of(urls, tmp_path / "run", *overrides, "evaluation.rollouts=1", "checkpoint.every=1")
    config = config.model_copy(update={"warmup": None})
    killed = []

    def kill_in_the_next_step(done):
        if done.step == 0:
            timer = threading.Timer(1.0, serve.kill, [urls[0]])
            timer.start()
            killed.append(timer)

    train(config, on_step=kill_in_the_next_step, quiet=True)
    killed[0].join()
    groups = read_jsonl(tmp_path / "run" / "groups.jsonl")
    assert [group["step"] for group in groups] == [0] * 4 + [1] * 4
    assert all([rollout["index"] for rollout in group["rollouts"]] == [0, 1, 2, 3] for group in groups)
    rows = read_jsonl(tmp_path / "run" / "metrics.jsonl")
    print({name: value for name, value in rows[1].items() if name.startswith("engine/")})
    assert max(row["importance/logprob_gap_nats"] for row in rows) < 1e-3
    serve.wait_until_ready(urls)
    longer = config.model_copy(update={"steps": 3})
    summary = resume(tmp_path / "run", expected=longer, quiet=True)
    assert summary["steps"] == 3
    assert [row["step"] for row in read_jsonl(tmp_path / "run" / "metrics.jsonl")] == [0, 1, 2]
