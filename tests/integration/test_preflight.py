"""Before the first step a run finds whether its student can learn from peers, and from which."""

import json
import os
import shutil

import pytest

from mopd import load_config, resume, train
from mopd.cli import main
from mopd.config import build_config
from mopd.core.errors import PreflightError
from mopd.evaluation.preflighting import run_preflight
from mopd.runs.records import read_jsonl

SMALL = {
    "student": "builtin:digits",
    "steps": 2,
    "group_size": 4,
    "problems_per_step": 4,
    "problems": {"source": "sort-digits", "size": 200, "held_out": 8, "options": {"length": 3}},
    "sampling": {"completion_tokens": 60},
    "context": {"tokens": 64},
    "evaluation": {"rollouts": 2},
    "compute": {"threads": 1},
}


def config_for(tmp_path, *overrides):
    return build_config(SMALL | {"run": str(tmp_path / "run")}, overrides)


def by_parity(completions, **columns):
    """A reward of which every student has some, and none can know which: the parity of the written digits' sum."""
    return [float(sum(map(ord, turns[0]["content"])) % 2) for turns in completions]


def refused(config, reward=None):
    """What a run is refused with; its directory then holds what was found, and is free for another run."""
    with pytest.raises(PreflightError) as found:
        train(config, reward_functions=reward, quiet=True)
    assert set(os.listdir(config.run)) == {"preflight.json", ".lock"}
    with open(f"{config.run}/preflight.json", encoding="utf-8") as file:
        assert json.load(file)["finding"] == str(found.value)
    return found.value


@pytest.mark.parametrize("objective", ["distill", "grpo", "sft"])
def test_a_student_that_solves_nothing_is_told_before_any_step(tmp_path, objective):
    error = refused(config_for(tmp_path, f"objective.kind='{objective}'", "problems.options={length=8}"))
    assert "0 solved in all, 32 in none" in error.got
    for way in ("easier problems", "larger model", "[warmup]"):
        assert way in error.do
    assert error.exit_status == 1


def test_a_refused_run_leaves_nothing_of_its_tracker_and_the_directory_is_free(tmp_path):
    hard = ("problems.options={length=8}", "tracker.kind='tensorboard'")
    refused(config_for(tmp_path, *hard))
    summary = train(config_for(tmp_path, *hard, "preflight.action='warn'"), quiet=True)
    assert summary["steps"] == 2
    assert "config.json" in os.listdir(tmp_path / "run")


def test_a_verifier_that_passes_everything_is_told_before_any_step(tmp_path):
    error = refused(config_for(tmp_path), lambda completions, **columns: [1.0] * len(completions))
    assert "32 solved in all, 0 in none" in error.got
    assert "mopd verify --audit" in error.do


def test_contexts_that_cannot_hold_one_peer_whole_are_told_before_any_step(tmp_path):
    error = refused(config_for(tmp_path, "context.tokens=9"), by_parity)
    assert "context.tokens = 9" in error.must
    assert "raise context.tokens" in error.do


def fails_behind_contexts():
    """Parity for the first attempts; whatever is written behind a context, and beside it, is wrong."""
    calls = []

    def reward(completions, **columns):
        calls.append(len(completions))
        return by_parity(completions) if len(completions) == 16 else [0.0] * len(completions)

    return reward


def test_a_student_that_no_recipe_helps_is_told_what_else_there_is(tmp_path):
    error = refused(config_for(tmp_path, "preflight.problems=4"), fails_behind_contexts())
    assert "peers cannot teach this model yet" in error.do
    for way in ("[warmup]", "objective.kind = 'grpo'", "larger model"):
        assert way in error.do


def test_a_recipe_fixed_by_hand_that_does_not_help_is_a_warning(tmp_path, capfd):
    config = config_for(tmp_path, "preflight.problems=4", "peers.successes=1", "peers.failures=0")
    summary = train(config, reward_functions=fails_behind_contexts(), quiet=True)
    assert summary["preflight"]["recipe"]["successes"] == 1
    assert summary["preflight"]["reason"] == "fixed by the configuration"
    told = capfd.readouterr().err
    assert "warning: right in" in told
    assert told.count("a teacher is right more often than its student") == 1


def test_a_warning_goes_on_with_the_leanest_recipe(tmp_path, capfd):
    config = config_for(tmp_path, "preflight.action='warn'", "problems.options={length=8}")
    summary = train(config, quiet=True)
    assert "some problems are solved in some attempts" in capfd.readouterr().err
    assert summary["preflight"]["name"] == "1S0F"
    assert summary["nothing_learnt"]


def test_the_command_measures_without_a_run(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = "\n".join(
        [
            "student = 'builtin:digits'\ngroup_size = 4\nproblems_per_step = 4",
            "problems = { source = 'sort-digits', size = 100, held_out = 8, options = { length = 8 } }",
            "sampling = { completion_tokens = 16 }\ncontext = { tokens = 64 }\ncompute = { threads = 1 }",
        ]
    )
    (tmp_path / "mine.toml").write_text(text)
    assert main(["preflight", "mine.toml", "--quiet", "--json", "found.json"]) == 1
    shown = capsys.readouterr().out
    assert "32 training problems attempted: 0 solved in some attempts, 0 in all, 32 in none" in shown
    assert json.loads((tmp_path / "found.json").read_text())["attempts"]["failed"] == 32
    assert set(os.listdir(tmp_path)) == {"mine.toml", "found.json"}
    assert main(["preflight", "mine.toml", "steps=3"]) == 2  # it would change nothing
    assert main(["preflight"]) == 2


def measured(config):
    """All figures but the cost of a step, which depends on how busy the machine is."""
    found = run_preflight(config, quiet=True, reward_functions=by_parity).as_json()
    assert found.pop("cost")["step_s"] > 0
    return found


@pytest.mark.long
def test_a_control_is_measured_by_the_peers_that_there_are(tmp_path):
    control = "peers.control='unrelated_problem'"
    found = [measured(config_for(tmp_path, "preflight.problems=4", *extra)) for extra in ([], [control])]
    assert found[0] == found[1]


@pytest.mark.long
def test_the_same_seed_finds_the_same(tmp_path):
    config = config_for(tmp_path, "preflight.problems=4")
    first, again = measured(config), measured(config)
    assert first == again
    other = measured(config.model_copy(update={"seed": 1}))
    del first["measured_with"], other["measured_with"]
    assert other != first


READER = """
student = "builtin:digits"
steps = 4
group_size = 6
problems_per_step = 4
problems = { source = "sort-digits", size = 300, held_out = 16, options = { length = 3 } }
sampling = { completion_tokens = 6 }
context = { tokens = 40 }
evaluation = { rollouts = 2, contexts_every = 2 }
optimizer = { learning_rate = 3e-4, warmup_steps = 2 }
checkpoint = { every = 2, keep = 9 }
compute = { threads = 1 }
warmup = { steps = 300, batch_size = 32, demonstrator_error = 0.65, context_share = 0.8 }
"""


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """A run of a student that reads peers well."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "reader.toml").write_text(READER)
    return train(load_config(folder / "reader.toml", [f"run='{folder / 'run'}'"]), quiet=True)


@pytest.mark.long
def test_a_recipe_that_helps_is_taken_recorded_and_trained_with(reader):
    found = reader["preflight"]
    alone, *readings = found["readings"]
    taken = next(row for row in readings if row["name"] == found["name"])
    assert taken["accuracy"] > alone["accuracy"] + 0.2
    assert found["gain"] > 0.2
    assert found["gain_interval"][0] > 0
    assert found["finding"] is None
    assert taken["accuracy"] >= max(row["accuracy"] for row in readings) - 0.2
    peers = [
        rollout["peers"]
        for group in read_jsonl(f"{reader['run']}/groups.jsonl")
        for rollout in group["rollouts"]
        if rollout["is_lesson"]
    ]
    recipe = found["recipe"]
    assert peers
    assert max(len(shown["successes"]) for shown in peers) <= recipe["successes"]
    assert max(len(shown["failures"]) for shown in peers) <= recipe["failures"]


@pytest.mark.long
def test_a_resumed_run_goes_by_the_recipe_that_it_found(reader, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(reader["run"], copy)
    shutil.rmtree(copy / "checkpoints" / "step-4")
    (copy / "summary.json").unlink()
    again = resume(copy, quiet=True)
    assert again["preflight"] == reader["preflight"]
    assert again["after"] == reader["after"]
    rows, before = (read_jsonl(f"{run}/metrics.jsonl") for run in (copy, reader["run"]))
    without_time = [
        [{k: v for k, v in row.items() if not k.startswith(("time/", "memory/"))} for row in r] for r in (rows, before)
    ]
    assert without_time[0] == without_time[1]


@pytest.mark.long
def test_show_context_renders_the_recipe_that_was_found(reader, capsys):
    group, rollout = next(
        (group, rollout)
        for group in read_jsonl(f"{reader['run']}/groups.jsonl")
        for rollout in group["rollouts"]
        if rollout["context_tokens"] is not None
    )
    place = ["--step", str(group["step"]), "--problem", group["problem_id"], "--rollout", str(rollout["index"])]
    assert main(["show-context", reader["run"], *place]) == 0
    assert f"{rollout['context_tokens']} tokens" in capsys.readouterr().out
