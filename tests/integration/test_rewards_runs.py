"""Reward functions in real runs: TRL's own and a user's judge training, evaluation and the teacher, and runs resume."""

import functools
import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mopd import load_config, resume, train
from mopd.cli import main
from mopd.core.errors import ConfigError, MopdError, RunError, VerifierError
from mopd.evaluation.target import evaluate
from mopd.runs.records import read_jsonl
from tests.integration.resuming import without_durations

TINY = Path(__file__).parents[1] / "configs" / "tiny.toml"
ROOT = Path(__file__).parents[2]

USERS = '''"""A user's module, as it would be written for TRL."""

def right(completions, solution, **kwargs):
    return [float(c[0]["content"].strip() == s) for c, s in zip(completions, solution)]

async def later_less(completion_ids, trainer_state, log_metric, **kwargs):
    log_metric("global_step", trainer_state.global_step)
    return [-0.01 * len(ids) * trainer_state.global_step / trainer_state.max_steps for ids in completion_ids]
'''


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder with problems, a user's module and a configuration; what is imported from it is forgotten."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", [*sys.path])
    rows = []
    for number, digits in enumerate(itertools.product("01234", repeat=3)):
        prompt, answer = "".join(digits), "".join(sorted(digits))
        rows.append({"id": str(number), "prompt": prompt, "answer": answer, "solution": answer})
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "users_rewards.py").write_text(USERS)
    text = "\n".join(line for line in TINY.read_text().splitlines() if not line.startswith(("options", "size")))
    text = text.replace('source = "sort-digits"', f"source = '{tmp_path / 'problems.jsonl'}'")
    (tmp_path / "own.toml").write_text(text)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("users_"):
            del sys.modules[name]


def configured(home, *overrides):
    return load_config(home / "own.toml", [f"run='{home / 'run'}'", *overrides])


def both(home):
    return read_jsonl(home / "run" / "metrics.jsonl"), read_jsonl(home / "run" / "groups.jsonl")


def rollouts_of(groups):
    return [rollout for group in groups for rollout in group["rollouts"]]


def right(completions, solution, **kwargs):
    return [float(c[0]["content"].strip() == s) for c, s in zip(completions, solution, strict=True)]


@pytest.mark.long
def test_trls_own_and_a_users_function_judge_a_run_unchanged(home):
    trl = pytest.importorskip("trl.rewards")
    names = ["users_rewards:right", "users_rewards:later_less", "trl.rewards:think_format_reward"]
    summary = train(
        configured(home, f"rewards.functions={names!r}", "rewards.weights=[1, 1, 0.5]", "success_reward=0.9"),
        quiet=True,
    )
    metrics, groups = both(home)
    problems = {p["id"]: p for p in read_jsonl(home / "problems.jsonl")}
    for group in groups:
        for rollout in group["rollouts"]:
            details, text = rollout["details"], rollout["completion"]
            later = -0.01 * rollout["token_count"] * group["step"] / 6
            assert details["rewards/right"] == float(text.strip() == problems[group["problem_id"]]["solution"])
            assert details["rewards/later_less"] == pytest.approx(later)
            assert details["rewards/think_format_reward"] == trl.think_format_reward([[{"content": text}]])[0]
            assert rollout["reward"] == pytest.approx(details["rewards/right"] + later)
            assert rollout["is_success"] == (rollout["reward"] >= 0.9 and rollout["kind"] != "truncated")
    assert {"correct", "wrong"} <= {rollout["kind"] for rollout in rollouts_of(groups)}
    assert sum(rollout["is_lesson"] for rollout in rollouts_of(groups)) > 0
    assert [row["rewards/later_less_global_step"] for row in metrics] == [0, 1, 2, 3, 4, 5]
    for row in metrics:
        own = [r["details"]["rewards/right"] for r in rollouts_of([g for g in groups if g["step"] == row["step"]])]
        assert row["rewards/right_mean"] == sum(own) / len(own)
        assert row["rewards/right_error_count"] == 0.0
    assert summary["before"]["rewards/later_less_global_step"] == 0.0
    assert summary["after"]["rewards/later_less_global_step"] == 6.0
    assert summary["after"]["mean_at_8"] > 0
    again = evaluate(str(home / "run"), None, None, quiet=True)
    assert again["rewards/later_less_global_step"] == 6.0
    assert again["rewards/right_mean"] == summary["after"]["rewards/right_mean"]


@pytest.mark.long
def test_a_run_by_reward_functions_equals_one_by_verifiers_that_say_the_same(home):
    train(configured(home), quiet=True)
    shutil.move(home / "run", home / "by-verifiers")
    train(configured(home), reward_functions=right, quiet=True)
    ours, theirs = (read_jsonl(folder / "groups.jsonl") for folder in (home / "run", home / "by-verifiers"))
    for mine, other in zip(rollouts_of(ours), rollouts_of(theirs), strict=True):
        assert (mine["completion"], mine["is_success"], mine["peers"], mine["is_lesson"]) == (
            other["completion"], other["is_success"], other["peers"], other["is_lesson"],
        )  # fmt: skip
    without = {"verdicts/unparsable_count", "verdicts/wrong_count"}  # reward functions tell no more than wrong
    shared = set(without_durations(home / "by-verifiers")[0]) - without
    assert "teacher/accuracy_from_contexts_share" in shared
    for mine, other in zip(without_durations(home / "run"), without_durations(home / "by-verifiers"), strict=True):
        assert {k: v for k, v in mine.items() if k in shared} == {k: v for k, v in other.items() if k in shared}


def test_reward_functions_need_no_verifiers(home):
    train(configured(home, "problems.verifier='none_such'", "steps=1"), reward_functions=[right], quiet=True)
    assert both(home)[0][0]["rewards/right_error_count"] == 0.0
    with pytest.raises(VerifierError, match="none_such"):
        train(configured(home, "problems.verifier='none_such'", "steps=1"), fresh=True, quiet=True)


# --- resuming -------------------------------------------------------------------------------------------------------


def forget_the_end(run):
    """As if the run had been killed after its step 5: the newest checkpoint is that of step 4."""
    (run / "summary.json").unlink()
    shutil.rmtree(run / "checkpoints" / "step-6")


@pytest.mark.long
def test_a_resumed_run_goes_on_as_if_it_had_never_stopped(home):
    train(configured(home, "rewards.functions=['users_rewards:right', 'users_rewards:later_less']"), quiet=True)
    run = home / "run"
    before = {name: (run / name).read_bytes() for name in ("groups.jsonl", "evaluations.jsonl")}
    metrics = without_durations(run)
    forget_the_end(run)
    sys.modules.pop("users_rewards")
    resume(run, quiet=True)
    assert {name: (run / name).read_bytes() for name in before} == before
    assert without_durations(run) == metrics


@pytest.mark.long
def test_functions_passed_in_python_are_passed_again_on_resume(home):
    own = functools.partial(right, scale=2)  # cannot be imported by a name
    train(configured(home), reward_functions=[own], quiet=True)
    run = home / "run"
    groups = (run / "groups.jsonl").read_bytes()
    assert json.loads((run / "config.json").read_text())["rewards"]["functions"] == [f"{__name__}:<right>"]
    forget_the_end(run)
    with pytest.raises(RunError, match="reward_functions") as error:
        resume(run, quiet=True)
    assert "<right>" in str(error.value)
    with pytest.raises(RunError, match="began with"):
        resume(run, reward_functions=[right], quiet=True)
    with pytest.raises(VerifierError, match="reward_functions"):
        evaluate(str(run), None, None, quiet=True)
    summary = resume(run, reward_functions=[own], quiet=True)
    assert (run / "groups.jsonl").read_bytes() == groups
    figures = evaluate(str(run), None, None, quiet=True, reward_functions=[own])
    assert figures["mean_at_8"] == summary["after"]["mean_at_8"]


@pytest.mark.long
def test_functions_passed_in_python_that_can_be_imported_need_not_be_passed_again(home):
    train(configured(home), reward_functions=right, quiet=True)
    run = home / "run"
    groups = (run / "groups.jsonl").read_bytes()
    assert json.loads((run / "config.json").read_text())["rewards"]["functions"] == [f"{__name__}:right"]
    forget_the_end(run)
    resume(run, quiet=True)
    assert (run / "groups.jsonl").read_bytes() == groups


@pytest.mark.long
def test_a_run_whose_module_is_gone_says_so(home):
    train(configured(home, "rewards.functions=['users_rewards:right']"), quiet=True)
    forget_the_end(home / "run")
    (home / "users_rewards.py").unlink()
    shutil.rmtree(home / "__pycache__", ignore_errors=True)
    sys.modules.pop("users_rewards")
    with pytest.raises(RunError, match="No module named 'users_rewards'"):
        resume(home / "run", quiet=True)


@pytest.mark.long
def test_a_run_by_verifiers_is_not_resumed_with_functions(home):
    train(configured(home, "steps=2"), quiet=True)
    with pytest.raises(RunError, match="none"):
        resume(home / "run", reward_functions=[right], quiet=True)


# --- the command line -----------------------------------------------------------------------------------------------


def console(home, cwd, *arguments):
    """What the console script does: the folder it is called from is not on Python's path."""
    code = f"import sys; sys.path[:] = [{str(ROOT / 'src')!r}, *(p for p in sys.path if p)]; " + (
        "from mopd.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    return subprocess.run(
        [sys.executable, "-P", "-c", code, *arguments, "--quiet"],
        cwd=cwd, capture_output=True, text=True, check=False, env=dict(os.environ) | {"PYTHONPATH": ""},
    )  # fmt: skip


@pytest.mark.long
def test_modules_are_found_beside_the_configuration_from_any_directory(home, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    overrides = [f"run={home / 'run'}", "rewards.functions=['users_rewards:right']"]
    done = console(home, elsewhere, "train", str(home / "own.toml"), *overrides)
    assert done.returncode == 0, done.stderr
    forget_the_end(home / "run")
    done = console(home, elsewhere, "train", "--resume", str(home / "run"))
    assert done.returncode == 0, done.stderr
    done = console(home, elsewhere, "evaluate", str(home / "run"))
    assert done.returncode == 0, done.stderr
    assert "mean@8" in done.stdout


@pytest.mark.long
def test_modules_are_found_in_the_current_directory(home, tmp_path_factory):
    here = tmp_path_factory.mktemp("here")
    shutil.move(home / "users_rewards.py", here)
    overrides = [f"run={home / 'run'}", "rewards.functions=['users_rewards:right']", "steps=1"]
    done = console(home, here, "train", str(home / "own.toml"), *overrides)
    assert done.returncode == 0, done.stderr
    assert rollouts_of(both(home)[1])[0]["details"].keys() == {"rewards/right"}


def test_an_error_on_the_command_line_is_told_and_leaves_nothing_behind(home, capsys, monkeypatch):
    monkeypatch.chdir(home)
    assert main(["train", "own.toml", "rewards.functions=['users_rewards:rigth']", "--quiet"]) == 2
    assert "did you mean right?" in capsys.readouterr().err
    assert not (home / "runs").exists()


# --- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "error"),
    [
        (["rewards.functions=['users_rewards']"], ConfigError),
        (["rewards.functions=['users_rewards:wrong']"], VerifierError),
        (["rewards.functions=['users_nowhere:right']"], VerifierError),
        (["rewards.functions=['users_rewards:right']", "problems.source='sort-digits'"], VerifierError),  # no solution
        (["rewards.weights=[1]"], ConfigError),
    ],
)
def test_bad_reward_functions_leave_no_run_behind(home, overrides, error):
    with pytest.raises(error) as raised:
        train(configured(home, *overrides), quiet=True)
    assert isinstance(raised.value, MopdError)
    assert not (home / "run").exists()


def test_functions_that_fail_in_steps_train_nothing_and_the_run_goes_on(home):
    """They judge the held-out problems (128 rollouts), so that verdicts come before the two steps, and after."""
    evaluated = []

    def falls_over(completions, answer, **kwargs):
        evaluated.extend([True] if len(completions) == 128 else [])
        if evaluated and len(completions) == 16:
            raise ValueError(f"cannot grade {answer}")
        return [0.0] * len(completions)

    summary = train(configured(home, "steps=2"), reward_functions=[right, falls_over], quiet=True)
    metrics, groups = both(home)
    assert [row["update/skipped_empty_count"] for row in metrics] == [1.0, 1.0]
    assert [row["verdicts/error_count"] for row in metrics] == [16.0, 16.0]
    assert [row["rewards/falls_over_error_count"] for row in metrics] == [16.0, 16.0]
    for rollout in rollouts_of(groups):
        assert rollout["no_lesson_reason"] == "grader_error"
        assert rollout["feedback"].startswith("The reward function falls_over raised ValueError")
        assert "withheld" in rollout["feedback"]
    assert summary["after"]["problems_without_verdict"] == 0.0


def test_functions_that_now_and_then_fail_or_hang_are_counted_and_the_run_goes_on(home):
    hung = []

    def flaky(completions, trainer_state, **kwargs):
        if trainer_state.global_step == 2:
            hung.append(True)
            threading.Event().wait(60)
        values = [float("nan") if c[0]["content"].startswith("0") else 1.0 for c in completions]
        return values[1:] if trainer_state.global_step == 1 else values

    train(configured(home, "steps=4", "rewards.time_limit_s=0.5"), reward_functions=[flaky], quiet=True)
    metrics, groups = both(home)
    counts = [row["verdicts/error_count"] for row in metrics]
    assert counts[1:3] == [16.0, 16.0]
    assert 0 < counts[0] + counts[3] < 32
    said = [{r["feedback"] for r in rollouts_of([g for g in groups if g["step"] == step])} for step in range(4)]
    assert said[1] == {"The reward function flaky returned 15 values for 16 rollouts"}
    assert said[2] == {"The reward function flaky ran over its time limit of 0.5 s"}
    assert hung


def test_cut_completions_are_scored_but_never_succeed_teach_or_count_for_the_teacher(home):
    """Completions of at most two tokens: every one that has two digits is cut."""

    def generous(completions):
        return [2.0] * len(completions)

    summary = train(
        configured(home, "sampling.completion_tokens=2", "evaluation.contexts_every=1", "steps=3"),
        reward_functions=[generous],
        quiet=True,
    )
    metrics, groups = both(home)
    cut = [rollout for rollout in rollouts_of(groups) if rollout["kind"] == "truncated"]
    assert cut
    assert all(rollout["reward"] == 2.0 and not rollout["is_success"] for rollout in cut)
    assert all(row["rewards/generous_mean"] == 2.0 for row in metrics)
    assert all(row["reward/success_share"] == 1 - row["verdicts/truncated_count"] / 16 for row in metrics)
    assert summary["after"]["mean_at_8"] == 1 - summary["after"]["kinds"]["truncated"] / (16 * 8)


def test_what_the_teacher_writes_is_cut_like_what_the_student_writes(home, monkeypatch):
    """At most three tokens: an answer of three digits is right by its text, but cut, and so no success."""
    monkeypatch.setenv("MOPD_CACHE", str(home / "cache"))  # a cached warm-up would not ask again what came before it
    asked = []

    def right_text(completions, solution):
        asked.append(right(completions, solution))
        return asked[-1]

    overrides = [
        "sampling.completion_tokens=3",
        "evaluation.contexts_every=1",
        "steps=2",
    ]
    peers = ["peers.require_success=false", "peers.truncated_failures=true"]
    train(configured(home, *overrides, *peers), reward_functions=[right_text], quiet=True)
    rows = both(home)[0]
    # the student as it came; an evaluation; for each of two steps its rollouts, and what the teacher wrote from their
    # contexts; an evaluation
    (as_it_came, before), steps, after = asked[:-5], asked[-5:-1], asked[-1]
    assert len(as_it_came) == 16
    assert [len(values) for values in (before, after)] == [16 * 8] * 2
    assert [len(values) for values in steps[::2]] == [16, 16]
    assert [len(values) for values in steps[1::2]] == [row["teacher/contexts_count"] for row in rows]
    assert all(sum(values) > 0 for values in steps[1::2])
    assert [row["teacher/accuracy_from_contexts_share"] for row in rows] == [0.0, 0.0]
