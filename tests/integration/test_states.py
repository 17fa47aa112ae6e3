"""Architectures with states, caches and positions of their own: each trains as it samples, or is refused by name."""

import math

import pytest
import torch

from mopd import train
from mopd.config import Sampling
from mopd.core.errors import MopdError, StudentError
from mopd.models.student import as_student, copy_model, load_student
from mopd.rollouts.cached import CachedDecoder, PromptwiseDecoder, RereadingDecoder, decoder_class
from mopd.rollouts.decoding import open_decoder
from mopd.rollouts.engine import SamplingRequest
from mopd.rollouts.local import LocalEngine
from mopd.runs.records import read_jsonl
from mopd.scoring.head import row_logprobs
from mopd.scoring.hidden_states import can_share_prefixes
from mopd.scoring.rows import Row
from tests.architectures import WITH_STATES, WITHOUT_CACHE, make_model, make_tokenizer, save
from tests.integration.test_pretrained import config_for

PROMPTS = [tuple(range(8, 20)), (8, 9, 40), (50, 51, 52, 53, 54)]


SLOWER = ("qwen3_next", "mamba2", "jamba", "falcon_mamba", "lfm2_moe", "bamba", "zamba2", "olmo_hybrid", "openai_gpt")
"""Of which another in the list is of the same kind."""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.long] if name in SLOWER else [])
        for name in (*WITH_STATES, *WITHOUT_CACHE, "llama4")
    ],
)
def test_a_model_with_a_state_trains_on_what_it_samples(name, tmp_path):
    folder = save(tmp_path / "model", name, extra_rows=2)  # transformers adds a token to the tokenizer of some kinds
    train(config_for(tmp_path, folder), quiet=True)
    metrics = read_jsonl(tmp_path / "run" / "metrics.jsonl")
    assert all(row["importance/logprob_gap_nats"] < 1e-3 for row in metrics)
    assert all(math.isfinite(row["objective/loss"]) and row["update/grad_norm"] > 0 for row in metrics)


@pytest.mark.parametrize("name", [*WITH_STATES, *WITHOUT_CACHE])
@torch.no_grad()
def test_a_row_with_a_state_is_written_as_if_it_were_alone(name):
    model = make_model(name)
    assert decoder_class(model) is (PromptwiseDecoder if name in WITH_STATES else RereadingDecoder)
    owner = torch.tensor([0, 2, 1, 1, 2, 0])  # rows of a prompt need not be neighbours
    decoder = decoder_class(model)(model, PROMPTS, owner)
    rows = [list(PROMPTS[index]) for index in owner]
    logits, generator = decoder.logits, torch.Generator().manual_seed(1)
    for position in range(6):
        for row, found in zip(rows, logits, strict=True):
            wanted = model(torch.tensor([row]), use_cache=False).logits[0, -1]
            torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)
        if position in (1, 3):
            kept = torch.tensor([1, 2, 4] if position == 1 else [0, 2])  # a prompt's last row ends, too
            decoder.keep(kept)
            rows = [rows[index] for index in kept]
        tokens = torch.randint(8, 90, (len(rows),), generator=generator)
        for row, token in zip(rows, tokens.tolist(), strict=True):
            row.append(token)
        logits = decoder.step(tokens)


def test_only_what_a_mask_hides_is_padded():
    assert decoder_class(make_model("gemma3")) is CachedDecoder


ROWS = [
    Row(tuple(range(8, 8 + a)), tuple(range(30, 30 + b)), (True,) * b) for a, b in ((12, 9), (3, 2), (20, 1), (5, 17))
]


@pytest.mark.parametrize("name", [*WITH_STATES, *WITHOUT_CACHE, "llama4"])
def test_rows_learnt_together_have_the_gradient_of_rows_alone(name):
    """Padding behind a row reaches no earlier token, also through states, convolutions in chunks and experts."""
    model = make_model(name)
    ids = torch.tensor([token for row in ROWS for token in row.completion])
    row_logprobs(model, ROWS).gather(-1, ids[:, None]).sum().backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    for row in ROWS:
        own = model(input_ids=torch.tensor([row.token_ids]), use_cache=False).logits[0, row.scored_from]
        own.log_softmax(-1).gather(-1, torch.tensor(row.completion)[:, None]).sum().backward()
    wanted = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert found.keys() == wanted.keys()
    size = torch.sqrt(sum((gradient**2).sum() for gradient in wanted.values()))
    apart = torch.sqrt(sum(((found[name] - gradient) ** 2).sum() for name, gradient in wanted.items()))
    assert apart < 1e-5 * size


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
