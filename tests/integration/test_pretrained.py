"""Pretrained students of several architectures: scored, trained a step, saved and opened again; bad ones are named."""

import json
import math
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from mopd import resume, train
from mopd.cli import main
from mopd.config import ChatConfig, Sampling, build_config
from mopd.core.errors import ProblemError, StudentError
from mopd.models.student import as_student, load_student
from mopd.rollouts.cached import CachedDecoder
from mopd.rollouts.decoding import SharedPromptDecoder
from mopd.rollouts.engine import SamplingRequest
from mopd.rollouts.local import LocalEngine
from mopd.rollouts.recorded import RecordedDecoder
from mopd.runs.checkpoint import latest_checkpoint
from mopd.runs.records import read_jsonl
from mopd.scoring.head import row_logprobs
from mopd.scoring.hidden_states import can_share_prefixes
from mopd.scoring.rows import Row
from mopd.scoring.self_check import check_scoring
from tests.architectures import ARCHITECTURES, THINKING_TEMPLATE, make_model, make_tokenizer, save
from tests.builders import UNMEASURED

SMOLLM2 = Path(__file__).parents[2] / "models" / "SmolLM2-135M-Instruct"
needs_smollm2 = pytest.mark.skipif(not (SMOLLM2 / "config.json").is_file(), reason="`make smollm2` has not been run")


def problem_file(path, system=None, count=12):
    rows = [{"id": f"p{i}", "prompt": f"What is {i} + {i}?", "answer": str(2 * i)} for i in range(count)]
    path.write_text("".join(json.dumps(row | ({"system": system} if system else {})) + "\n" for row in rows))
    return path


def config_for(tmp_path, folder, *overrides, system=None):
    """Two steps in which every rollout with a failed peer has a lesson: random weights solve nothing."""
    source = problem_file(tmp_path / "problems.jsonl", system)
    return build_config(
        {},
        [
            *UNMEASURED,
            f"student='{folder}'",
            f"run='{tmp_path / 'run'}'",
            f"problems.source='{source}'",
            "problems.held_out=2",
            "steps=2",
            "group_size=4",
            "problems_per_step=2",
            "sampling.completion_tokens=6",
            "context.tokens=400",
            "peers.require_success=false",
            "peers.truncated_failures=true",
            "checkpoint.every=1",
            "optimizer.learning_rate=1e-3",
            "optimizer.warmup_steps=0",
            "compute.threads=1",
            *overrides,
        ],
    )


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_scoring_agrees_with_the_model_row_by_row(name):
    model = make_model(name).double()
    check_scoring(model)
    rows = [
        Row(tuple(range(8, 20)), (21, 22, 23, 2), (True,) * 4),
        Row(tuple(range(8, 20)), (21, 24, 2), (True, False, True)),
        Row(tuple(range(8, 18)), (30, 31), (True,) * 2),
        Row((8, 40), (41,), (True,)),
    ]
    got = row_logprobs(model, rows)
    alone = []
    for row in rows:
        logits = model(torch.tensor([row.token_ids])).logits[0].log_softmax(-1)
        alone.append(logits[row.scored_from])
    torch.testing.assert_close(got, torch.cat(alone), rtol=0, atol=2e-6)  # their norms round to float32 inside


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_a_model_that_cannot_share_prefixes_is_scored_row_by_row_with_one_warning(name):
    model = make_model(name)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            assert can_share_prefixes(model) == (name != "gemma3")  # it has sliding windows
    assert [str(one.message) for one in caught if "row by row" in str(one.message)] == [
        "Gemma3ForCausalLM cannot share prefixes (full_attention, sliding_attention): it is scored row by row, "
        "which is as exact, and slower"
    ] * (name == "gemma3")


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_gradients_do_not_depend_on_how_rows_are_packed(name):
    rows = [Row((8, 9, 10, 11), (12 + i, 13, 2), (True,) * 3) for i in range(3)]
    gradients = []
    for packs in ([rows], [[row] for row in rows]):
        model = make_model(name).double()
        for pack in packs:
            row_logprobs(model, pack)[:, 7].sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert gradients[0].abs().sum() > 0
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_what_is_sampled_has_the_log_probabilities_the_learner_computes(name):
    student = as_student(make_model(name), make_tokenizer())
    prompts = ["What is two plus two? Say the number.", "1+1"]  # one is longer than a sliding window of 8
    ids = [tuple(student.tokenizer.encode_prompt([{"role": "user", "content": p}])) for p in prompts]
    requests = [SamplingRequest(prompt, 5, ("test", index)) for index, prompt in enumerate(ids)]
    for request, rollouts in zip(
        requests, LocalEngine(student, 64).sample(requests, Sampling(completion_tokens=10)), strict=True
    ):
        for rollout in rollouts:
            scored = row_logprobs(student.model, [Row(request.prompt_ids, rollout.token_ids, rollout.is_own)])
            learner = scored.gather(-1, torch.tensor(rollout.token_ids)[:, None]).squeeze(-1)
            torch.testing.assert_close(torch.tensor(rollout.sampler_logprobs), learner.float(), rtol=0, atol=2e-4)


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name != "gemma3"])
@torch.no_grad()
def test_both_decoders_give_the_same_logits_while_rows_finish(name):
    model = make_model(name).double()
    prompts = [tuple(range(8, 20)), (8, 9, 40), tuple(range(8, 20))]
    unique, owner = list(dict.fromkeys(prompts)), torch.tensor([0, 0, 1, 1, 1, 0])
    fixed = SharedPromptDecoder(model, unique, owner, has_fixed_shapes=True)
    decoders = [
        SharedPromptDecoder(model, unique, owner),
        CachedDecoder(model, unique, owner),
        RecordedDecoder(fixed, played_in_place),
    ]
    for decoder in decoders[1:]:
        torch.testing.assert_close(decoders[0].logits, decoder.logits, rtol=0, atol=1e-6)
    rng = torch.Generator().manual_seed(1)
    rows = 6
    for position in range(40):  # over the room that is made at first for written tokens
        if position in (3, 20, 35, 38):
            kept = torch.arange(rows)[1:]
            rows -= 1
            for decoder in decoders:
                decoder.keep(kept)
        tokens = torch.randint(8, 90, (rows,), generator=rng)
        logits = [decoder.step(tokens) for decoder in decoders]
        assert logits[0].shape == (rows, model.config.vocab_size)
        for other in logits[1:]:
            torch.testing.assert_close(logits[0], other, rtol=0, atol=1e-6)


def played_in_place(compute):
    """As a CUDA graph is played: every time into the same tensor, from the tensors that there were when recorded."""
    places = []

    def play():
        logits = compute()
        places[:] = places or [torch.empty_like(logits)]
        return places[0].copy_(logits)

    return play


@torch.no_grad()
def test_steps_are_recorded_anew_only_when_half_the_rows_have_left_or_the_room_has_grown():
    model, recorded = make_model("llama"), []
    decoder = SharedPromptDecoder(model, [(8, 9, 10)], torch.zeros(8, dtype=torch.long), has_fixed_shapes=True)
    decoder = RecordedDecoder(decoder, lambda compute: recorded.append(1) or compute)
    rows = 8
    for position in range(70):
        if position in (5, 6, 7, 8):
            decoder.keep(torch.arange(rows - 1))
            rows -= 1
        assert decoder.step(torch.full((rows,), 8)).shape[0] == rows
        assert len(recorded) == (position > 0) + (position >= 8) + (position >= 32) + (position >= 64)
    assert len(decoder.decoder.owner) == 4


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_every_architecture_trains_a_step_is_saved_and_opened_again(name, tmp_path):
    folder = save(tmp_path / "model", name)
    config = config_for(tmp_path, folder)
    summary = train(config, quiet=True)
    metrics = read_jsonl(tmp_path / "run" / "metrics.jsonl")
    assert all(row["lessons/count"] > 0 for row in metrics)
    assert all(math.isfinite(row["objective/loss"]) and row["update/grad_norm"] > 0 for row in metrics)
    assert abs(metrics[0]["importance/logprob_gap_nats"]) < 1e-3
    saved = tmp_path / "run" / "checkpoints" / "step-2"
    opened = AutoModelForCausalLM.from_pretrained(saved)
    before, after = AutoModelForCausalLM.from_pretrained(folder), load_student(str(saved), 0).model
    moved = [not torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(), strict=True)]
    assert any(moved)
    for one, other in zip(opened.parameters(), after.parameters(), strict=True):
        assert torch.equal(one, other)
    # the run goes on from its first checkpoint to the same end, without the folder it began with
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-2")
    (tmp_path / "run" / "summary.json").unlink()
    folder.rename(tmp_path / "elsewhere")
    again = resume(tmp_path / "run", quiet=True)
    assert again["after"]["successes_by_problem"] == summary["after"]["successes_by_problem"]
    finished = load_student(str(latest_checkpoint(tmp_path / "run" / "checkpoints")), 0).model
    for one, other in zip(finished.parameters(), after.parameters(), strict=True):
        assert torch.equal(one, other)


def test_bfloat16_products_keep_float32_weights(tmp_path):
    folder = save(tmp_path / "model", "llama")
    train(config_for(tmp_path, folder, "compute.dtype='bfloat16'"), quiet=True)
    metrics = read_jsonl(tmp_path / "run" / "metrics.jsonl")
    assert all(math.isfinite(row["objective/loss"]) and row["update/grad_norm"] > 0 for row in metrics)
    assert 0 < metrics[0]["importance/logprob_gap_nats"] < 0.1  # sampled with bfloat16 weights
    weights = load_student(str(tmp_path / "run" / "checkpoints" / "step-2"), 0).model.parameters()
    assert all(p.dtype == torch.float32 and not torch.equal(p, p.bfloat16().float()) for p in weights if p.dim() > 1)


def test_ids_without_a_token_are_never_sampled():
    student = as_student(make_model("llama", extra_rows=400), make_tokenizer())
    ids = tuple(student.tokenizer.encode_prompt([{"role": "user", "content": "1+1"}]))
    (rollouts,) = LocalEngine(student, 64).sample([SamplingRequest(ids, 32, ("test",))], Sampling(completion_tokens=12))
    assert max(token for rollout in rollouts for token in rollout.token_ids) < student.tokenizer.size


# --- chat templates -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("thinks", [True, False])
def test_prompt_and_context_open_the_answer_alike_thinking_or_not(thinks, tmp_path):
    folder = save(tmp_path / "model", "qwen3", chat_template=THINKING_TEMPLATE)
    config = config_for(tmp_path, folder, f"chat.options={{enable_thinking={str(thinks).lower()}}}", "steps=1")
    train(config, quiet=True)
    student = load_student(str(folder), 0, chat_options=config.chat.options)
    prompt = student.tokenizer.render([{"role": "user", "content": "hi"}])
    assert prompt.endswith("[assistant] " if thinks else "[assistant] <think></think>")


def test_a_template_that_raises_on_a_system_turn_is_named(tmp_path):
    refusal = "{% if m.role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    template = "{% for m in messages %}" + refusal + "{{ m.content }}{% endfor %}>"
    folder = save(tmp_path / "model", "llama", chat_template=template)
    with pytest.raises(ProblemError, match="no system role") as error:
        train(config_for(tmp_path, folder, system="Be brief."), quiet=True)
    assert "put its text into the user turn" in error.value.do
    assert not (tmp_path / "run").exists()


def test_a_template_that_drops_a_system_turn_is_refused(tmp_path):
    template = "{% for m in messages if m.role != 'system' %}{{ m.content }}{% endfor %}>"
    folder = save(tmp_path / "model", "llama", chat_template=template)
    with pytest.raises(StudentError, match="shows a system turn"):
        train(config_for(tmp_path, folder, system="Be brief."), quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_template_that_hides_the_user_turn_is_refused(tmp_path):
    folder = save(tmp_path / "model", "llama", chat_template="always the same>")
    with pytest.raises(StudentError, match="shows the last user turn"):
        train(config_for(tmp_path, folder), quiet=True)


def test_peers_as_turns_are_refused_where_the_template_hides_them(tmp_path):
    folder = save(tmp_path / "model", "llama", chat_template="{{ messages[-1].content }}>")
    with pytest.raises(StudentError, match="shows earlier answers"):
        train(config_for(tmp_path, folder, "context.wording='peers_as_turns'"), quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_run_with_peers_as_turns_learns_from_them_and_shows_them(tmp_path, capsys):
    folder = save(tmp_path / "model", "llama")
    train(config_for(tmp_path, folder, "context.wording='peers_as_turns'", "steps=1"), quiet=True)
    (row,) = read_jsonl(tmp_path / "run" / "metrics.jsonl")
    assert row["peers/failures_mean"] > 0
    assert row["update/count"] == 1
    assert main(["show-context", str(tmp_path / "run")]) == 0
    assert "That was verified as wrong." in capsys.readouterr().out


# --- files that are no student --------------------------------------------------------------------------------------


def test_a_vocabulary_larger_than_the_model_is_refused(tmp_path):
    folder = save(tmp_path / "model", "llama")
    make_model("llama", extra_rows=-3).save_pretrained(folder)
    with pytest.raises(StudentError, match="has a row in its model's embedding"):
        train(config_for(tmp_path, folder), quiet=True)


def test_a_folder_without_weights_is_refused(tmp_path):
    folder = save(tmp_path / "model", "llama")
    (folder / "model.safetensors").unlink()
    with pytest.raises(StudentError, match="holds weights"):
        train(config_for(tmp_path, folder), quiet=True)


@pytest.mark.parametrize("left", [0, 4, 100, 5000])
def test_half_a_file_of_weights_is_named(left, tmp_path):
    folder = save(tmp_path / "model", "llama")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:left])
    with pytest.raises(StudentError, match=r"weights is whole") as error:
        train(config_for(tmp_path, folder), quiet=True)
    assert "fetch it again" in error.value.do


def test_a_pointer_in_place_of_weights_is_named(tmp_path):
    folder = save(tmp_path / "model", "llama")
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    with pytest.raises(StudentError, match="weights is whole"):
        load_student(str(folder), 0)


def test_a_missing_shard_is_named(tmp_path):
    folder = save(tmp_path / "model", "llama")
    make_model("llama").save_pretrained(folder, max_shard_size="20KB")
    (folder / "model.safetensors").unlink()
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 1
    assert load_student(str(folder), 0).window == 512
    shards[1].unlink()
    with pytest.raises(StudentError, match=shards[1].name):
        load_student(str(folder), 0)


def test_a_path_that_is_not_there_is_no_hub_id():
    for name in ("./models/none", "/nowhere/model", "a/b/c", "model.gguf"):
        with pytest.raises(StudentError, match="not exist"):
            load_student(name, 0)


def test_a_file_that_is_no_gguf_is_named(tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"GGML" + bytes(100))
    with pytest.raises(StudentError, match="begins with GGUF"):
        load_student(str(tmp_path / "model.gguf"), 0)
    (tmp_path / "model.gguf").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(StudentError, match="can open the student"):
        load_student(str(tmp_path / "model.gguf"), 0)


@pytest.mark.long
@pytest.mark.parametrize("environment", [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}])
def test_a_hub_that_cannot_be_reached_is_said_with_the_local_alternative(environment, tmp_path):
    variables = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"}
    variables |= environment | {"HF_HOME": str(tmp_path / "hub")}
    code = "from mopd.models.student import load_student; load_student('Qwen/Qwen3-0.6B', 0)"
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, timeout=120)
    assert "StudentError" in done.stderr
    assert "Qwen/Qwen3-0.6B" in done.stderr
    assert "--local-dir" in done.stderr
    assert ".gguf" in done.stderr


# --- the real one ---------------------------------------------------------------------------------------------------


@pytest.mark.long
@needs_smollm2
def test_smollm2_opens_from_its_folder_and_from_its_gguf_file():
    from_folder = load_student(str(SMOLLM2), 0)
    from_file = load_student(str(SMOLLM2.parent / "SmolLM2-135M-Instruct.Q4_1.gguf"), 0)
    assert from_folder.window == from_file.window == 8192
    assert from_folder.tokenizer.end_ids == frozenset([2])
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    assert from_folder.tokenizer.encode_prompt(messages) == from_file.tokenizer.encode_prompt(messages)
    for one, other in zip(from_folder.model.parameters(), from_file.model.parameters(), strict=True):
        assert torch.equal(one, other)
    assert can_share_prefixes(from_folder.model)
    prompt = tuple(from_folder.tokenizer.encode_prompt(messages))
    (rollouts,) = LocalEngine(from_folder, 8).sample(
        [SamplingRequest(prompt, 4, ("test",))], Sampling(completion_tokens=12, temperature=0.3)
    )
    assert any("Paris" in rollout.text for rollout in rollouts)


def test_chat_options_are_empty_unless_set():
    assert ChatConfig().options == {}
