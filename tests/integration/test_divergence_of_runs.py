"""Numbers that are not finite are said as such and counted: in logits, weights, gradients and figures."""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mopd import load_config, train
from mopd.cli import main
from mopd.config import OptimizerConfig
from mopd.core.errors import DivergenceError
from mopd.learning.optimizer import AdamW
from mopd.rollouts.drawing import sample_tokens
from mopd.runs.records import read_jsonl

TINY = str(Path(__file__).parents[1] / "configs" / "tiny.toml")


@pytest.mark.parametrize("top_p", [1.0, 0.9])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("size", [5, 700])
def test_no_token_is_drawn_from_logits_that_are_no_numbers(bad, top_p, size):
    logits = torch.zeros(3, size)
    logits[1, 2] = bad
    with pytest.raises(DivergenceError, match="1 of 3 completions"):
        sample_tokens(logits, torch.full((3,), 0.5, dtype=torch.float64), 1.0, top_p)


def test_logits_of_minus_infinity_are_tokens_that_are_never_drawn():
    logits = torch.full((2, 5), -math.inf)
    logits[:, 3] = 0.0
    tokens, _ = sample_tokens(logits, torch.tensor([0.0, 0.999], dtype=torch.float64), 1.0, 1.0)
    assert tokens.tolist() == [3, 3]
    with pytest.raises(DivergenceError):
        sample_tokens(torch.full((2, 5), -math.inf), torch.zeros(2, dtype=torch.float64), 1.0, 1.0)


def test_an_update_after_which_weights_are_not_finite_is_told():
    model = torch.nn.Linear(2, 2)
    optimizer = AdamW(model, OptimizerConfig())
    model(torch.ones(1, 2)).sum().backward()
    with pytest.raises(DivergenceError, match="2 of 2 tensors, such as weight"):
        optimizer.update(1e39)


def test_a_run_whose_weights_diverge_ends_with_that_and_saves_none_of_them(tmp_path, capsys, monkeypatch):
    run = tmp_path / "run"
    rate_at = lambda step, steps, config: 1e39 if step else 1e-4  # noqa: E731
    monkeypatch.setattr("mopd.learning.learner.learning_rate_at", rate_at)
    words = ["checkpoint.every=1", f"run='{run}'"]
    assert main(["train", TINY, *words, "--quiet"]) == 1
    assert "finite" in capsys.readouterr().err
    assert not (run / "summary.json").exists()
    checkpoints = list((run / "checkpoints").iterdir())
    assert checkpoints
    for checkpoint in checkpoints:
        assert all(tensor.isfinite().all() for tensor in load_file(checkpoint / "model.safetensors").values())


def test_a_student_whose_weights_are_no_numbers_is_said_to_be_so(tmp_path, tiny_student, capsys):
    with torch.no_grad():
        next(tiny_student.model.parameters())[0] = math.nan
        tiny_student.model.lm_head.weight.fill_(math.nan)
    tiny_student.save(tmp_path / "model")
    words = [f"student='{tmp_path / 'model'}'", f"run='{tmp_path / 'run'}'", "--quiet"]
    assert main(["train", TINY, *words]) == 1
    assert "NaN or infinite" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_figures_that_are_no_numbers_are_null_and_counted_and_the_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr("mopd.learning.work.token_losses", lambda batch, config, objective: batch.logprobs * math.nan)
    train(load_config(TINY, [f"run='{tmp_path / 'run'}'", "steps=2", "evaluation.contexts_every=0"]), quiet=True)
    rows = read_jsonl(tmp_path / "run" / "metrics.jsonl")
    taught = [row for row in rows if row["lessons/count"]]
    assert taught
    for row in taught:
        assert row["update/skipped_nonfinite_count"] == 1.0
        assert row["objective/loss"] is None
        assert row["metrics/nonfinite_count"] == sum(value is None for value in row.values())


def test_a_warm_up_whose_loss_is_no_number_leaves_a_record(tmp_path, monkeypatch):
    monkeypatch.setenv("MOPD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("mopd.warmup.stages._Stage._backward", lambda self, rows: math.nan)
    overrides = [f"run='{tmp_path / 'run'}'", "steps=1", "warmup.steps=2", "problems.held_out=0"]
    summary = train(load_config(TINY, overrides), quiet=True)
    recorded = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert recorded["warmup"]["loss_nats"] is None
    assert set(recorded) == set(summary)
