"""Runs whose graders all fail: they stop before any work is lost, exit 1, with the first cause on the screen."""

import json
from pathlib import Path

import pytest

from mopd import load_config, resume, train, verifiers
from mopd.cli import main
from mopd.core.errors import VerdictError
from mopd.core.types import Verdict
from mopd.runs.records import read_jsonl

TINY = str(Path(__file__).parents[1] / "configs" / "tiny.toml")
CAUSE = "the dictionary is not there"


def failing(problem, completion):
    raise RuntimeError(CAUSE)


def none_for_all(completions, **columns):
    return [None] * len(completions)


verifiers.register("always-failing")(failing)


@pytest.mark.parametrize("place", [[], ["problems.held_out=0"], ["warmup.kind=demonstrator", "evaluation.rollouts=1"]])
def test_a_run_whose_verifier_always_fails_ends_with_the_cause(tmp_path, place, capsys):
    overrides = [f"run='{tmp_path / 'run'}'", "problems.verifier='always-failing'", *place]
    assert main(["train", TINY, *overrides, "--quiet"]) == 1
    said = capsys.readouterr().err
    assert CAUSE in said
    assert "--resume" in said
    assert not (tmp_path / "run" / "summary.json").exists()
    assert read_jsonl(tmp_path / "run" / "metrics.jsonl") == []  # seen before the first update


def test_a_run_whose_reward_functions_judge_nothing_ends_where_it_is_seen(tmp_path):
    with pytest.raises(VerdictError, match="No reward function gave a reward"):
        train(load_config(TINY, [f"run='{tmp_path / 'run'}'"]), reward_functions=none_for_all, quiet=True)


def test_one_reward_function_that_always_fails_leaves_a_run_without_verdicts(tmp_path):
    def falls_over(completions, **columns):
        raise OSError(CAUSE)

    def judging(completions, **columns):
        return [1.0] * len(completions)

    with pytest.raises(VerdictError, match=CAUSE):
        train(load_config(TINY, [f"run='{tmp_path / 'run'}'"]), reward_functions=[judging, falls_over], quiet=True)


def test_an_evaluation_without_any_verdict_ends_with_the_cause(tmp_path, capsys):
    train(load_config(TINY, [f"run='{tmp_path / 'run'}'", "steps=1"]), quiet=True)
    out = tmp_path / "figures.json"
    words = ["evaluate", str(tmp_path / "run"), "problems.verifier=always-failing", "--json", str(out), "--quiet"]
    assert main(words) == 1
    assert CAUSE in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.long
def test_a_run_goes_on_from_its_checkpoint_where_graders_failed_in_its_middle(tmp_path):
    """Graders fail from an early step on: the run stops after three judgings without a verdict, and then goes on."""
    away = []
    asked = []

    @verifiers.register("sometimes-away")
    def sometimes_away(problem, completion):
        asked.append(problem.id)
        if away and len(asked) > away[0]:
            raise RuntimeError(CAUSE)
        return Verdict(
            float(completion == problem.reference), "correct" if completion == problem.reference else "wrong"
        )

    def config(name):
        return load_config(
            TINY, [f"run='{tmp_path / name}'", "problems.verifier='sometimes-away'", "checkpoint.every=1"]
        )

    whole = train(config("whole"), quiet=True)
    asked.clear()
    away.append(16 * 8 + 20)  # after the evaluation before step 0, and a step or two; the warm-up is cached by now
    with pytest.raises(VerdictError, match="since the last verdict"):
        train(config("stopped"), quiet=True)
    away.clear()
    steps = len(read_jsonl(tmp_path / "stopped" / "metrics.jsonl"))
    assert 0 < steps < 6
    summary = resume(tmp_path / "stopped", quiet=True)
    assert json.loads((tmp_path / "stopped" / "summary.json").read_text()) == summary
    assert set(summary["after"]) == set(whole["after"])
