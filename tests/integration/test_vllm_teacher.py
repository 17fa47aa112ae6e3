"""A teacher on real vLLM servers: what it tells is what the same model computes here. `make test-vllm`."""

import copy
import json

import pytest
import torch

from mopd import load_config, resume, train
from mopd.config import DivergenceConfig, LiveTeacher, Sampling
from mopd.core.errors import RunError, ServerError
from mopd.core.types import Lesson
from mopd.learning.served_teacher import TeacherOnServers
from mopd.learning.teacher import Health, LocalTeacher
from mopd.method.divergence import token_divergence
from mopd.method.predictions import Predictions
from mopd.models.student import load_student
from mopd.rollouts.served import ServedEngine
from mopd.runs.records import read_jsonl
from mopd.scoring.scorer import Scorer
from tests.integration.test_vllm_engine import before, requests_of

pytestmark = pytest.mark.vllm

K = 20
TEACHER = ("teacher.kind='served'", "divergence.support='teacher_top_k'", f"divergence.k={K}", "teacher.retries=1")


@pytest.fixture(scope="module")
def student(two_servers):
    """The student, whose weights the servers have."""
    config = load_config(two_servers[0])
    found = load_student(config.student, config.seed, config.compute)
    ServedEngine(config.engine, found, config.compute)
    return found


@pytest.fixture(scope="module")
def lessons(two_servers, student):
    """Rollouts of some problems, each behind the prompt of the next problem as its context."""
    config = load_config(two_servers[0])
    engine, requests = ServedEngine(config.engine, student, config.compute), requests_of(student, 3, 2)
    groups = engine.sample(requests, Sampling(completion_tokens=8))
    return [
        Lesson("p", "d", rollout, request.prompt_ids, requests[index - 1].prompt_ids)
        for index, (request, group) in enumerate(zip(requests, groups, strict=True))
        for rollout in group
    ]


def make_teacher(two_servers, student, url=None):
    servers = [url] if url else list(two_servers[1])
    config = load_config(two_servers[0], [*TEACHER, f"teacher.servers={json.dumps(servers)}"])
    return TeacherOnServers(config.served_teacher, config, student.tokenizer.token_ids, torch.device("cpu"))


def test_what_it_tells_is_what_the_same_model_computes_here(two_servers, student, lessons):
    served = make_teacher(two_servers, student).read(lessons)
    local = LocalTeacher(student.model, LiveTeacher(), Scorer(torch.float32)).read(lessons)
    config = DivergenceConfig(support="teacher_top_k", k=K)
    for index, lesson in enumerate(lessons):
        numbers = range(len(lesson.rollout.token_ids))
        told, computed = served([index])(numbers), local([index])(numbers)
        ids = torch.tensor(lesson.rollout.token_ids)
        torch.testing.assert_close(told.of(ids), computed.of(ids), rtol=0, atol=2e-3)
        assert torch.equal(told.top(5).sort().values, computed.top(5).sort().values)
        logits = torch.randn(len(ids), student.tokenizer.size, generator=torch.Generator().manual_seed(index))
        found = [token_divergence(Predictions(logits), teacher, config) for teacher in (told, computed)]
        torch.testing.assert_close(*found, rtol=0, atol=1e-3)


def test_a_teacher_that_dies_is_named_after_bounded_attempts_and_one_that_lies_is_not_believed(
    two_servers, student, lessons
):
    state = {"says": None}

    def spoil(path, status, said):
        if path != "/v1/completions" or state["says"] is None:
            return None
        return (500, b"dead") if state["says"] == "dead" else state["says"](status, said)

    def without_a_place(status, said):
        if status != 200:
            return None
        answer = json.loads(said)
        answer["choices"][0]["prompt_logprobs"].pop()
        return 200, json.dumps(answer).encode()

    with before(two_servers[1][0], spoil) as proxy:
        teacher = make_teacher(two_servers, student, proxy.url)
        teacher.read(lessons[:1])
        for says, expected in (("dead", "HTTP 500: dead"), (without_a_place, "log-probabilities of")):
            state["says"] = says
            with pytest.raises(ServerError, match=f"none did in 2 attempts.*{expected}"):
                teacher.read(lessons[:1])
            assert teacher.follow(None, Health(0, 0), 0)["teacher/retries_count"] == 1


def test_a_run_under_a_served_teacher(two_servers, student, tmp_path):
    """Its teacher is the student itself, which tells the student nothing new: the loss is rounding alone."""
    file, urls, _ = two_servers
    overrides = ["divergence.support='teacher_top_k'", f"divergence.k={K}", f"run='{tmp_path / 'run'}'"]
    overrides += [
        "peers={recipe='fixed', successes=0, failures=0, require_success=false}",
        "preflight.action='off'",
        "steps=1",
        "group_size=2",
    ]
    overrides += ["problems.held_out=2", "evaluation.rollouts=1", "sampling.completion_tokens=8", "problems_per_step=2"]
    values = load_config(file).model_dump(mode="json") | {
        "engine": {"kind": "local"},
        "teacher": {"kind": "served", "servers": [urls[0]]},
    }
    config = load_config(values, overrides)
    train(config, quiet=True)
    (row,) = read_jsonl(tmp_path / "run" / "metrics.jsonl")
    assert row["lessons/count"] == 4
    assert -1e-7 < row["objective/loss"] < 1e-4  # below 0 by rounding alone
    assert abs(row["teacher/logprob_gain_nats"]) < 1e-2
    assert row["teacher/retries_count"] == 0
    check_that_another_teacher_is_refused(config, load_config(file).engine, student, urls, tmp_path / "run")


def check_that_another_teacher_is_refused(config, engine, student, urls, run):
    """The second server gets other weights: the run does not go on with it, nor with both."""
    engine = engine.model_copy(update={"servers": [urls[1]]})
    other, generator = copy.deepcopy(student.model), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in other.model.layers.parameters():
            weight.add_(0.02 * torch.randn(weight.shape, generator=generator))
    give(engine, student, config, other)
    for servers, expected, error in (
        ([urls[1]], "nats away on average", RunError),
        (list(urls), "nats from", ServerError),
    ):
        changed = config.model_copy(update={"teacher": config.teacher.model_copy(update={"servers": servers})})
        with pytest.raises(error, match=expected):
            resume(run, expected=changed.model_copy(update={"steps": 2}), quiet=True)
    give(engine, student, config, student.model)
    assert resume(run, expected=config.model_copy(update={"steps": 2}), quiet=True)["steps"] == 2


def give(engine, student, config, model):
    """Servers read weights before they are next asked."""
    served = ServedEngine(engine, student, config.compute)
    served.sync(model)
    served.sample(requests_of(student, 1, 1), Sampling(completion_tokens=1))
