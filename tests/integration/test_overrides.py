"""What a command line says is used or refused: overrides apply to a run's own configuration, and outputs are tried."""

import json
import os
from pathlib import Path

import pytest

from mopd import load_config, train
from mopd.cli import main

TINY = str(Path(__file__).parents[1] / "configs" / "tiny.toml")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run with settings of its own, none of them a default."""
    path = tmp_path_factory.mktemp("overrides") / "run"
    overrides = [f"run='{path}'", "steps=1", "seed=5", "evaluation.rollouts=2", "evaluation.contexts_every=0"]
    train(load_config(TINY, overrides), quiet=True)
    return path


def figures(tmp_path, *words):
    out = tmp_path / "figures.json"
    assert main(["evaluate", *map(str, words), "--json", str(out)]) == 0
    return json.loads(out.read_text())


FORMS = [
    ("evaluation.rollouts=3", "--quiet"),
    ("--quiet", "evaluation.rollouts=3"),
    ("--seed", "5", "--quiet", "evaluation.rollouts=3"),
]


@pytest.mark.parametrize("words", FORMS, ids=" ".join)
def test_overrides_of_an_evaluation_apply_to_the_run_s_own_configuration(run, tmp_path, words):
    found = figures(tmp_path, run, *words)
    assert "mean_at_3" in found
    assert found["problems"] == 16.0  # the run's own problems, not 128 of the defaults
    assert found["seed"] == 5


@pytest.mark.parametrize("words", [("nonsense=1", "--quiet"), ("--quiet", "nonsense=1"), ("--seed", "7", "nonsense=1")])
def test_an_unknown_key_is_refused_wherever_it_stands(run, words, capsys):
    assert main(["evaluate", str(run), *words]) == 2
    assert "nonsense" in capsys.readouterr().err


COMMANDS = [
    ("train", TINY, "--quiet", "nonsense=1"),
    ("train", "nonsense=1", "--quiet"),
    ("train", "--resume", "RUN", "--quiet", "nonsense=1"),
    ("evaluate", "RUN", TINY, "--quiet", "nonsense=1"),
    ("evaluate", "builtin:digits", "problems.source=sort-digits", "--quiet", "nonsense=1"),
    ("verify", "given.jsonl", "--quiet", "nonsense=1"),
    ("verify", "--audit", "--quiet", "nonsense=1"),
    ("config", TINY, "nonsense=1"),
    ("config", "nonsense=1"),
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_refuses_an_unknown_key(run, words, capsys):
    assert main([str(run) if word == "RUN" else word for word in words]) == 2
    assert "nonsense" in capsys.readouterr().err


IN_VAIN = [
    ("evaluate", "RUN", "student=builtin:letters"),
    ("evaluate", "RUN", "--quiet", "steps=3"),
    ("evaluate", "RUN", "--quiet", "preflight.action=warn"),
    ("evaluate", "RUN", "--quiet", "lessons.pause=false"),
    ("evaluate", "RUN", "--quiet", "alarms.action=off"),
    ("evaluate", "RUN", "group_size=5"),
    ("evaluate", "RUN", "optimizer.learning_rate=1"),
    ("evaluate", "RUN", TINY, "run=elsewhere"),
    ("evaluate", "RUN", "seed=3", "--seed", "4"),
    ("verify", "given.jsonl", "steps=3"),
    ("verify", "--audit", "sampling.temperature=2"),
    ("verify", "--audit", "--resume"),
    ("train", "--resume", "RUN", "--fresh"),
    ("config", TINY, "--markdown"),
]


@pytest.mark.parametrize("words", IN_VAIN, ids=" ".join)
def test_a_word_that_would_change_nothing_is_refused(run, words, capsys, monkeypatch):
    monkeypatch.setattr("mopd.evaluation.opening.prepare", None)  # before any work
    assert main([str(run) if word == "RUN" else word for word in words]) == 2
    assert "leave" in capsys.readouterr().err


def test_defaults_do_not_stand_in_for_the_problems_of_a_checkpoint(run, capsys):
    checkpoint = str(run / "checkpoints" / "step-1")
    assert main(["evaluate", checkpoint, "--quiet", "evaluation.rollouts=3"]) == 2
    assert "CONFIG.toml" in capsys.readouterr().err


def test_a_model_is_evaluated_on_problems_that_overrides_name(run, tmp_path):
    checkpoint = run / "checkpoints" / "step-1"
    overrides = ["problems.source=sort-digits", "problems.held_out=3", "problems.size=100", "problems.options.length=3"]
    found = figures(tmp_path, checkpoint, "--quiet", *overrides, "context.tokens=40", "sampling.completion_tokens=6")
    assert found["problems"] == 3.0


def test_a_file_and_overrides_may_stand_in_any_order(tmp_path, capsys):
    assert main(["config", "steps=3", TINY, "seed=4"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["steps"], found["seed"], found["group_size"]) == (3, 4, 4)


@pytest.mark.parametrize("where", ["nowhere/out.json", ".", "file/out.json"])
def test_an_output_that_cannot_be_written_is_refused_before_work(run, tmp_path, where, capsys, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("mopd.evaluation.opening.prepare", None)
    assert main(["evaluate", str(run), "--quiet", "--json", str(tmp_path / where)]) == 2
    assert "--json names a file that can be written" in capsys.readouterr().err


def test_trying_an_output_leaves_what_is_there(run, tmp_path, monkeypatch):
    out = tmp_path / "out.json"
    out.write_text("earlier figures")

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("mopd.evaluation.opening.prepare", interrupted)
    assert main(["evaluate", str(run), "--quiet", "--json", str(out)]) == 130
    assert out.read_text() == "earlier figures"
    out.unlink()
    assert main(["evaluate", str(run), "--quiet", "--json", str(out)]) == 130
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_figures_are_on_the_screen_where_the_disk_is_full_at_the_end(run, capsys):
    assert main(["evaluate", str(run), "--quiet", "--json", "/dev/full"]) == 2
    said = capsys.readouterr()
    assert "mean@2" in said.out
    assert "No space left" in said.err


def test_figures_may_be_written_to_what_is_no_plain_file(run, tmp_path):
    link = tmp_path / "link.json"
    (tmp_path / "real.json").write_text("")
    link.symlink_to(tmp_path / "real.json")
    assert main(["evaluate", str(run), "--quiet", "--json", str(link)]) == 0
    assert link.is_symlink()
    assert json.loads((tmp_path / "real.json").read_text())["problems"] == 16.0
