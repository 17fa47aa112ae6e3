"""Records of other systems: which columns are what, how prompts and completions are read, and what is refused."""

import random

import pytest

from mopd.analysis.contexts import DEFAULT, parse
from mopd.analysis.formats import Format, detect
from mopd.analysis.groups import evenly
from mopd.core.errors import ProblemError

VERL = {"input": "user\n1+1\nassistant\n", "output": "2", "gts": "2", "score": 1.0, "step": 3, "acc": True, "pred": "2"}
TRL = {"step": 5, "prompt": "1+1", "completion": "2", "accuracy": 1.0, "advantage": 0.5}


def test_verl_is_known_by_its_columns():
    found = detect(VERL, None, None, None)
    assert found == Format("verl", "input", "output", ("score",))
    attempt = found.read(VERL)
    assert (attempt.step, attempt.text, attempt.reward) == (3, "2", 1.0)
    assert attempt.messages == ({"role": "user", "content": "1+1"},)


@pytest.mark.parametrize(
    "prompt", ["1+1=", "user\na\nassistant\nb\nuser\nc\nassistant\n", "User: 1+1\n\nAssistant:", "user\n1+1"]
)
def test_a_prompt_whose_turns_cannot_be_told_apart_is_one_user_turn(prompt):
    attempt = detect(VERL, None, None, None).read(VERL | {"input": prompt})
    assert attempt.messages == ({"role": "user", "content": prompt},)


def test_an_empty_thinking_span_behind_the_header_belongs_to_the_template():
    read = detect(VERL, None, None, None).read
    prompt = "system\nAdd.\nuser\n1+1\nassistant\n<think>\n\n</think>\n\n"
    assert [turn["content"] for turn in read(VERL | {"input": prompt}).messages] == ["Add.", "1+1"]


def test_trl_is_known_by_its_advantage_and_its_only_other_number_is_the_reward():
    found = detect(TRL, None, None, None)
    assert (found.name, found.rewards) == ("TRL", ("accuracy",))


def test_columns_that_are_called_rewards_are_added_up_and_others_are_not():
    found = detect(TRL | {"a_reward": 1.0, "b_reward": 0.5, "length": 12}, None, None, None)
    assert found.rewards == ("a_reward", "b_reward")
    record = TRL | {"a_reward": 1.0, "b_reward": float("nan")}
    assert found.read(record).reward == 1.0
    assert found.read(record | {"a_reward": None}).reward is None


def test_which_of_several_numbers_is_the_reward_is_asked():
    record = {"prompt": "1", "completion": "2", "length": 3, "speed": 2.0}
    with pytest.raises(ProblemError, match="length, speed could be"):
        detect(record, None, None, None)
    assert detect(record, None, None, "speed").rewards == ("speed",)


def test_turns_are_read_and_those_of_a_tool_are_left_out():
    read = Format("TRL", "prompt", "completion", ("reward",)).read
    parts = [{"type": "text", "text": "1"}, {"type": "text", "text": "+1"}]
    record = {
        "prompt": [{"role": "system", "content": "Add."}, {"role": "user", "content": parts}],
        "completion": [{"role": "assistant", "content": "2"}],
        "reward": 1,
    }
    attempt = read(record)
    assert (attempt.messages[1]["content"], attempt.text) == ("1+1", "2")
    with pytest.raises(ValueError, match="of a tool"):
        read(record | {"completion": [{"role": "tool", "content": "2"}]})
    with pytest.raises(ValueError, match="content is no text"):
        read(record | {"prompt": [{"role": "user", "content": [{"type": "image"}]}]})


def test_equal_prompts_are_one_problem_and_others_are_not():
    read = Format("rollouts", "prompt", "completion", ("reward",)).read
    of = [read({"prompt": prompt, "completion": "", "reward": 0}).problem for prompt in ("1", "1", "2")]
    assert of[0] == of[1] != of[2]


def test_contexts_are_read_from_their_names():
    names = ["base", "3S2F", "2F", "feedback", "random_peer", "base"]
    counts = [(one.successes, one.failures, one.control, one.is_feedback) for one in parse(names)]
    expected = [(0, 0, None, False), (3, 2, None, False), (0, 2, None, False), (0, 0, None, True)]
    assert counts == [*expected, (2, 1, "random_peer", False)]
    assert [one.name for one in parse(DEFAULT)] == list(DEFAULT)


@pytest.mark.parametrize(("n", "count"), [(0, 3), (3, 3), (10, 3), (1000, 32)])
def test_what_is_drawn_evenly_has_one_of_each_part(n, count):
    drawn = evenly(range(n), count, random.Random(0))
    assert len(drawn) == min(n, count)
    if n > count:
        assert all(n * part // count <= index < n * (part + 1) // count for part, index in enumerate(drawn))
