"""Architectures with states, caches and positions of their own: each trains as it samples, or is refused by name."""

import math

import pytest
import torch

from mopd import train
from mopd.config import Sampling
from mopd.core.errors import MopdError, StudentError
from mopd.models.student import as_student, copy_model, load_student
from mopd.rollouts.cached import CachedDecoder, PromptwiseDecoder, may_pad_prompts
from mopd.rollouts.decoding import open_decoder
from mopd.rollouts.engine import SamplingRequest
from mopd.rollouts.local import LocalEngine
from mopd.runs.records import read_jsonl
from mopd.scoring.hidden_states import can_share_prefixes
from tests.architectures import CANNOT_WRITE, WITH_STATES, make_model, make_tokenizer, save
from tests.integration.test_pretrained import config_for

PROMPTS = [tuple(range(8, 20)), (8, 9, 40), (50, 51, 52, 53, 54)]


@pytest.mark.parametrize("name", list(WITH_STATES))
def test_a_model_with_a_state_trains_on_what_it_samples(name, tmp_path):
    folder = save(tmp_path / "model", name)
    train(config_for(tmp_path, folder), quiet=True)
    metrics = read_jsonl(tmp_path / "run" / "metrics.jsonl")
    assert all(row["importance/logprob_gap_nats"] < 1e-3 for row in metrics)
    assert all(math.isfinite(row["objective/loss"]) and row["update/grad_norm"] > 0 for row in metrics)


@pytest.mark.parametrize("name", list(CANNOT_WRITE))
def test_a_model_that_cannot_be_written_from_is_refused_by_name_before_anything_is_written(name, tmp_path):
    folder = save(tmp_path / "model", name)
    with pytest.raises(StudentError, match=CANNOT_WRITE[name][0]):
        train(config_for(tmp_path, folder), quiet=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", list(WITH_STATES))
@torch.no_grad()
def test_a_row_with_a_state_is_written_as_if_it_were_alone(name):
    model = make_model(name)
    owner = torch.tensor([0, 2, 1, 1, 2, 0])  # rows of a prompt need not be neighbours
    decoder = PromptwiseDecoder(model, PROMPTS, owner)
    rows = [list(PROMPTS[index]) for index in owner]
    logits, generator = decoder.logits, torch.Generator().manual_seed(1)
    for position in range(6):
        for row, found in zip(rows, logits, strict=True):
            torch.testing.assert_close(found, model(torch.tensor([row])).logits[0, -1], rtol=0, atol=1e-4)
        if position in (1, 3):
            kept = torch.tensor([1, 2, 4] if position == 1 else [0, 2])  # a prompt's last row ends, too
            decoder.keep(kept)
            rows = [rows[index] for index in kept]
        tokens = torch.randint(8, 90, (len(rows),), generator=generator)
        for row, token in zip(rows, tokens.tolist(), strict=True):
            row.append(token)
        logits = decoder.step(tokens)


def test_only_what_a_mask_hides_is_padded():
    assert may_pad_prompts(make_model("gemma3"))
    assert not any(may_pad_prompts(make_model(name)) for name in WITH_STATES)


def test_every_error_of_the_trial_names_the_architecture(tmp_path, monkeypatch):
    folder = save(tmp_path / "model", "llama")

    def broken(*args, **rest):
        raise ZeroDivisionError("deep inside")

    monkeypatch.setattr("mopd.preflight.trial.open_decoder", broken)
    with pytest.raises(StudentError, match=r"LlamaForCausalLM.*ZeroDivisionError: deep inside"):
        train(config_for(tmp_path, folder), quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_decoder_that_forgets_is_found_before_the_run(tmp_path, monkeypatch):
    folder = save(tmp_path / "model", "llama")

    def forgetful(model, prompts, counts, shares_prefixes):
        return open_decoder(model, [prompt[-2:] for prompt in prompts], counts, shares_prefixes)

    monkeypatch.setattr("mopd.preflight.trial.open_decoder", forgetful)
    with pytest.raises(StudentError, match="of the probability to other tokens"):
        train(config_for(tmp_path, folder), quiet=True)


# --- what is kept in float32 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["llama", "gemma3", "qwen3_5", "deepseek_v3"])
def test_a_copy_in_half_precision_is_what_transformers_makes_of_the_file(name, tmp_path):
    folder = save(tmp_path / "model", name)
    model = load_student(str(folder), 0).model
    wanted = type(model).from_pretrained(folder, dtype=torch.bfloat16)
    got = copy_model(model, torch.bfloat16)
    ours, theirs = ({name: p.dtype for name, p in one.named_parameters()} for one in (got, wanted))
    assert ours == theirs
    assert all(torch.equal(a, b) for a, b in zip(got.buffers(), model.buffers(), strict=True))


def test_an_engine_takes_over_buffers_with_the_weights():
    student = as_student(make_model("deepseek_v3"), make_tokenizer())
    student.dtype = torch.bfloat16
    engine = LocalEngine(student, 4)
    (name,) = [name for name, _ in engine.model.named_buffers() if "score_correction" in name]
    assert engine.model.get_buffer(name).dtype == torch.float32
    other = copy_model(student.model)
    other.get_buffer(name).fill_(8.015625 + 2**-10)  # not a number of bfloat16
    engine.sync(other)
    assert torch.equal(engine.model.get_buffer(name), other.get_buffer(name))


def test_a_student_in_half_precision_with_float32_parts_samples(tmp_path):
    folder = save(tmp_path / "model", "deepseek_v3")
    train(config_for(tmp_path, folder, "compute.dtype='bfloat16'", "steps=1"), quiet=True)
    assert read_jsonl(tmp_path / "run" / "metrics.jsonl")[0]["importance/logprob_gap_nats"] < 0.1


# --- positions that depend on the length of a sequence --------------------------------------------------------------


def longrope(long):
    factors = {"short_factor": [1.0] * 4, "long_factor": [long] * 4, "original_max_position_embeddings": 64}
    return {
        "rope_parameters": {"rope_type": "longrope", "rope_theta": 10000.0, **factors},
        "original_max_position_embeddings": 64,
    }


def test_a_run_never_passes_the_length_at_which_positions_change(tmp_path):
    folder = save(tmp_path / "model", "phi3", **longrope(8.0))
    with pytest.raises(MopdError, match="longrope"):
        train(config_for(tmp_path, folder, "context.tokens=59"), quiet=True)
    assert not (tmp_path / "run").exists()
    assert load_student(str(folder), 0).window == 64
    with pytest.raises(MopdError, match="longrope"):
        train(config_for(tmp_path, folder, "objective.kind=grpo", "sampling.completion_tokens=60"), quiet=True)


def test_positions_that_do_not_change_leave_the_window_whole(tmp_path):
    folder = save(tmp_path / "model", "phi3", **longrope(1.0))
    assert load_student(str(folder), 0).window == 512


def test_prompts_padded_together_are_sampled_as_apart():
    student = as_student(make_model("gemma3"), make_tokenizer())
    assert not can_share_prefixes(student.model)
    engine = LocalEngine(student, 64)
    prompts = [SamplingRequest(prompt, 3, ("t", i)) for i, prompt in enumerate(PROMPTS)]
    together = engine.sample(prompts, Sampling(completion_tokens=5))
    apart = [engine.sample([prompt], Sampling(completion_tokens=5))[0] for prompt in prompts]
    assert [[r.token_ids for r in group] for group in together] == [[r.token_ids for r in group] for group in apart]


def test_a_cache_without_padding_needs_no_mask():
    decoder = CachedDecoder(make_model("mamba"), [PROMPTS[0]], torch.zeros(2, dtype=torch.long))
    assert decoder.mask is None
    assert decoder.step(torch.tensor([9, 9])).shape[0] == 2
