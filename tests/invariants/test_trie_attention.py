"""Every strategy gives, for a trie, what the model's own attention gives row by row, and the same gradients."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mopd.scoring.attention import STRATEGIES, choose_strategy, forward, forwards_replaced, read_trie, using_strategy
from mopd.scoring.attention.layout import last_descendants, segments_of
from mopd.scoring.attention.segments import batch_by_size
from mopd.scoring.trie import build_trie
from tests.architectures import make_model

CPU = torch.device("cpu")
LEARNING = [name for name in STRATEGIES if name != "flex"]
"""Torch has no backward pass of flex attention on a CPU."""

SHARED = tuple(range(3, 16))
SEQUENCES = [
    (*SHARED, 5, 6, 7),
    (*SHARED, 5, 6, 7, 8, 9, 10, 11),
    SHARED,
    (*SHARED[:6], 4, 4),
    (*SHARED[:6], 4, 5, *SHARED),
    (*SHARED, 5, 6, 7),
    (17,),
    (18, 18, 18, 18, 18, 18),
    (*SHARED, 5, 9),
]
"""Shared beginnings, one the beginning of another, equal ones, a single token."""


@pytest.fixture(autouse=True)
def small_limits(monkeypatch):
    """So that a segment has several blocks, and `mixed` has long paths."""
    monkeypatch.setattr("mopd.scoring.attention.blocks.BLOCK", 4)
    for limit in ("LONG", "LONG_IN_HALF"):
        monkeypatch.setattr(f"mopd.scoring.attention.strategies.{limit}", 12)


def lively(model):
    """Random weights large enough that attention is far from uniform: as built, a wrong mask would hardly show."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(6)
    return model


def in_float64(model):
    """The model in float64 throughout: transformers' RMSNorm computes in float32, whatever its input."""
    for parent in list(model.modules()):
        for name, norm in list(parent.named_children()):
            if hasattr(norm, "variance_epsilon"):
                exact = torch.nn.RMSNorm(norm.weight.shape, norm.variance_epsilon)
                exact.weight = norm.weight
                setattr(parent, name, exact)
    return model.double()


def row_by_row(model, sequences):
    """Last hidden states of all sequences, by the model's own attention."""
    decoder = model.get_decoder()
    rows = [decoder(input_ids=torch.tensor([ids]), use_cache=False).last_hidden_state[0] for ids in sequences]
    return torch.cat(rows)


def as_trie(model, sequences, name):
    """The same by strategy `name`."""
    trie = build_trie(sequences)
    with using_strategy(name):
        states = read_trie(model, trie)
    return states[torch.from_numpy(np.concatenate(trie.paths))]


def loss_of(model, states):
    """A cross-entropy whose targets are arbitrary, and the log-probabilities."""
    logprobs = model.get_output_embeddings()(states).float().log_softmax(-1)
    targets = torch.arange(len(states)) * 7 % logprobs.shape[-1]
    return -logprobs.gather(-1, targets[:, None]).mean(), logprobs


def gradients(model, loss):
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "olmo2", "gpt_neox"])
@pytest.mark.parametrize("name", LEARNING)
def test_hidden_states_and_gradients_are_those_of_row_by_row(architecture, name):
    model = in_float64(lively(make_model(architecture)))
    wanted, got = row_by_row(model, SEQUENCES), as_trie(model, SEQUENCES, name)
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-8)
    weights = torch.sin(torch.arange(wanted.numel(), dtype=torch.float64)).view_as(wanted)
    ours, theirs = (gradients(model, (states * weights).sum()) for states in (got, wanted))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "olmo2", "gpt_neox"])
@pytest.mark.parametrize("name", LEARNING)
def test_in_float32_they_agree_within_rounding(architecture, name):
    model = lively(make_model(architecture))
    (theirs, wanted), (ours, got) = (
        loss_of(model, states) for states in (row_by_row(model, SEQUENCES), as_trie(model, SEQUENCES, name))
    )
    torch.testing.assert_close(got, wanted, rtol=0, atol=5e-4)
    assert abs(ours.item() - theirs.item()) < 1e-6 * max(1, abs(theirs.item()))
    one, other = (torch.cat([g.flatten() for g in gradients(model, loss)]) for loss in (ours, theirs))
    assert (one - other).norm() < 5e-5 * other.norm()


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "olmo2", "gpt_neox"])
def test_flex_attention_sees_the_same(architecture):
    model = in_float64(lively(make_model(architecture)))
    with torch.no_grad():
        wanted, got = row_by_row(model, SEQUENCES), as_trie(model, SEQUENCES, "flex")
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-8)


TOKENS = st.lists(st.integers(0, 2), min_size=1, max_size=14).map(tuple)


@settings(max_examples=60, deadline=None)
@given(st.lists(TOKENS, min_size=1, max_size=10), st.sampled_from([(2, 1), (2, 2), (6, 2)]), st.integers(0, 99))
def test_strategies_agree_on_any_sequences(sequences, heads, seed):
    """Outputs and gradients, against a softmax over each sequence by itself."""
    trie = build_trie(sequences)
    generator = torch.Generator().manual_seed(seed)
    shapes = [(len(trie.token_ids), count, 4) for count in (heads[0], heads[1], heads[1])]
    states = [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]
    wanted = torch.zeros(shapes[0], dtype=torch.float64)
    for path in map(torch.from_numpy, trie.paths):
        q, *others = (given[path].transpose(0, 1) for given in states)
        k, v = (other.repeat_interleave(heads[0] // heads[1], 0) for other in others)
        scores = (q @ k.transpose(1, 2) * 0.7).masked_fill(torch.ones(len(path), len(path)).triu(1) > 0, -torch.inf)
        wanted = wanted.index_copy(0, path, (scores.softmax(-1) @ v).transpose(0, 1))
    weights = torch.randn(shapes[0], generator=generator, dtype=torch.float64)
    slopes = torch.autograd.grad((wanted * weights).sum(), states)
    for name in LEARNING:
        got = STRATEGIES[name](trie, CPU)(*states, 0.7)
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-10)
        for ours, theirs in zip(torch.autograd.grad((got * weights).sum(), states), slopes, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)


@given(st.lists(TOKENS, min_size=1, max_size=10))
def test_ancestors_are_an_interval_and_segments_are_the_row(sequences):
    trie = build_trie(sequences)
    last = last_descendants(trie).tolist()
    seen = {(int(query), int(key)) for path in trie.paths for at, query in enumerate(path) for key in path[: at + 1]}
    size = len(last)
    assert seen == {(query, key) for key in range(size) for query in range(key, last[key] + 1)}
    rows = [segment.start + offset for segment in segments_of(trie) for offset in range(segment.new)]
    assert rows == list(range(size))


@given(st.lists(TOKENS, min_size=1, max_size=20), st.sampled_from([0, 8, 2**11]), st.sampled_from([1, 50, 2**18]))
def test_every_segment_is_in_one_batch_however_batches_are_made(sequences, same, largest):
    segments = segments_of(build_trie(sequences))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mopd.scoring.attention.segments.SAME", same)
        patch.setattr("mopd.scoring.attention.segments.LARGEST", largest)
        batches = batch_by_size(segments)
    assert sorted(index for batch in batches for index in batch) == list(range(len(segments)))
    for batch in batches:
        members = [segments[index] for index in batch]
        assert members[-1].new == max(member.new for member in members)
        padded = len(members) * members[-1].new * max(len(member.path) for member in members)
        assert len(members) == 1 or padded <= largest


def test_the_strategy_follows_the_device_unless_one_is_named():
    assert choose_strategy(torch.device("cuda")) == "flex"
    assert choose_strategy(CPU) == "mixed"
    with using_strategy("dense"):
        assert choose_strategy(CPU) == "dense"
    assert choose_strategy(CPU) == "mixed"


@pytest.mark.parametrize(
    ("dtype", "learning", "autocast", "computes_in"),
    [
        (torch.float32, False, True, torch.bfloat16),
        (torch.float32, True, True, torch.float32),
        (torch.bfloat16, True, True, torch.float32),
        (torch.bfloat16, False, False, torch.bfloat16),
        (torch.bfloat16, True, False, torch.float32),
        (torch.float32, False, False, torch.float32),
        (torch.float64, True, True, torch.float64),
    ],
)
def test_on_a_cpu_learning_attends_in_float32_and_reading_as_autocast_says(dtype, learning, autocast, computes_in):
    with torch.set_grad_enabled(learning), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        assert forward.attention_dtype(torch.zeros(1, dtype=dtype)) == computes_in


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("as_weights", [True, False])
def test_half_precision_is_near_float32(name, as_weights):
    model = make_model("llama")
    with torch.no_grad():
        wanted = as_trie(model, SEQUENCES, "dense")
        half = model.bfloat16() if as_weights else model
        with torch.autocast("cpu", torch.bfloat16, enabled=not as_weights):
            got = as_trie(half, SEQUENCES, name)
    assert (got.float() - wanted).norm() < 2e-2 * wanted.norm()


@pytest.mark.long
def test_layers_may_be_compiled_and_tries_may_grow():
    """Attention stays outside the graphs: they are made for all sizes, and none holds a trie."""
    model = lively(make_model("llama"))
    expected, tries = [], [SEQUENCES[:3], SEQUENCES[:5], SEQUENCES, SEQUENCES[3:], SEQUENCES[1:]]
    for sequences in tries:
        loss, _ = loss_of(model, as_trie(model, sequences, "mixed"))
        expected.append((loss.item(), gradients(model, loss)))
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    for layer in model.model.layers:
        layer.compile(dynamic=True, backend="eager")
    graphs = []
    for sequences, (wanted, slopes) in zip(tries, expected, strict=True):
        with torch.no_grad():
            assert loss_of(model, as_trie(model, sequences, "mixed"))[0].item() == pytest.approx(wanted, rel=1e-5)
        loss, _ = loss_of(model, as_trie(model, sequences, "mixed"))
        assert loss.item() == pytest.approx(wanted, rel=1e-5)
        for ours, theirs in zip(gradients(model, loss), slopes, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)
        graphs.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    torch._dynamo.reset()
    assert graphs[0] > 0
    assert graphs[-1] == graphs[0]


GROWTH = """
import resource, sys, torch
from mopd.scoring.trie import build_trie
from mopd.scoring.attention import read_trie, using_strategy
from tests.architectures import make_model

torch.set_num_threads(1)
model = make_model("llama")

def learn(length):
    with using_strategy("blocks"):
        first = [3 + i % 7 for i in range(length)]
        states = read_trie(model, build_trie([first, [3, 3], first[:-9] + [2]]))
    states.square().sum().backward()

learn(64)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
learn(6144)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.long
def test_memory_of_long_segments_is_far_below_their_scores():
    """The process's peak grows, forward and backward of two layers, by less than a fifth of one layer's scores."""
    ran = subprocess.run([sys.executable, "-c", GROWTH], capture_output=True, text=True, check=True)
    scores = 4 * 6144**2 * 4 / 1024  # heads, nodes squared, bytes: in KiB
    assert int(ran.stdout) < scores / 5


def test_a_layers_own_forward_comes_back_be_it_its_classes_or_a_hooks():
    layers = [torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)]
    hook = layers[0].forward = lambda x: x
    with forwards_replaced(layers, [abs, abs]):
        assert [layer.forward for layer in layers] == [abs, abs]
    assert layers[0].forward is hook
    assert "forward" not in vars(layers[1])


@pytest.mark.parametrize("name", ["cpu", "cpu:0", "cuda:1"])
def test_the_mask_of_flex_attention_is_made_on_the_very_device_of_the_model(name, monkeypatch):
    from torch.nn.attention import flex_attention

    from mopd.scoring.attention import flex

    asked = []
    monkeypatch.setattr(flex_attention, "create_block_mask", lambda *args, device: asked.append(device))
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, device: tensor)
    flex.flex(build_trie(SEQUENCES), torch.device(name))
    assert asked == [name]
