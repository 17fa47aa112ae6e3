"""Sampler, learner and teacher normalise over the same ids: those that a token has."""

import pytest
import torch

from mopd import train
from mopd.config import Sampling
from mopd.method.divergence import token_divergence
from mopd.method.predictions import Predictions
from mopd.models.student import as_student, copy_model
from mopd.rollouts.engine import SamplingRequest
from mopd.rollouts.local import LocalEngine
from mopd.runs.records import read_jsonl
from mopd.scoring.head import head_logits, row_logprobs
from mopd.scoring.rows import Row
from tests.architectures import make_model, make_tokenizer, save
from tests.builders import make_config
from tests.integration.test_pretrained import config_for


def tokenizer_with_gaps(count=20):
    """The tokenizer of characters with some of its ids moved up, so that no token has the old ones."""
    import json

    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    plain = make_tokenizer()
    made = json.loads(plain.backend_tokenizer.to_str())
    vocabulary = made["model"]["vocab"]
    moved = [token for token in vocabulary if token.isupper()][:count]
    for place, token in enumerate(moved):
        vocabulary[token] = len(plain) + place
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(made)),
        pad_token=plain.pad_token,
        bos_token=plain.bos_token,
        eos_token=plain.eos_token,
        model_max_length=512,
    )
    tokenizer.chat_template = plain.chat_template
    return tokenizer


def students():
    gaps = tokenizer_with_gaps()
    for name in ("llama", "gemma3", "qwen3_5"):
        yield pytest.param(lambda name=name: as_student(make_model(name, extra_rows=400), make_tokenizer()), id=name)
    yield pytest.param(lambda: as_student(make_model("llama", extra_rows=40), gaps), id="gaps")


@pytest.mark.parametrize("make", students())
@pytest.mark.parametrize("top_p", [1.0, 0.8])
def test_what_is_recorded_is_what_the_learner_computes(make, top_p):
    student = make()
    prompts = [tuple(student.tokenizer.encode_prompt([{"role": "user", "content": text}])) for text in ("1+1", "two?")]
    requests = [SamplingRequest(prompt, 8, ("test", i)) for i, prompt in enumerate(prompts)]
    sampled = LocalEngine(student, 64).sample(requests, Sampling(completion_tokens=8, top_p=top_p))
    for request, rollouts in zip(requests, sampled, strict=True):
        for rollout in rollouts:
            assert set(rollout.token_ids) <= student.tokenizer.token_ids
            scored = row_logprobs(student.model, [Row(request.prompt_ids, rollout.token_ids, rollout.is_own)])
            learner = scored.gather(-1, torch.tensor(rollout.token_ids)[:, None]).squeeze(-1)
            torch.testing.assert_close(torch.tensor(rollout.sampler_logprobs), learner.float(), rtol=0, atol=2e-4)


@pytest.mark.parametrize("make", students())
def test_an_id_that_no_token_has_has_no_probability_and_no_gradient(make):
    student = make()
    hidden = torch.randn(5, 32)
    unknown = [i for i in range(student.model.config.vocab_size) if i not in student.tokenizer.token_ids]
    for model in (student.model, copy_model(student.model)):
        predictions = Predictions(head_logits(model, hidden))
        whole = torch.full((5, model.config.vocab_size), -torch.inf)
        whole[:, : predictions.vocabulary] = predictions.whole()
        assert torch.isneginf(whole[:, unknown]).all()
        torch.testing.assert_close(whole.exp().sum(-1), torch.ones(5))
        assert torch.isfinite(predictions.entropies).all()
    teacher = Predictions(head_logits(student.model, torch.randn(5, 32)).detach())
    for overrides in ([], ["divergence.kind=forward_kl"], ["divergence.k=3"], ["divergence.support=full"]):
        predictions = Predictions(head_logits(student.model, hidden))
        student.model.zero_grad()
        losses = token_divergence(predictions, teacher, make_config(*overrides).divergence)
        assert torch.isfinite(losses).all()
        losses.sum().backward()
        grad = student.model.get_output_embeddings().weight.grad
        assert torch.isfinite(grad).all()
        assert grad[unknown].abs().max() == 0
        assert grad.abs().sum() > 0


def test_entropies_are_exact_beside_impossible_tokens_whatever_the_size_of_logits():
    logits = torch.tensor([[200.0, 199.0, -torch.inf], [-300.0, -torch.inf, -301.0]])
    wanted = torch.distributions.Categorical(logits=torch.tensor([1.0, 0.0])).entropy()
    torch.testing.assert_close(Predictions(logits).entropies, wanted.expand(2), rtol=0, atol=1e-4)


@pytest.mark.parametrize("setting", ["sampling.top_p=0.8", "sampling.top_p=0.5", "sampling.temperature=0.7"])
@pytest.mark.parametrize("rows", [0, 24, 400])
def test_no_loss_shrinks_by_what_is_cut_off(rows, setting, tmp_path):
    folder = save(tmp_path / "model", "llama", extra_rows=rows)
    train(config_for(tmp_path, folder, "steps=1", setting), quiet=True)
    (row,) = read_jsonl(tmp_path / "run" / "metrics.jsonl")
    assert row["importance/logprob_gap_nats"] < 1e-3
