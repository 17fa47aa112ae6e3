"""A problem that is too long for the student: refused with its file and line, or left out and counted."""

import json

import pytest

from mopd import resume, train
from mopd.config import build_config
from mopd.core.errors import ProblemError
from mopd.evaluation.target import evaluate_target
from mopd.runs.records import read_jsonl
from tests.builders import UNMEASURED

LONG = (2, 7)


def config_of(folder, *overrides, long=LONG, length=126):
    """Digits to sort, some prompts too long for the window of 128 tokens."""
    rows = [{"id": f"p{i}", "prompt": f"{i}1" + "21" * length * (i in long), "answer": "12"} for i in range(20)]
    (folder / "problems.jsonl").write_text("".join(json.dumps({**row, "kind": "exact"}) + "\n" for row in rows))
    values = {
        **{"run": str(folder / "run"), "steps": 2, "group_size": 2, "problems_per_step": 2},
        "problems": {"source": str(folder / "problems.jsonl"), "held_out": 4},
        "peers": {"failures": 1, "successes": 0, "require_success": False},
        **{"sampling": {"completion_tokens": 4}, "context": {"tokens": 60}, "evaluation": {"rollouts": 2}},
    }
    return build_config(values, [*UNMEASURED, *overrides])


def test_a_problem_that_is_too_long_is_named_with_its_file_and_line(tmp_path):
    with pytest.raises(ProblemError) as error:
        train(config_of(tmp_path), quiet=True)
    named = [f"problem p{i} ({tmp_path / 'problems.jsonl'}, line {i + 1}), the first of 2 problems" for i in LONG]
    assert any(text in str(error.value) for text in named)
    assert "over_long = 'leave_out'" in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("length", "reason"), [(126, "window of 128"), (40, "context.tokens = 60")])
def test_problems_that_are_too_long_are_left_out_and_counted(tmp_path, length, reason):
    summary = train(config_of(tmp_path, "problems.over_long=leave_out", "steps=8", length=length), quiet=True)
    ((why, count),) = summary["split"]["left_out"].items()
    assert (count, reason in why) == (2, True)
    trained = {row["problem_id"] for row in read_jsonl(tmp_path / "run" / "groups.jsonl")}
    assert trained
    assert not trained & {"p2", "p7"}


def test_a_run_without_its_long_problems_is_resumed_and_evaluated_on_the_same(tmp_path):
    config = config_of(tmp_path, "problems.over_long=leave_out", "problems.held_out=10", long=range(6))
    after = train(config, quiet=True)["after"]
    assert after["problems"] < 10  # of the held-out ones some were too long
    figures = evaluate_target(str(tmp_path / "run"), None, None, quiet=True).figures
    assert figures["problems"] == after["problems"]
    assert sum(figures["left_out"].values()) == 6
    resume(tmp_path / "run", expected=config.model_copy(update={"steps": 3}), quiet=True)


def test_a_part_whose_problems_are_all_too_long_is_refused(tmp_path):
    with pytest.raises(ProblemError, match="some problems of both parts remain"):
        train(config_of(tmp_path, "problems.over_long=leave_out", long=range(20)), quiet=True)


def test_steps_are_counted_without_what_is_left_out(tmp_path):
    with pytest.raises(ProblemError, match="6 problems a step"):
        train(config_of(tmp_path, "problems.over_long=leave_out", "problems_per_step=6", long=range(1, 15)), quiet=True)
    assert not (tmp_path / "run").exists()
