"""Processes of a run, without any: who does what, what a launcher says, and what they may be asked for."""

import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mopd.config import Sampling, build_config
from mopd.core.errors import ConfigError, MopdError, RankError
from mopd.core.types import Verdict
from mopd.judging.shared import SharedJudge, shared_judge
from mopd.judging.verdicts import by_verifiers
from mopd.learning.work import tokens_read
from mopd.parallel.launch import VARIABLES, is_first, launched
from mopd.parallel.ranks import ONE, Ranks, told_if_rank_lost
from mopd.parallel.sharing import shared_out, shared_whole
from mopd.preflight.checks import check_parallel
from mopd.rollouts.engine import SamplingRequest
from mopd.rollouts.shared import SharedEngine
from tests.builders import make_group, make_lesson, make_rollout

weights = st.lists(st.integers(0, 1000), max_size=40)


@given(weights, st.integers(1, 9))
def test_every_piece_is_in_one_share_and_no_share_is_over_the_mean_and_one_piece(pieces, count):
    shares = shared_out(pieces, count)
    assert len(shares) == count
    assert sorted(index for share in shares for index in share) == list(range(len(pieces)))
    assert all(share == sorted(share) for share in shares)
    loads = [sum(pieces[index] for index in share) for share in shares]
    assert max(loads) <= sum(pieces) / count + max(pieces, default=0)


@given(weights, st.integers(1, 9), st.data())
def test_pieces_of_one_key_stay_together(pieces, count, data):
    keys = data.draw(st.lists(st.integers(0, 5), min_size=len(pieces), max_size=len(pieces)))
    shares = shared_whole(keys, pieces, count)
    assert sorted(index for share in shares for index in share) == list(range(len(pieces)))
    of_key = [{number for number, share in enumerate(shares) for i in share if keys[i] == key} for key in set(keys)]
    assert all(len(numbers) == 1 for numbers in of_key)


def test_one_process_has_all_in_order():
    assert shared_out([3, 1, 2], 1) == [[0, 1, 2]]
    assert shared_whole(["b", "a", "b"], [1, 2, 3], 1) == [[0, 1, 2]]


def test_tokens_that_are_read_count_each_context_with_the_completion_behind_it():
    plain = make_lesson(3)
    assert tokens_read(plain) == 4 + 3


def test_collectives_of_one_process_give_back_what_they_are_given():
    tensor = torch.ones(2, requires_grad=True)
    assert ONE.gather(3) == [3]
    assert ONE.sum_numbers({"a": 0.1}) == {"a": 0.1}
    assert ONE.largest(7) == 7
    assert ONE.first(lambda: "x") == "x"
    ONE.sum_gradients([tensor])
    assert tensor.grad is None
    ONE.check_same("things", object())


class Recorded(Ranks):
    """The second of two ranks, which are asked for nothing but what others have; those are given."""

    def __init__(self, others):
        super().__init__(1, 2)
        self.others = others

    def gather(self, value):
        return [self.others, value]


class Echo:
    """An engine that writes a rollout for each request, with the request's key as its text."""

    def sync(self, model):
        self.model = model

    def sample(self, requests, sampling, on_batch):
        on_batch(sum(request.count for request in requests))
        return [[make_rollout(index, str(r.key[0])) for index in range(r.count)] for r in requests]


def test_each_rank_samples_whole_requests_and_has_all_in_their_order():
    requests = [SamplingRequest((1,), count, (number,)) for number, count in enumerate([4, 4, 2])]
    told = []
    engine = SharedEngine(Echo(), Recorded([[make_rollout(0, "0")], [make_rollout(0, "2")]]))
    found = engine.sample(requests, Sampling(), told.append)
    assert [rollouts[0].text for rollouts in found] == ["0", "1", "2"]
    assert sum(told) == 10


def test_reward_functions_judge_in_the_first_rank_alone():
    asked = []

    class First(Recorded):
        def first(self, ask):
            asked.append(ask)
            return "what the first rank found"

    def functions(groups, step):
        raise AssertionError("called in the second rank")

    assert SharedJudge(functions, First(None))([], 0) == "what the first rank found"
    assert shared_judge(by_verifiers, ONE) is by_verifiers


def test_verifiers_judge_whole_groups_and_every_rank_has_all_verdicts():
    groups = [make_group(["12", "21"], [0.0, 0.0], problem_id=name) for name in "ab"]
    theirs = [(Verdict(0.5, "wrong"), Verdict(0.25, "wrong"))]
    judged, metrics = SharedJudge(by_verifiers, Recorded(theirs))(groups, 0)
    assert [verdict.reward for verdict in judged[0].verdicts] == [0.5, 0.25]
    assert [group.problem.id for group in judged] == ["a", "b"]
    assert metrics == {}


def test_what_differs_between_ranks_is_named():
    with pytest.raises(RankError, match="process 1 has others than process 0"):
        Recorded({"digest": 1}).check_same("problems", {"digest": 2})


def test_errors_travel_between_processes():
    error = pickle.loads(pickle.dumps(RankError("must", "got", "do")))
    assert (type(error), error.must, error.got, error.do) == (RankError, "must", "got", "do")


def test_a_lost_process_is_told_apart_from_other_errors():
    with pytest.raises(RankError, match="does not answer"), told_if_rank_lost():
        raise RuntimeError("[gloo/transport/tcp/pair.cc:1] Connection closed by peer")
    with pytest.raises(RuntimeError, match="shapes") as found, told_if_rank_lost():
        raise RuntimeError("shapes do not match")
    assert not isinstance(found.value, MopdError)


def told_by(monkeypatch, **values):
    for name in (*VARIABLES, "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def test_what_a_launcher_says(monkeypatch):
    told_by(monkeypatch)
    assert launched() is None
    assert is_first()
    meeting = {"MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}
    told_by(monkeypatch, RANK="3", WORLD_SIZE="4", LOCAL_RANK="1", LOCAL_WORLD_SIZE="2", **meeting)
    own = launched()
    assert (own.rank, own.size, own.local_rank, own.local_size) == (3, 4, 1, 2)
    assert not is_first()
    told_by(monkeypatch, RANK="0", WORLD_SIZE="1", **meeting)
    assert launched() is None


@pytest.mark.parametrize(
    "values", [{"RANK": "4"}, {"RANK": "x"}, {"LOCAL_RANK": "2"}, {"MASTER_PORT": "0"}, {"WORLD_SIZE": "-1"}]
)
def test_a_launcher_that_makes_no_sense_is_refused(monkeypatch, values):
    sound = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    told_by(monkeypatch, **sound | {"MASTER_ADDR": "localhost", "MASTER_PORT": "29500"} | values)
    with pytest.raises(RankError, match="="):
        launched()


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("compute.weights=bfloat16", "compute.weights = bfloat16"),
        ("compute.teacher=offloaded", "compute.teacher = offloaded"),
        ("compute.moments=8bit", "compute.moments = 8bit"),
        ("compute.compile=true", "compute.compile = True"),
        ("lora.rank=4", r"\[lora\]"),
        ("compute.device=cuda:1", "compute.device = 'cuda:1'"),
    ],
)
def test_what_is_not_split_is_refused_and_one_process_ignores_it(override, told):
    config = build_config({}, ["parallel.strategy=fsdp", override])
    with pytest.raises(ConfigError, match=told):
        check_parallel(config, Ranks(0, 2))
    check_parallel(config, ONE)
