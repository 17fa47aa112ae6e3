"""Neighbours of problems, rewards and templates: whatever else a run began with and goes on with."""

import shutil

import pytest
import torch

from mopd import resume, train, verifiers
from mopd.cli import main
from mopd.config import override_config
from mopd.core.errors import RunError
from mopd.core.types import Verdict
from mopd.learning.optimizer import AdamW
from mopd.models.student import load_student
from mopd.runs.checkpoint import Cursor, load_checkpoint, save_checkpoint
from tests.architectures import save
from tests.builders import make_teacher
from tests.integration.test_pretrained import config_for


def made(threshold, *, counts=False):
    """A reward function that knows its threshold from the function that made it."""
    calls = 0

    def reward(completions, **columns):
        nonlocal calls
        calls += counts
        return [float(len(completion[-1]["content"]) > threshold) for completion in completions]

    return reward


@pytest.fixture
def config(tmp_path):
    return config_for(tmp_path, save(tmp_path / "model", "llama"), "steps=2", "checkpoint.every=1")


def unfinish(run):
    (run / "summary.json").unlink()
    shutil.rmtree(run / "checkpoints" / "step-2")


def test_what_a_reward_function_was_made_with_is_part_of_it(tmp_path, config):
    train(config, reward_functions=made(2, counts=True), quiet=True)
    unfinish(tmp_path / "run")
    with pytest.raises(RunError, match="reward functions are those that it began with"):
        resume(tmp_path / "run", reward_functions=made(3, counts=True), quiet=True)
    resume(tmp_path / "run", reward_functions=made(2, counts=True), quiet=True)


def test_what_a_function_counts_for_itself_is_no_part_of_it(tmp_path, config):
    reward = made(2, counts=True)
    train(config, reward_functions=reward, quiet=True)
    unfinish(tmp_path / "run")
    resume(tmp_path / "run", reward_functions=reward, quiet=True)


def test_a_verifier_of_ones_own_is_part_of_what_a_run_depends_on(tmp_path, config, monkeypatch):
    monkeypatch.setattr(verifiers, "_VERIFIERS", dict(verifiers._VERIFIERS))
    config = config.model_copy(update={"problems": config.problems.model_copy(update={"verifier": "own"})})

    @verifiers.register("own")
    def first(problem, completion):
        return Verdict(1.0, "correct", completion)

    train(config, quiet=True)
    unfinish(tmp_path / "run")

    @verifiers.register("own")
    def second(problem, completion):
        return Verdict(0.0, "wrong", completion)

    with pytest.raises(RunError, match="reward functions are those that it began with"):
        resume(tmp_path / "run", quiet=True)
    verifiers.register("own")(first)
    resume(tmp_path / "run", quiet=True)


def test_buffers_of_student_and_teacher_survive_a_checkpoint(tmp_path, config):
    """As biases of experts' scores, by which balance is kept in training elsewhere."""
    folder = save(tmp_path / "deepseek", "deepseek_v3")

    def parts():
        student = load_student(str(folder), 0)
        return student, make_teacher(student.model, config), AdamW(student.model, config.optimizer)

    student, teacher, optimizer = parts()
    biases = [n for n, _ in student.model.named_buffers() if n.endswith("e_score_correction_bias")]
    assert biases
    for model, value in ((student.model, 3.0), (teacher.model, 5.0)):
        model.get_buffer(biases[0]).fill_(value)
    path = save_checkpoint(tmp_path / "checkpoints", Cursor(1, {}), student, teacher, optimizer)
    again = parts()
    load_checkpoint(path, *again)
    for model, value in ((again[0].model, 3.0), (again[1].model, 5.0)):
        assert torch.equal(model.get_buffer(biases[0]), torch.full_like(model.get_buffer(biases[0]), value))


def test_training_changes_no_buffer(tmp_path):
    """A teacher follows the student's parameters alone, so that buffers must stay what they are."""
    folder = save(tmp_path / "deepseek", "deepseek_v3")
    train(config_for(tmp_path, folder, "steps=2", "checkpoint.every=2"), quiet=True)
    before, after = (load_student(str(path), 0).model for path in (folder, tmp_path / "run/checkpoints/step-2"))
    for (name, one), (_, two) in zip(before.named_buffers(), after.named_buffers(), strict=True):
        assert torch.equal(one, two), name


def test_a_run_computes_in_the_dtype_that_it_began_in_whatever_auto_means_elsewhere(tmp_path, config, monkeypatch):
    train(config, quiet=True)
    unfinish(tmp_path / "run")
    monkeypatch.setattr("mopd.models.devices.BFLOAT16_PAYS_PARAMETERS", 1)
    monkeypatch.setattr("mopd.models.devices._cpu_multiplies_bfloat16", lambda: True)
    with pytest.raises(RunError, match="bfloat16, but the run began in float32"):
        resume(tmp_path / "run", quiet=True)
    as_advised = override_config(config, ["compute.dtype=float32"], "the advice")
    resume(tmp_path / "run", expected=as_advised, quiet=True)


def test_another_dtype_is_refused_also_where_it_is_asked_for(tmp_path, config):
    train(config, quiet=True)
    unfinish(tmp_path / "run")
    with pytest.raises(RunError, match="bfloat16, but the run began in float32"):
        resume(tmp_path / "run", expected=override_config(config, ["compute.dtype=bfloat16"], "here"), quiet=True)


def test_a_resumed_run_is_where_it_is(tmp_path, config, capsys):
    train(config, quiet=True)
    assert main(["train", "--resume", str(tmp_path / "run"), f"run={tmp_path / 'other'}", "--quiet"]) == 2
    assert "an override is one that mopd train --resume reads" in capsys.readouterr().err
