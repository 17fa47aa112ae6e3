"""Before a run begins: its problems can be judged and are enough, and its directory can be written."""

import dataclasses
import json
import os

import pytest

from mopd import train
from mopd.config import build_config
from mopd.core.errors import ProblemError, RunError
from mopd.core.types import Problem
from mopd.preflight.checks import check_paths
from mopd.preflight.trial import check_references
from tests.architectures import save
from tests.integration.test_pretrained import config_for


@pytest.fixture
def folder(tmp_path):
    return save(tmp_path / "model", "llama")


def with_problems(tmp_path, folder, rows, *overrides):
    """A run on problems that stand in a file as given."""
    file = tmp_path / "own.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return config_for(tmp_path, folder, f"problems.source='{file}'", *overrides)


def asked(count):
    return [{"id": f"p{i}", "prompt": f"What is {i}?", "answer": str(i)} for i in range(count)]


@pytest.mark.parametrize(
    ("verifier", "answer"),
    [("math", "!!"), ("tooluse", "no call"), ("tooluse", '{"name": 3}')],
)
def test_a_reference_that_its_verifier_cannot_read_is_refused_with_the_cause(verifier, answer, tmp_path, folder):
    rows = [row | {"kind": verifier, "answer": answer} for row in asked(8)]
    with pytest.raises(ProblemError, match="can read its reference") as error:
        train(with_problems(tmp_path, folder, rows), quiet=True)
    assert "The verifier " in error.value.got
    assert not (tmp_path / "run").exists()


def test_one_bad_reference_among_many_is_found_where_trying_all_takes_no_time(tmp_path, folder):
    good = '[{"name": "f", "arguments": {}}]'
    rows = [row | {"kind": "tooluse", "answer": good if i != 37 else "?"} for i, row in enumerate(asked(60))]
    with pytest.raises(ProblemError, match="p37"):
        train(with_problems(tmp_path, folder, rows), quiet=True)


@pytest.mark.parametrize(
    ("verifier", "good", "bad"),
    [("math", "{}", "!!"), ("tool_use", '[{{"name": "f", "arguments": {{"n": {}}}}}]', "?")]
    + [(name, "B", "Z") for name in ("multiple_choice", "multiple_choice_letter")],
)
def test_every_reference_is_tried(verifier, good, bad):
    """One that cannot be read among 1300, wherever it stands."""
    text = "Which?\nA. one\nB. two"
    problems = [
        Problem(f"p{i}", ({"role": "user", "content": text},), good.format(i % 40), verifier) for i in range(1300)
    ]
    check_references(problems)
    for place in (1, 777, 1299):
        one_bad = [*problems[:place], dataclasses.replace(problems[place], reference=bad), *problems[place + 1 :]]
        with pytest.raises(ProblemError, match=f"p{place}:"):
            check_references(one_bad)


def test_references_that_can_be_read_are_no_error():
    check_references([])


def test_reward_functions_are_not_called_before_the_run(tmp_path, folder, monkeypatch):
    calls = []

    def reward(completions, **columns):
        calls.append(len(completions))
        return [0.0] * len(completions)

    monkeypatch.setattr("mopd.training.loop.Run.begin", lambda *_: (_ for _ in ()).throw(RunError("begun", "", "")))
    with pytest.raises(RunError, match="begun"):
        train(config_for(tmp_path, folder), reward_functions=reward, quiet=True)
    assert calls == []


def test_too_few_problems_for_a_step_are_said_before_anything_is_written(tmp_path, folder):
    with pytest.raises(ProblemError, match="a step's problems are all different"):
        train(with_problems(tmp_path, folder, asked(10), "problems_per_step=9"), quiet=True)
    assert not (tmp_path / "run").exists()


def test_too_few_problems_of_a_domain_in_any_step_are_said_before_anything_is_written(tmp_path, folder):
    rows = [row | {"domain": "rare" if i < 2 else "common"} for i, row in enumerate(asked(30))]
    weights = "problems.weights={ rare = 4, common = 4 }"
    with pytest.raises(ProblemError, match="of domain 'rare'"):
        train(with_problems(tmp_path, folder, rows, "problems_per_step=8", "problems.held_out=0", weights), quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_directory_that_can_be_written_is_left_as_it_was(tmp_path):
    for path in (tmp_path, tmp_path / "a" / "b"):
        check_paths(build_config({}, [f"run='{path}'"]))
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="can be made and written"):
        check_paths(build_config({}, [f"run='{tmp_path / 'file' / 'run'}'"]))
    os.symlink(tmp_path / "nowhere", tmp_path / "link")
    with pytest.raises(RunError, match="can be made and written"):
        check_paths(build_config({}, [f"run='{tmp_path / 'link'}'"]))
    with pytest.raises(RunError, match="can be made and written"):
        check_paths(build_config({}, ["run='/proc/mopd'"]))
