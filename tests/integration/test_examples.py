"""The examples and the Python of docs/python.md run as they stand."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
PAGE = (ROOT / "docs" / "python.md").read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where all of them run: some look at the run of another."""
    return tmp_path_factory.mktemp("examples")


@pytest.fixture
def run(folder, monkeypatch, capsys):
    def run_example(name, *arguments):
        monkeypatch.chdir(folder)
        path = str(ROOT / "examples" / name)
        monkeypatch.setattr("sys.argv", [path, *arguments])
        runpy.run_path(path, run_name="__main__")
        return capsys.readouterr().out

    return run_example


def test_every_example_is_short_and_named_on_the_page():
    assert len(EXAMPLES) == 4
    for path in EXAMPLES:
        assert len(path.read_text().splitlines()) <= 50
        assert f"examples/{path.name}" in PAGE


@pytest.mark.long
def test_training_on_own_problems_and_looking_at_the_run(run, folder):
    told = run("train_own_problems.py")
    assert re.findall(r"^step (\d)", told, flags=re.MULTILINE) == [*"012345"]
    shown = run("look_at_a_run.py", str(folder / "runs" / "own-problems"))
    assert "has ended after step 5" in shown
    assert "'correct': " in shown


def test_an_own_reward(run):
    shown = run("own_reward.py")
    assert len(re.findall(r"^ +\d +0\.\d+$", shown, flags=re.MULTILINE)) == 4


def test_a_divergence_alone(run):
    shown = run("divergence_alone.py")
    loss = float(re.search(r"loss: ([\d.]+)", shown)[1])
    assert 0 < loss < 0.6932
    assert "refused: the student's log-probabilities" in shown


@pytest.mark.long
def test_the_python_of_the_page_runs_from_top_to_bottom(folder, monkeypatch):
    monkeypatch.chdir(folder)
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 6
    code = "\n".join(blocks).replace('"examples/small.toml"', repr(str(ROOT / "examples" / "small.toml")))
    names = {"__name__": "the_page"}
    exec(compile(code, "docs/python.md", "exec"), names)
    assert names["summary"]["steps"] == 4
    assert len(names["run"].metrics) == 6
