"""Scoring and sampling change nothing: padding, packing, batching and the head agree with the plain model."""

import numpy as np
import pytest
import torch

from mopd.config import Sampling
from mopd.core.errors import StudentError
from mopd.models.embedded import EMBEDDED
from mopd.models.student import as_student
from mopd.rollouts.drawing import sample_tokens
from mopd.rollouts.engine import SamplingRequest
from mopd.rollouts.local import LocalEngine
from mopd.scoring import self_check
from mopd.scoring.head import row_logprobs
from mopd.scoring.rows import Row
from mopd.scoring.self_check import check_scoring


@pytest.fixture(scope="module")
def student():
    return as_student(*EMBEDDED["digits"].build(seed=3))


def plain_logprobs(model, row, temperature):
    """One row at a time through the model's own forward pass."""
    logits = model(torch.tensor([row.prefix + row.completion])).logits[0]
    start = len(row.prefix) - 1
    scored = logits[start : start + len(row.completion)][torch.tensor(row.loss_mask)]
    return (scored / temperature).log_softmax(-1)


ROWS = [
    Row((1, 8, 9, 10, 3), (8, 9, 2), (True, True, True)),
    Row((1, 8, 3), (9, 10, 11, 12, 2), (True, False, False, True, True)),
    Row((1, 8, 9, 10, 11, 12, 13, 14, 15, 3), (8,), (True,)),
]


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_padded_rows_score_like_single_rows(student, temperature):
    model = student.model.double()
    together = row_logprobs(model, ROWS, temperature)
    alone = torch.cat([plain_logprobs(model, row, temperature) for row in ROWS])
    assert together.shape == (3 + 3 + 1, 18)
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-10)


def test_half_precision_logits_are_normalised_in_float32(student):
    model = as_student(*EMBEDDED["digits"].build(seed=3)).model.bfloat16()
    logprobs = row_logprobs(model, ROWS)
    assert logprobs.dtype == torch.float32
    torch.testing.assert_close(logprobs.exp().sum(-1), torch.ones(7), rtol=0, atol=1e-5)


def test_logits_exist_only_for_loss_tokens(student):
    seen = []
    head = student.model.get_output_embeddings()
    handle = head.register_forward_hook(lambda module, args, output: seen.append(tuple(output.shape)))
    row_logprobs(student.model, ROWS)
    handle.remove()
    assert seen == [(7, 18)]


def test_a_model_whose_head_does_more_is_refused():
    model, _ = EMBEDDED["digits"].build(seed=0)
    check_scoring(model)
    model.config.logits_scaling = 3.0  # scoring would apply a scale that this model does not
    with pytest.raises(StudentError, match="differ by"):
        check_scoring(model)


@pytest.mark.parametrize("factor", [2.0, torch.nan])
def test_a_model_that_predicts_otherwise_among_other_rows_is_refused(factor):
    model, _ = EMBEDDED["digits"].build(seed=0)
    layer = model.get_decoder().layers[0]

    def touched(*args, **rest):
        hidden = type(layer).forward(layer, *args, **rest)
        return hidden if len(hidden) == 1 else hidden * factor

    layer.forward = touched
    with (
        pytest.warns(UserWarning, match="cannot share prefixes .hidden states differ by"),
        pytest.raises(StudentError, match="differ by"),
    ):
        check_scoring(model)


def test_a_model_with_attention_of_its_own_is_scored_row_by_row_and_rightly():
    """It adds to its hidden states what the row's last token was: nodes of a trie would see a neighbour's."""
    model, _ = EMBEDDED["digits"].build(seed=0)
    layer = model.get_decoder().layers[0]

    def shifted(hidden, *args, **rest):
        out = type(layer).forward(layer, hidden, *args, **rest)
        return out + torch.cat([torch.zeros_like(hidden[:, :1]), hidden[:, :-1]], dim=1)

    layer.forward = shifted
    with pytest.warns(UserWarning, match="cannot share prefixes .hidden states differ by"):
        check_scoring(model)


def test_a_model_that_rounds_much_by_itself_is_compared_in_double_precision():
    """What stands for rounding here: errors of float32 alone that depend on how many rows are read at once."""
    model, _ = EMBEDDED["digits"].build(seed=0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    layer = model.get_decoder().layers[0]

    def rounding(hidden, *args, **rest):
        out = type(layer).forward(layer, hidden, *args, **rest)
        return out * (1 + 1e-3 * len(hidden.flatten(0, 1)) * (out.dtype == torch.float32))

    layer.forward = rounding
    gap, largest = self_check._gap(model)
    assert gap > 1e-4 * largest
    check_scoring(model)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    model.config.logits_scaling = 1.01  # a fault of a hundredth is found among that rounding
    with pytest.raises(StudentError, match="differ by"):
        check_scoring(model)


def requests(student, count):
    prompts = ["31", "5", "8642097531", "777"]
    ids = [tuple(student.tokenizer.encode_prompt([{"role": "user", "content": p}])) for p in prompts]
    return [SamplingRequest(prompt, count, ("test", index)) for index, prompt in enumerate(ids)]


@pytest.mark.parametrize("max_rows", [1, 7, 512])
def test_batching_changes_no_sampled_token(student, max_rows):
    wanted = LocalEngine(student, 512).sample(requests(student, 6), Sampling(completion_tokens=12))
    got = LocalEngine(student, max_rows).sample(requests(student, 6), Sampling(completion_tokens=12))
    for ours, theirs in zip(got, wanted, strict=True):
        assert [r.token_ids for r in ours] == [r.token_ids for r in theirs]
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a.sampler_logprobs, b.sampler_logprobs, atol=1e-4)


def test_a_rollout_does_not_depend_on_how_many_there_are(student):
    few = LocalEngine(student, 512).sample(requests(student, 2), Sampling(completion_tokens=12))
    many = LocalEngine(student, 512).sample(requests(student, 9), Sampling(completion_tokens=12))
    assert [[r.token_ids for r in group] for group in few] == [[r.token_ids for r in group[:2]] for group in many]


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 1.0), (1.0, 0.8), (0.7, 0.3)])
def test_sampler_logprobs_are_those_the_learner_computes(student, temperature, top_p):
    engine = LocalEngine(student, 512)
    asked = requests(student, 4)
    sampling = Sampling(completion_tokens=12, temperature=temperature, top_p=top_p)
    for request, rollouts in zip(asked, engine.sample(asked, sampling), strict=True):
        for rollout in rollouts:
            row = Row(request.prompt_ids, rollout.token_ids, rollout.is_own)
            scored = row_logprobs(student.model, [row], temperature)
            learner = scored.gather(-1, torch.tensor(rollout.token_ids)[:, None]).squeeze(-1)
            np.testing.assert_allclose(rollout.sampler_logprobs, learner.detach().numpy(), atol=1e-4)


def test_completions_end_with_the_end_token_or_are_marked_truncated(student):
    rollouts = [
        r
        for group in LocalEngine(student, 512).sample(requests(student, 16), Sampling(completion_tokens=8))
        for r in group
    ]
    ends = student.tokenizer.end_ids
    assert {r.is_truncated for r in rollouts} == {True, False}
    for rollout in rollouts:
        assert rollout.is_truncated == (rollout.token_ids[-1] not in ends)
        assert not any(token in ends for token in rollout.token_ids[:-1])
        assert len(rollout.token_ids) == 8 or not rollout.is_truncated


def test_tokens_are_drawn_in_proportion_to_their_probability():
    logits = torch.tensor([[0.0, 1.0, -2.0, 3.0]])
    uniforms = (torch.arange(20000, dtype=torch.float64) + 0.5) / 20000
    tokens, logprobs = sample_tokens(logits.expand(20000, 4), uniforms, 1.0, 1.0)
    shares = torch.bincount(tokens, minlength=4) / 20000
    torch.testing.assert_close(shares, logits[0].softmax(-1), rtol=0, atol=1e-3)
    torch.testing.assert_close(logprobs, logits[0].double().log_softmax(-1)[tokens])


def test_top_p_keeps_the_smallest_set_that_holds_the_mass():
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]]))
    uniforms = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    tokens, logprobs = sample_tokens(logits.expand(1000, 4), uniforms, 1.0, 0.7)
    assert set(tokens.tolist()) == {0, 1}
    expected = torch.log(torch.tensor([0.5 / 0.8, 0.3 / 0.8], dtype=torch.float64))[tokens]
    torch.testing.assert_close(logprobs, expected, rtol=0, atol=1e-6)


def test_the_ends_of_the_unit_interval_draw_possible_tokens():
    logits = torch.tensor([[-torch.inf, 0.0, 0.0, -torch.inf]])
    tokens, _ = sample_tokens(logits.expand(2, 4), torch.tensor([0.0, 1.0 - 2**-53], dtype=torch.float64), 1.0, 1.0)
    assert tokens.tolist() == [1, 2]
