"""The engine on real vLLM servers: what they write, new weights, dead, slow and lying servers. `make test-vllm`."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from statistics import fmean

import psutil
import pytest
import torch

from mopd import load_config
from mopd.config import Sampling
from mopd.core.errors import ServerError
from mopd.models.student import load_student
from mopd.models.tokenizer import ChatTokenizer
from mopd.problems import load_problems
from mopd.rollouts.engine import SamplingRequest
from mopd.rollouts.served import ServedEngine
from mopd.scoring.rows import Row
from mopd.scoring.scorer import Scorer
from mopd.serving.fleet import Fleet
from mopd.serving.identity import identify
from tests.servers import ROOT, Proxy, is_up, serving

pytestmark = pytest.mark.vllm

SAMPLING = Sampling(completion_tokens=24)
AGREES = 1e-3
"""Mean distance of log-probabilities, in nats, between server and learner in float32."""


@pytest.fixture(scope="module")
def student(two_servers):
    config = load_config(two_servers[0])
    return load_student(config.student, config.seed, config.compute)


@pytest.fixture(scope="module")
def engine(two_servers, student):
    return make_engine(two_servers, student)


def make_engine(servers, student, *overrides):
    servers[2].wait_until_ready(servers[1])  # a test before may have killed one
    config = load_config(servers[0], list(overrides))
    return ServedEngine(config.engine, student, config.compute)


def requests_of(student, count=4, rollouts=4, purpose="rollout"):
    problems = load_problems(load_config({"problems": {"source": "tool-calls", "size": 200}}).problems).train
    encode = student.tokenizer.encode_prompt
    return [
        SamplingRequest(tuple(encode(problem.messages)), rollouts, (0, purpose, 0, problem.id))
        for problem in problems[:count]
    ]


def own_logprobs(student, request, rollout):
    """What the learner computes of a rollout's tokens."""
    scorer = Scorer(torch.float32)
    row = Row(request.prompt_ids, rollout.token_ids, rollout.is_own)
    with torch.no_grad():
        (states,) = scorer.read(student.model, [row])
        return scorer.predict(student.model, states, 1.0).of(torch.tensor(rollout.token_ids)).tolist()


def apart(student, requests, found):
    """The mean distance of log-probabilities between sampler and learner, in nats."""
    return fmean(
        abs(ours - theirs)
        for request, group in zip(requests, found, strict=True)
        for rollout in group
        for ours, theirs in zip(own_logprobs(student, request, rollout), rollout.sampler_logprobs, strict=True)
    )


def texts(found):
    return [rollout.token_ids for group in found for rollout in group]


@contextmanager
def changed(student, scale=0.05):
    """Within the block the student has other weights."""
    before = [parameter.detach().clone() for parameter in student.model.parameters()]
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in student.model.parameters():
            parameter += scale * parameter.std() * torch.randn(parameter.shape, generator=generator)
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, old in zip(student.model.parameters(), before, strict=True):
                parameter.copy_(old)


@contextmanager
def before(url, spoil):
    proxy = Proxy(url, spoil)
    try:
        yield proxy
    finally:
        proxy.close()


def test_rollouts_are_what_the_learner_scores_and_the_same_again(engine, student):
    requests = requests_of(student)
    told = []
    found = engine.sample(requests, SAMPLING, told.append)
    assert [len(group) for group in found] == [4] * 4
    assert [[rollout.index for rollout in group] for group in found] == [[0, 1, 2, 3]] * 4
    assert sum(told) == 16
    assert apart(student, requests, found) < AGREES
    for rollout in (rollout for group in found for rollout in group):
        assert rollout.is_truncated == (rollout.token_ids[-1] not in student.tokenizer.end_ids)
        assert not any(token in student.tokenizer.end_ids for token in rollout.token_ids[:-1])
        assert len(rollout.token_ids) == 24 or not rollout.is_truncated
        assert rollout.text == student.tokenizer.decode(rollout.token_ids)
        assert rollout.weights_version == engine.current.version
    assert len(set(texts(found))) > 8
    again = engine.sample(requests, SAMPLING)
    same = sum(a == b for a, b in zip(texts(found), texts(again), strict=True))
    print(f"{same} of 16 rollouts are the same again")
    assert same >= 14  # what else is in a batch may round otherwise
    other = engine.sample(requests_of(student, purpose="evaluation"), SAMPLING)
    assert texts(other) != texts(found)


def test_temperature_and_top_p_are_those_of_the_learner(engine, student):
    requests = requests_of(student, 2, 2)
    sampling = Sampling(completion_tokens=8, temperature=0.7)
    found = engine.sample(requests, sampling)
    scorer = Scorer(torch.float32)
    for request, group in zip(requests, found, strict=True):
        for rollout in group:
            row = Row(request.prompt_ids, rollout.token_ids, rollout.is_own)
            with torch.no_grad():
                (states,) = scorer.read(student.model, [row])
                ours = scorer.predict(student.model, states, 0.7).of(torch.tensor(rollout.token_ids))
            assert (ours - torch.tensor(rollout.sampler_logprobs)).abs().mean() < AGREES
    narrow = engine.sample(requests, Sampling(completion_tokens=8, temperature=1.0, top_p=1e-6))
    assert len({rollout.token_ids for rollout in narrow[0]}) == 1  # the most probable token, always


def test_new_weights_are_sampled_from_and_recorded_without_a_restart(engine, student, two_servers):
    requests = requests_of(student)
    engine.take_metrics()
    first = engine.sample(requests, SAMPLING)
    with changed(student):
        engine.sync(student.model)
        second = engine.sample(requests, SAMPLING)
        pushed = engine.take_metrics()
        assert apart(student, requests, second) < AGREES
        assert apart(student, requests, first) > 10 * AGREES  # what the old weights said is not what the new ones say
        versions = {rollout.weights_version for group in second for rollout in group}
    assert pushed["engine/pushes_count"] == 2
    assert pushed["time/push_s"] > 0
    assert versions == {engine.current.version} != {first[0][0].weights_version}
    engine.sync(student.model)
    again = engine.sample(requests, SAMPLING)
    assert again[0][0].weights_version == first[0][0].weights_version  # weights are named by what they are
    assert sum(a == b for a, b in zip(texts(first), texts(again), strict=True)) >= 14
    engine.sync(student.model)
    engine.sample(requests[:1], SAMPLING)
    assert len(list(engine.folder.path.iterdir())) == 1


def test_a_server_killed_in_the_middle_loses_no_rollout_and_comes_back_with_the_right_weights(two_servers, student):
    _, urls, serve = two_servers
    engine = make_engine(two_servers, student)
    requests = requests_of(student, 12, 2)
    with changed(student, 0.02):
        engine.sync(student.model)
        wanted = engine.sample(requests, SAMPLING)
        engine.take_metrics()
        told = []

        def kill_at_first(rollouts):
            told.append(rollouts)
            if len(told) == 1:
                serve.kill(urls[1])

        found = engine.sample(requests, SAMPLING, kill_at_first)
        metrics = engine.take_metrics()
        print({name: value for name, value in metrics.items() if value})
        assert metrics["engine/retries_count"] >= 1
        assert metrics["engine/servers_set_aside_count"] >= 1
        assert sum(told) == 24
        assert [len(group) for group in found] == [2] * 12
        same = sum(a == b for a, b in zip(texts(wanted), texts(found), strict=True))
        print(f"{same} of 24 rollouts are those that both servers wrote")
        assert same >= 21
        assert apart(student, requests, found) < AGREES
        serve.wait_until_ready(urls)  # `mopd serve` started it again, with the weights that it began with
        found = engine.sample(requests, SAMPLING)
        assert apart(student, requests, found) < AGREES
        assert engine.take_metrics()["engine/pushes_count"] == 1


def test_all_servers_gone_for_a_while_are_waited_for_and_then_named(two_servers, student):
    _, urls, _ = two_servers
    gone = {"is": True}
    with before(
        urls[0], lambda path, status, said: (503, b"away") if gone["is"] and "v1/comp" in path else None
    ) as proxy:
        gone["is"] = False
        engine = make_engine(two_servers, student, f"engine.servers=['{proxy.url}']")
        gone["is"] = True
        threading.Timer(4, gone.update, [{"is": False}]).start()
        found = engine.sample(requests_of(student, 1), SAMPLING)
        assert len(found[0]) == 4
        assert 2 <= engine.take_metrics()["engine/retries_count"] <= 4
        gone["is"] = True
        short = make_engine_of(engine, retries=1)
        with pytest.raises(ServerError, match=r"none did in 2 attempts.*503"):
            short.sample(requests_of(student, 1), SAMPLING)


def make_engine_of(engine, retries):
    engine.fleet.retries = retries
    return engine


LIES = {
    "no JSON": lambda said: b"<html>gateway</html>",
    "one completion too few": lambda said: edited(said, lambda answer: answer["choices"].pop()),
    "one completion twice": lambda said: edited(said, lambda answer: answer["choices"][0].update(index=1)),
    "no token ids": lambda said: edited(said, lambda answer: answer["choices"][0].pop("token_ids")),
    "an id of no token": lambda said: edited(said, lambda answer: set_first(answer, "token_ids", 10**6)),
    "a log-probability above 0": lambda said: edited(said, lambda answer: set_logprob(answer, 0.5)),
    "a log-probability that is no number": lambda said: edited(said, lambda answer: set_logprob(answer, None)),
    "fewer log-probabilities": lambda said: edited(
        said, lambda answer: answer["choices"][0]["logprobs"]["token_logprobs"].pop()
    ),
    "an end in the middle": lambda said: edited(said, lambda answer: set_first(answer, "token_ids", 2)),
}


def edited(said, edit):
    answer = json.loads(said)
    edit(answer)
    return json.dumps(answer).encode()


def set_first(answer, name, value):
    answer["choices"][0][name][0] = value


def set_logprob(answer, value):
    answer["choices"][0]["logprobs"]["token_logprobs"][0] = value


def test_what_a_lying_server_says_is_never_believed(two_servers, student):
    _, urls, _ = two_servers
    lie = {"is": None}

    def spoil(path, status, said):
        if status != 200 or lie["is"] is None or path != "/v1/completions":
            return None
        return 200, LIES[lie["is"]](said)

    with before(urls[0], spoil) as proxy:
        engine = make_engine(two_servers, student, f"engine.servers=['{proxy.url}', '{urls[1]}']")
        requests = requests_of(student, 2, 2)
        sampling = Sampling(completion_tokens=4)
        wanted = texts(engine.sample(requests, sampling))
        for name in LIES:
            lie["is"] = name
            engine.take_metrics()
            found = engine.sample(requests, sampling)
            metrics = engine.take_metrics()
            assert (name, metrics["engine/retries_count"] >= 1) == (name, True)
            assert texts(found) == wanted, name
        lie["is"] = None
        alone = make_engine(two_servers, student, f"engine.servers=['{proxy.url}']", "engine.retries=1")
        lie["is"] = "no JSON"
        with pytest.raises(ServerError, match="what is no JSON"):
            alone.sample(requests, sampling)


def test_a_slow_server_is_given_up_after_its_time(two_servers, student):
    _, urls, _ = two_servers
    slow = {"is": False}

    def spoil(path, status, said):
        if slow["is"] and status is None and path == "/v1/completions":
            time.sleep(20)

    with before(urls[0], spoil) as proxy:
        engine = make_engine(two_servers, student, f"engine.servers=['{proxy.url}', '{urls[1]}']")
        slow["is"] = True
        engine.fleet.timeout_s = 6.0
        began = time.monotonic()
        found = engine.sample(requests_of(student, 2, 1), Sampling(completion_tokens=4))
        assert [len(group) for group in found] == [1, 1]
        assert 6 <= time.monotonic() - began < 19
        assert engine.take_metrics()["engine/retries_count"] >= 1


def test_older_weights_are_weighted_or_refused_as_configured(two_servers, student):
    _, urls, _ = two_servers
    deaf = {"is": False}

    def spoil(path, status, said):
        return (503, b"no new weights") if deaf["is"] and path == "/update_weight_version" else None

    requests = requests_of(student, 1)
    with before(urls[0], spoil) as proxy:
        servers = f"engine.servers=['{proxy.url}']"
        engine = make_engine(two_servers, student, servers, "engine.older='weight'", "engine.retries=1")
        refusing = make_engine(two_servers, student, servers, "engine.retries=1")
        old = engine.current.version
        with changed(student, 0.02):
            engine.sync(student.model)
            refusing.sync(student.model)
            deaf["is"] = True
            (found,) = engine.sample(requests, SAMPLING)
            assert {rollout.weights_version for rollout in found} == {old}
            metrics = engine.take_metrics()
            assert metrics["engine/older_rollouts_count"] == 4
            assert metrics["engine/failed_pushes_count"] == 1
            with pytest.raises(ServerError, match="no new weights"):
                engine.sample(requests_of(student, 1, purpose="evaluation"), SAMPLING)
            with pytest.raises(ServerError, match="no new weights"):
                refusing.sample(requests, SAMPLING)
            deaf["is"] = False
            (found,) = refusing.sample(requests, SAMPLING)
            assert {rollout.weights_version for rollout in found} == {refusing.current.version} != {old}


def test_weights_that_somebody_else_pushes_are_noticed(two_servers, student):
    one, other = make_engine(two_servers, student), make_engine(two_servers, student)
    requests = requests_of(student, 2)
    with changed(student, 0.02):
        other.sync(student.model)
        other.sample(requests, SAMPLING)
    found = one.sample(requests, SAMPLING)
    assert apart(student, requests, found) < AGREES
    assert {rollout.weights_version for group in found for rollout in group} == {one.current.version}


def test_a_server_of_another_vocabulary_is_refused(two_servers, student):
    from tests.architectures import make_tokenizer

    other = ChatTokenizer(make_tokenizer())
    with pytest.raises(ServerError, match="writes the ids 0 to"):
        identify(Fleet(two_servers[1], 60, 0, 8), other)


def test_a_server_with_other_weights_than_the_student_can_have_is_refused(two_servers, student):
    """A push that is lost on the way, as with a server that keeps a copy of its own."""
    _, urls, _ = two_servers

    def spoil(path, status, said):
        return (200, b"{}") if status is None and path == "/collective_rpc" else None

    with before(urls[0], spoil) as proxy, changed(student, 0.3), pytest.raises(ServerError, match="nats from what the"):
        make_engine(two_servers, student, f"engine.servers=['{proxy.url}']")


def run_mopd(*words, limit_s=300, **kwargs):
    command = [sys.executable, "-m", "mopd", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=limit_s, cwd=ROOT, **kwargs)


def test_a_run_without_servers_is_refused_before_anything_is_written(two_servers, tmp_path):
    config, urls, _ = two_servers
    for server, said in (("http://127.0.0.1:9", "127.0.0.1:9"), (f"{urls[0]}0"[:-1], None)):
        if said is None:
            continue
        done = run_mopd("train", config, f"run={tmp_path / 'run'}", f"engine.servers=['{server}']", "--quiet")
        assert done.returncode == 1
        assert said in done.stderr
        assert "mopd serve" in done.stderr
    assert not (tmp_path / "run").exists()
    taken = run_mopd("serve", config)
    assert (taken.returncode, "the port of a server is free" in taken.stderr) == (1, True)
    missing = run_mopd("serve", config, "engine.environment='nowhere'")
    assert (missing.returncode, "make vllm" in missing.stderr) == (2, True)


FULL = """
import sys
import torch
from mopd.core.errors import ServerError
from mopd.config import load_config
from mopd.models.student import load_student
from mopd.serving.weights import WeightsFolder

config = load_config(sys.argv[1])
student = load_student(config.student, 0, config.compute)
folder = WeightsFolder(sys.argv[2], student)
try:
    folder.write(student.model, None)
except ServerError as error:
    print(error)
print("left", [path.name for path in folder.path.iterdir()])
"""


def test_a_disk_that_fills_during_a_push_is_named_and_nothing_is_left(two_servers, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = f"mount -t tmpfs -o size=64m none {disk} && exec {sys.executable} -c '{FULL}' {two_servers[0]} {disk}"
    done = subprocess.run(["unshare", "--mount", "sh", "-c", mounted], capture_output=True, text=True, timeout=300)
    if "Operation not permitted" in done.stderr or "must be superuser" in done.stderr:
        pytest.skip("this user may not mount a disk")
    assert "weights for the servers can be written" in done.stdout, done.stderr
    assert "free space on the disk" in done.stdout
    assert "left []" in done.stdout


def test_the_folder_of_weights_goes_with_the_process_and_what_was_killed_is_removed_by_the_next(student, tmp_path):
    from mopd.serving.weights import WeightsFolder

    words = [sys.executable, "-c", KILLED, str(tmp_path)]
    subprocess.run(words, cwd=ROOT, check=False, timeout=120)
    (left,) = tmp_path.iterdir()
    folder = WeightsFolder(str(tmp_path), student)
    assert [path.name for path in tmp_path.iterdir()] == [folder.path.name] != [left.name]
    del folder
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
from mopd.core.files import locked_folder
from pathlib import Path
locked_folder(Path(sys.argv[1]) / "mopd")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_interrupting_a_run_that_waits_for_servers_ends_it_at_once(two_servers, student, tmp_path):
    config, urls, _ = two_servers
    waits = threading.Event()

    def spoil(path, status, said):
        if path == "/v1/completions" and waits.is_set():
            time.sleep(60)

    with before(urls[0], spoil) as proxy:
        words = [sys.executable, "-m", "mopd", "train", str(config), f"run={tmp_path / 'run'}"]
        words += [f"engine.servers=['{proxy.url}']", "preflight.action='off'", "peers.recipe='fixed'"]
        process = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        until = time.monotonic() + 200
        while not (tmp_path / "run" / "config.json").exists() and time.monotonic() < until:
            time.sleep(0.5)
        waits.set()
        time.sleep(3)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=40)
        assert process.returncode == 143, said
        assert time.monotonic() - began < 30


def test_adapters_are_pushed_as_adapters(tmp_path):
    with serving(tmp_path, 1, extra="\n[lora]\nrank = 4\n") as (path, _, _):
        config = load_config(path)
        student = load_student(config.student, 0, config.compute, None, None, config.lora)
        engine = ServedEngine(config.engine, student, config.compute)
        requests = requests_of(student, 2)
        first = engine.sample(requests, SAMPLING)
        assert apart(student, requests, first) < AGREES
        with torch.no_grad():
            for name, parameter in student.model.named_parameters():
                if "lora_B" in name:
                    parameter += 0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
        engine.sync(student.model)
        pushed = sum(file.stat().st_size for file in engine.current.folder.iterdir())
        second = engine.sample(requests, SAMPLING)
        assert apart(student, requests, second) < AGREES
        assert apart(student, requests, first) > 10 * AGREES
        assert second[0][0].weights_version == engine.current.version != first[0][0].weights_version
        assert pushed < 2**25  # the base, of 538 MB, stays where it is
        print(f"an adapter of {pushed / 2**20:.1f} MiB pushed in {engine.take_metrics()['time/push_s']:.2f} s")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_whatever_ends_mopd_serve_ends_its_servers_and_frees_their_ports(number, tmp_path):
    with serving_until_started(tmp_path) as (urls, serve):
        assert serve.end(number) == []
    assert not any(map(is_up, urls))


@contextmanager
def serving_until_started(folder):
    """Servers that have begun to start; they need not have come to serve."""
    from tests.servers import Serving, free_ports, write_config

    urls = [f"http://127.0.0.1:{port}" for port in free_ports(1)]
    serve = Serving(write_config(folder, urls), folder / "serve.log")
    until = time.monotonic() + 200
    while len(serve.children) < 3 and time.monotonic() < until:  # vLLM's server, and what it starts itself
        assert serve.process.poll() is None, serve.log.read_text()
        time.sleep(0.5)
    try:
        yield urls, serve
    finally:
        for left in [*(serve.children if psutil.pid_exists(serve.process.pid) else [])]:
            left.kill()


def test_what_is_printed_is_what_is_started(two_servers):
    config, urls, _ = two_servers
    done = run_mopd("serve", config, "--print")
    assert done.returncode == 0
    lines = done.stdout.strip().splitlines()
    assert len(lines) == len(urls) == 2
    for line, url in zip(lines, urls, strict=True):
        assert f"--port {url.rpartition(':')[2]}" in line
        assert "VLLM_SERVER_DEV_MODE=1" in line
    assert os.path.isfile(lines[0].split(" -m ")[0].split()[-1])
