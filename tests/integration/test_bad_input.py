"""Bad input gets an error that says what must hold, what was got and what to do; and nothing is lost."""

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mopd import load_config, train, verifiers
from mopd.cli import main
from mopd.config import build_config
from mopd.core.errors import ConfigError, MopdError, ProblemError, RunError, StudentError
from mopd.core.types import Verdict
from mopd.evaluation.target import evaluate
from mopd.runs.records import read_jsonl

TINY = Path(__file__).parents[1] / "configs" / "tiny.toml"


def tiny(tmp_path, *overrides):
    return load_config(TINY, [f"run='{tmp_path / 'run'}'", *overrides])


def test_compiling_without_a_compiler_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr("mopd.preflight.checks.shutil.which", lambda name: None)
    with pytest.raises(ConfigError, match="install g"):
        train(tiny(tmp_path, "compute.compile=true"), quiet=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["peers.succeses=1"], "did you mean peers.successes"),
        (["group_size=3", "peers.successes=2", "peers.failures=1"], "group_size - 1 = 2"),
        (["peers.successes=0"], "require_success"),
        (["divergence.weight=0.3", "divergence.kind='forward_kl'"], "weight belongs to jensen_shannon"),
        (["divergence.support='full'", "divergence.k=5"], "support is full"),
        (["peers.control='unrelated_problem'", "problems_per_step=1"], "problems_per_step"),
        (["sampling.temperature=0"], "is over 0"),
        (["teacher.kind='emma'"], "'emma'"),
        (["steps"], "key=value"),
        (["seed.x=1"], "seed is a whole number"),
        (["context.template={success='x', failure='{text}', feedback='{text}', turn='{problem}{blocks}'}"], "{text}"),
        (
            [
                "context.wording='peers_first'",
                "context.template={success='{text}', failure='{text}', feedback='{text}', turn='{problem}{blocks}'}",
            ],
            "context.wording and context.template",
        ),
    ],
)
def test_a_misspelt_or_contradictory_option_is_named(overrides, says):
    with pytest.raises(ConfigError) as error:
        build_config({}, overrides)
    assert says in str(error.value)
    assert error.value.must
    assert error.value.got
    assert error.value.do


def test_a_missing_or_malformed_configuration_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        load_config(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("steps = = 3\n")
    with pytest.raises(ConfigError, match="line 1"):
        load_config(tmp_path / "bad.toml")


def test_bad_problems_leave_no_run_behind(tmp_path):
    path = tmp_path / "problems.jsonl"
    path.write_text('{"prompt": "21", "answer": "12"}\n{"prompt": "43"}\n')
    with pytest.raises(ProblemError, match="line 2") as error:
        train(tiny(tmp_path, f"problems.source='{path}'", "problems.options={}"), quiet=True)
    assert "'answer'" in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["problems_per_step=14", "problems.size=29"], "14 problems a step, 13 training problems"),
        (
            ["problems.weights={ rare = 1, common = 5 }", "problems_per_step=7", "steps=4"],
            "2 problems of domain 'rare'",
        ),
    ],
)
def test_a_step_that_asks_for_more_problems_than_there_are_is_found_before_anything_is_written(
    tmp_path, overrides, says
):
    """With the weights steps 0 to 2 take one rare problem each, of which there is one; step 3 would take two."""
    if "weights" in overrides[0]:
        path = tmp_path / "problems.jsonl"
        rows = [{"prompt": f"{i:03}", "answer": "1", "domain": "common"} for i in range(100, 140)]
        rows += [{"prompt": "999", "answer": "999", "domain": "rare"}]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        overrides = [*overrides, f"problems.source='{path}'", "problems.options={}", "problems.held_out=1"]
    with pytest.raises(ProblemError, match=says):
        train(tiny(tmp_path, *overrides), quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_student_without_chat_template_is_refused(tmp_path, tiny_student):
    tiny_student.save(tmp_path / "model")
    (tmp_path / "model" / "chat_template.jinja").unlink()
    with pytest.raises(StudentError, match="chat template"):
        train(tiny(tmp_path, f"student='{tmp_path / 'model'}'"), quiet=True)


def test_a_folder_that_is_no_model_is_refused(tmp_path):
    with pytest.raises(StudentError, match=r"config\.json"):
        train(tiny(tmp_path, f"student='{tmp_path}'"), quiet=True)


def test_a_model_folder_without_weights_is_refused(tmp_path, tiny_student):
    tiny_student.save(tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    with pytest.raises(StudentError, match="holds weights"):
        train(tiny(tmp_path, f"student='{tmp_path / 'model'}'"), quiet=True)


def test_a_prompt_over_the_window_is_named(tmp_path):
    path = tmp_path / "problems.jsonl"
    rows = [{"id": str(i), "prompt": "1" * (3 if i else 126), "answer": "111"} for i in range(30)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ProblemError, match="window of 128") as error:
        train(tiny(tmp_path, f"problems.source='{path}'", "problems.options={}"), quiet=True)
    assert "problem 0" in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_context_budget_over_the_window_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="at most 122"):
        train(tiny(tmp_path, "context.tokens=1000"), quiet=True)


def test_feedback_for_a_student_that_cannot_read_it_is_refused_before_any_work(tmp_path):
    with pytest.raises(ConfigError, match=r"context\.feedback"):
        train(tiny(tmp_path, "context.feedback='always'"), quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_prompt_over_the_context_budget_is_refused_before_any_work(tmp_path):
    with pytest.raises(ProblemError, match=r"context\.tokens = 4"):
        train(tiny(tmp_path, "context.tokens=4"), quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_prompt_the_tokenizer_cannot_write_is_refused(tmp_path):
    path = tmp_path / "problems.jsonl"
    path.write_text("".join(json.dumps({"id": str(i), "prompt": f"sort {i}", "answer": "1"}) + "\n" for i in range(30)))
    with pytest.raises(ProblemError, match="vocabulary"):
        train(tiny(tmp_path, f"problems.source='{path}'", "problems.options={}"), quiet=True)


def test_a_verifier_that_raises_or_returns_nan_is_counted_and_the_run_goes_on(tmp_path):
    @verifiers.register("flaky")
    def flaky(problem, completion):
        if completion.startswith(("0", "1")):
            raise RuntimeError("grader fell over")
        if completion.startswith(("2", "3")):
            return Verdict(math.nan, "wrong")
        return Verdict(float(completion == problem.reference), "wrong")

    summary = train(tiny(tmp_path, "problems.verifier='flaky'"), quiet=True)
    metrics, groups = read_jsonl(tmp_path / "run" / "metrics.jsonl"), read_jsonl(tmp_path / "run" / "groups.jsonl")
    failed = [r for g in groups for r in g["rollouts"] if r["kind"] == "error"]
    assert failed
    assert sum(row["verdicts/error_count"] for row in metrics) == len(failed)
    assert all(r["no_lesson_reason"] == "grader_error" for r in failed)
    assert any("grader fell over" in r["feedback"] for r in failed)
    assert any("nan" in r["feedback"] for r in failed)
    in_contexts = {
        (g["step"], g["problem_id"], i) for g in groups for r in g["rollouts"] for p in r["peers"].values() for i in p
    }
    assert not any(
        (g["step"], g["problem_id"], r["index"]) in in_contexts for g in groups for r in g["rollouts"] if r in failed
    )
    assert summary["before"]["kinds"]["error"] > 0


def test_an_unknown_verifier_is_named_before_any_work(tmp_path):
    with pytest.raises(MopdError, match="did you mean exact"):
        train(tiny(tmp_path, "problems.verifier='exakt'"), quiet=True)
    assert not (tmp_path / "run").exists()


def test_empty_completions_are_counted_and_never_peers(tmp_path):
    """An untrained student ends at once now and then."""
    config = tiny(tmp_path, "steps=2", "peers.require_success=false", "sampling.temperature=3.0")
    train(config.model_copy(update={"warmup": None}), quiet=True)
    metrics, groups = read_jsonl(tmp_path / "run" / "metrics.jsonl"), read_jsonl(tmp_path / "run" / "groups.jsonl")
    empty = [(g, r["index"]) for g in groups for r in g["rollouts"] if not r["completion"]]
    assert empty
    assert sum(row["completion/empty_count"] for row in metrics) == len(empty)
    for group, index in empty:
        assert all(index not in r["peers"]["failures"] + r["peers"]["successes"] for r in group["rollouts"])


def test_a_directory_that_holds_a_run_is_not_overwritten(tmp_path):
    train(tiny(tmp_path, "steps=1"), quiet=True)
    before = (tmp_path / "run" / "summary.json").read_bytes()
    with pytest.raises(RunError, match="--resume"):
        train(tiny(tmp_path, "steps=1"), quiet=True)
    assert (tmp_path / "run" / "summary.json").read_bytes() == before


def test_a_run_in_use_by_another_process_is_refused(tmp_path):
    import fcntl

    train(tiny(tmp_path, "steps=1"), quiet=True)
    with open(tmp_path / "run" / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert main(["train", "--resume", str(tmp_path / "run")]) == 2


def test_evaluating_a_run_without_a_checkpoint_says_what_to_do(tmp_path):
    train(tiny(tmp_path, "steps=1"), quiet=True)
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    with pytest.raises(RunError, match="--resume"):
        evaluate(str(tmp_path / "run"), None, None, quiet=True)


def test_a_broken_checkpoint_is_named(tmp_path):
    train(tiny(tmp_path, "steps=2"), quiet=True)
    (tmp_path / "run" / "summary.json").unlink()
    (tmp_path / "run" / "checkpoints" / "step-2" / "teacher.safetensors").write_bytes(b"short")
    with pytest.raises(MopdError, match="step-2"):
        main_resume(tmp_path / "run")


def main_resume(run):
    from mopd import resume

    return resume(run, quiet=True)


def can_mount_a_small_disk():
    probe = ["unshare", "--mount", "--map-root-user", "sh", "-c", "mount -t tmpfs -o size=1m none /mnt"]
    try:
        return subprocess.run(probe, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.long
@pytest.mark.skipif(not can_mount_a_small_disk(), reason="needs unshare and user namespaces to mount a small disk")
def test_a_full_disk_at_checkpoint_time_keeps_the_last_good_checkpoint(tmp_path):
    """A real disk of 8 MB: two checkpoints fit, the third does not; with room, the run goes on to its end."""
    disk = tmp_path / "disk"
    disk.mkdir()
    script = f"""
        mount -t tmpfs -o size=8m none {disk}
        {sys.executable} -m mopd train {TINY} run={disk}/run --quiet
        echo "exit $?"
        ls -A {disk}/run/checkpoints
        mount -o remount,size=64m {disk}
        {sys.executable} -m mopd train --resume {disk}/run --quiet > /dev/null
        echo "exit $?"
        cp {disk}/run/summary.json {disk}/run/groups.jsonl {tmp_path}
    """
    command = ["unshare", "--mount", "--map-root-user", "sh", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
    lines = done.stdout.split()
    assert lines == ["exit", "2", "step-0", "step-2", "exit", "0"], done.stdout + done.stderr
    assert "last good checkpoint is" in done.stderr
    assert "step-2" in done.stderr

    undisturbed = train(tiny(tmp_path), quiet=True)
    assert json.loads((tmp_path / "summary.json").read_text())["after"] == undisturbed["after"]
    assert (tmp_path / "groups.jsonl").read_bytes() == (tmp_path / "run" / "groups.jsonl").read_bytes()
