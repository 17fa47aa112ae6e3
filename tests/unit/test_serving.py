"""Servers without servers: what a configuration must hold, how commands read, and what is made of answers."""

import math
import os

import pytest
import torch

from mopd.config import DivergenceConfig, build_config
from mopd.core.errors import ConfigError
from mopd.learning.served_teacher import whole_distributions
from mopd.method.divergence import token_divergence, top_k_support
from mopd.method.predictions import Predictions
from mopd.serving.answers import Told, read_completions, read_prompt
from mopd.serving.client import Unanswered
from mopd.serving.command import Served, server_commands

VLLM = {"student": "some/model", "engine": {"kind": "vllm"}}
SERVED = {"teacher": {"kind": "served"}, "divergence": {"support": "teacher_top_k"}}


def told_of(logprobs, own, k):
    """What a server tells of distributions [n, V]: the k most probable tokens, and the own one."""
    found = []
    for row, token in zip(logprobs, own.tolist(), strict=True):
        top = row.topk(k)
        found.append(Told(tuple(top.indices.tolist()), tuple(top.values.tolist()), token, row[token].item()))
    return found


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({**VLLM, "engine": {"kind": "vllm", "servers": ["127.0.0.1:8000"]}}, "named with its port"),
        ({**VLLM, "engine": {"kind": "vllm", "servers": ["http://a:1", "http://a:1/"], "folder": "x"}}, "stands once"),
        ({**VLLM, "engine": {"kind": "vllm", "servers": ["http://far:8000"]}}, "engine.folder must name"),
        ({**VLLM, "engine": {"kind": "vllm", "servers": []}}, "engine.servers"),
        ({**VLLM, "sampling": {"top_p": 0.9}}, "sampling.top_p = 1"),
        ({**VLLM, "evaluation": {"temperature": 0.001}}, "below 0.01"),
        ({"engine": {"kind": "vllm"}}, "serves pretrained students"),
        ({"teacher": {"kind": "served"}}, "teacher_top_k"),
        ({**SERVED, "sampling": {"temperature": 0.7}}, "temperature 1"),
        (
            {
                "teacher": {"kind": "served"},
                "divergence": {"kind": "sampled_reverse_kl"},
                "sampling": {"temperature": 2},
            },
            "1",
        ),
        ({**SERVED, "objective": {"contrast": {}}, "peers": {"successes": 1, "failures": 1}}, "whole distributions"),
    ],
)
def test_what_servers_cannot_do_is_refused(values, said):
    with pytest.raises(ConfigError) as error:
        build_config(values)
    assert said in str(error.value)


def test_what_servers_can_do_is_taken():
    assert build_config({**VLLM, "evaluation": {"top_p": 0.95}}).engine.kind == "vllm"
    config = build_config({**SERVED, "peers": {"successes": 0, "failures": 0}})
    assert config.is_taught_by_another
    tailless = {**SERVED, "sampling": {"temperature": 0.7}}
    tailless["divergence"] = {"support": "teacher_top_k", "tail": False}
    assert build_config(tailless).divergence.tail is False


@pytest.mark.parametrize("kind", ["jensen_shannon", "forward_kl", "reverse_kl"])
@pytest.mark.parametrize(("tail", "temperature"), [(True, 1.0), (False, 1.0), (False, 0.7)])
def test_a_served_teacher_gives_the_divergence_and_gradient_of_the_whole_one(kind, tail, temperature):
    torch.manual_seed(2)
    logits = 3 * torch.randn(6, 40)
    whole = Predictions(logits, temperature)
    own = torch.randint(40, (6,))
    told = whole_distributions(told_of(logits.log_softmax(-1), own, 5), 40, range(40))
    config = DivergenceConfig(kind=kind, support="teacher_top_k", k=5, tail=tail)
    found = []
    for teacher in (whole, Predictions(told, temperature)):
        student = torch.randn(6, 40, generator=torch.Generator().manual_seed(4)).requires_grad_()
        divergence = token_divergence(Predictions(student, temperature), teacher, config)
        divergence.sum().backward()
        found.append((divergence.detach(), student.grad))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-6)
    if temperature == 1:
        torch.testing.assert_close(Predictions(told).of(own), whole.of(own), rtol=1e-5, atol=1e-5)


def test_the_support_is_the_teachers_own_most_probable_tokens():
    student, teacher = Predictions(torch.tensor([[4.0, 0, 0, 0]])), Predictions(torch.tensor([[0.0, 0, 3, 4]]))
    s, t = top_k_support(student, teacher, 2, tail=True, of_teacher=True)
    torch.testing.assert_close(t[0, :2], teacher.whole()[0, [3, 2]])
    torch.testing.assert_close(s[0, :2], student.whole()[0, [3, 2]])


def test_ids_that_no_token_has_get_no_probability():
    found = whole_distributions([Told((1, 2), (-0.5, -1.5), 3, -4.0)], 6, [0, 1, 2, 3, 5])
    assert found[0, 4] == -torch.inf
    assert found[0, [0, 5]].exp().sum() + sum(map(math.exp, (-0.5, -1.5, -4.0))) == pytest.approx(1)
    told = read_prompt(
        {"choices": [{"prompt_logprobs": [None, {"4": entry(1, -0.1), "1": entry(2, -3.0)}]}]}, [1], [0, 1], 1, [0, 1]
    )
    assert (told[0].token_ids, told[0].own_id, told[0].own) == ((), 1, -3.0)


def entry(rank, logprob):
    return {"rank": rank, "logprob": logprob, "decoded_token": "x"}


@pytest.mark.parametrize(
    "told",
    [
        [None],
        [None, {}],
        [None, {"2": entry(1, -0.5)}],
        [None, {"1": entry(1, 0.5)}],
        [None, {"1": entry(1, float("nan"))}],
        [None, {"1": entry(1, -0.1), "2": entry(2, -0.1), "3": entry(3, -0.1), "4": entry(4, -1)}],
        [None, {"1": entry(1, -0.1), "2": entry(2, -0.1)}],
        None,
        "text",
    ],
)
def test_what_is_no_reading_of_a_prompt_is_no_answer(told):
    with pytest.raises(Unanswered):
        read_prompt({"choices": [{"prompt_logprobs": told}]}, [1], [0, 1], 2, range(9))


def test_a_completion_as_long_as_it_may_be_needs_no_end():
    choice = {"index": 0, "token_ids": [5, 6], "logprobs": {"token_logprobs": [-1.0, -0.5]}}
    (found,) = read_completions({"choices": [choice]}, 1, 2, frozenset({9}), 10)
    assert (found.token_ids, found.logprobs) == ((5, 6), (-1.0, -0.5))
    with pytest.raises(Unanswered, match="ends without one"):
        read_completions({"choices": [choice]}, 1, 3, frozenset({9}), 10)


def test_commands_say_what_the_run_needs():
    urls = ["http://127.0.0.1:8000", "http://127.0.0.1:8001"]
    on_cpu = server_commands(Served("m", "float32", 600, 64), urls, "env")
    assert "--no-enable-chunked-prefill" in on_cpu[0].words
    assert on_cpu[0].environment["VLLM_SERVER_DEV_MODE"] == "1"
    assert "CUDA_VISIBLE_DEVICES" not in on_cpu[0].environment
    assert on_cpu[0].words[0] == os.path.abspath("env/bin/python")
    on_gpus = server_commands(Served("m", "bfloat16", 600, 512, lora_rank=12, gpus=4), urls, "env", ["--seed", "1"])
    words = on_gpus[1].words
    assert [one.environment["CUDA_VISIBLE_DEVICES"] for one in on_gpus] == ["2", "3"]
    assert words[words.index("--max-lora-rank") + 1] == "16"
    assert words[words.index("--max-num-seqs") + 1] == "256"
    assert words[-2:] == ("--seed", "1")
    assert "--no-enable-chunked-prefill" not in words
    (teacher,) = server_commands(Served("t", "float32", 600, 64, told=20), urls[:1], "env")
    assert teacher.words[teacher.words.index("--max-logprobs") + 1] == "20"
    assert "VLLM_SERVER_DEV_MODE" not in teacher.environment
    with pytest.raises(ConfigError, match="rank of at most 512"):
        server_commands(Served("m", "float32", 600, 64, lora_rank=513), urls, "env")
