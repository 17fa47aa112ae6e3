"""Reward functions: what they are given, what becomes of what they return, and that none can hurt a run."""

from __future__ import annotations

import asyncio
import functools
import json
import math
import sys
import threading
import time

import numpy as np
import pytest
import torch
from transformers import TrainerState

from mopd.config import RewardsConfig, SourceConfig
from mopd.core.errors import ConfigError, RunError, VerifierError
from mopd.core.types import Group, Problem, Rollout
from mopd.judging import signatures
from mopd.judging.calls import Failure, call_all
from mopd.judging.choosing import make_judge, make_judge_again, name_of, with_functions
from mopd.judging.reward_functions import RewardFunctions
from mopd.judging.verdicts import by_verifiers
from mopd.problems import ProblemSet, read_problems
from mopd.verifiers import demonstration
from tests.builders import make_config

SYSTEM = {"role": "system", "content": "Sort."}
COLUMNS = ({"solution": "$12$", "level": 3}, {"solution": "$34$", "tags": ["a"]})
TEXTS = (("12", "21"), ("34", "43"))


def rollout(text, index=0, is_truncated=False):
    ids = tuple(range(8, 8 + len(text) + 1))
    return Rollout(index, ids, (True,) * len(ids), (-1.0,) * len(ids), text, is_truncated)


def problem(prompt, reference, **columns):
    return Problem(prompt, (SYSTEM, {"role": "user", "content": prompt}), reference, "none", columns=columns)


def make_groups(truncated=(), success_reward=1.0, texts=TEXTS):
    """Two groups of two rollouts; `truncated` names texts that were cut."""
    problems = (problem("21", "12", **COLUMNS[0]), problem("43", "34", **COLUMNS[1]))
    return [
        Group(0, p, (1,), tuple(rollout(t, i, t in truncated) for i, t in enumerate(group)), (), success_reward)
        for p, group in zip(problems, texts, strict=True)
    ]


def judge_with(*functions, groups=None, step=0, steps=10, **options):
    """Groups judged by functions, flat verdicts, and metrics."""
    judge = RewardFunctions(functions, RewardsConfig(**options), steps)
    judged, metrics = judge(make_groups() if groups is None else groups, step)
    return judged, [verdict for group in judged for verdict in group.verdicts], metrics


def verdicts_of(*functions, **options):
    return judge_with(*functions, **options)[1]


def kinds_of(*functions, **options):
    return [verdict.kind for verdict in verdicts_of(*functions, **options)]


def right(completions, answer, **kwargs):
    return [float(c[0]["content"] == a) for c, a in zip(completions, answer, strict=True)]


async def right_async(completions, answer, **kwargs):
    await asyncio.sleep(0.01)
    return right(completions, answer)


def giving(*values):
    """A function that returns these values."""
    return lambda completions: list(values)


# --- what functions are given ---------------------------------------------------------------------------------------


def given_to(groups=None, **options):
    """The arguments that a function with **kwargs is given."""
    seen = {}

    def spy(**kwargs):
        seen.update(kwargs)
        return [0.0] * len(kwargs["completions"])

    judge_with(spy, groups=groups, step=3, steps=7, **options)
    return seen


def test_functions_are_called_as_trl_calls_them_with_messages():
    seen = given_to()
    assert seen["prompts"] == [[SYSTEM, {"role": "user", "content": p}] for p in ("21", "21", "43", "43")]
    assert seen["completions"] == [[{"role": "assistant", "content": t}] for group in TEXTS for t in group]
    assert seen["completion_ids"] == [[8, 9, 10]] * 4
    assert all(isinstance(ids, list) for ids in seen["completion_ids"])
    assert isinstance(seen["trainer_state"], TrainerState)
    assert (seen["trainer_state"].global_step, seen["trainer_state"].max_steps) == (3, 7)


def test_text_is_the_last_user_turn_and_the_completion():
    seen = given_to(form="text")
    assert seen["prompts"] == ["21", "21", "43", "43"]
    assert seen["completions"] == ["12", "21", "34", "43"]


def test_columns_have_a_value_a_rollout_and_none_where_a_problem_lacks_them():
    seen = given_to()
    assert seen["solution"] == ["$12$", "$12$", "$34$", "$34$"]
    assert seen["level"] == [3, 3, None, None]
    assert seen["tags"] == [None, None, ["a"], ["a"]]
    assert seen["answer"] == ["12", "12", "34", "34"]


def test_a_column_called_answer_stays_and_one_called_as_an_argument_gives_way():
    groups = [Group(0, problem("21", "12", answer="twelve", prompts="no", trainer_state=1), (1,), (rollout("12"),))]
    seen = given_to(groups)
    assert seen["answer"] == ["twelve"]
    assert seen["prompts"] == [[SYSTEM, {"role": "user", "content": "21"}]]
    assert isinstance(seen["trainer_state"], TrainerState)


def test_an_answer_is_the_problems_own_column_else_its_reference():
    own = Group(0, problem("21", "12", answer="twelve"), (1,), (rollout("12"),))
    other = Group(0, problem("43", "34"), (1,), (rollout("34"),))
    assert given_to([own, other])["answer"] == ["twelve", "34"]


@pytest.mark.parametrize(
    ("mapped", "solution"),
    [
        ({"answer": "solution", "solution": "worked"}, "12"),
        ({"answer": "solution", "solution": "nested.worked"}, "12"),
        ({"answer": "solution"}, "12"),
        ({"answer": "solution", "solution": "solution"}, "12"),
        ({"answer": "label", "solution": "worked"}, "12"),
    ],
)
def test_functions_get_the_files_own_columns_whatever_fields_are_mapped(tmp_path, mapped, solution):
    row = {"prompt": "21", "solution": "12", "worked": "so: 12", "label": "12", "nested": {"worked": "so: 12"}}
    (tmp_path / "in.jsonl").write_text(json.dumps(row | {"tests": "mine", "ordered": "mine", "compare": "mine"}) + "\n")
    others = {"tests": "label", "public_tests": "label"}
    source = SourceConfig(source=str(tmp_path / "in.jsonl"), columns=mapped | others)
    (read,) = read_problems(source, 0)
    seen = given_to([Group(0, read, (1,), (rollout("12"),))])
    assert (seen["solution"], seen["worked"], seen["label"]) == ([solution], ["so: 12"], ["12"])
    assert (seen["tests"], seen["ordered"], seen["compare"]) == (["mine"], ["mine"], ["mine"])
    assert read.columns["tests"] == read.columns["public_tests"] == "12"  # what mopd itself reads
    if mapped.get("solution", "solution") != "solution":
        assert demonstration(read) == "so: 12"


def test_columns_of_other_problems_of_the_run_are_none():
    seen = {}

    def spy(completions, rare, **kwargs):
        seen["rare"] = rare
        return [1.0] * len(completions)

    RewardFunctions([spy], RewardsConfig(), 1, columns=("rare",))(make_groups(), 0)
    assert seen["rare"] == [None] * 4


def test_a_function_without_kwargs_gets_what_it_names_and_no_more():
    def named(completions, solution=("default",), other="default"):
        assert other == "default"
        return [float(f"${c[0]['content']}$" == s) for c, s in zip(completions, solution, strict=True)]

    assert kinds_of(named) == ["correct", "wrong", "correct", "wrong"]


def test_a_function_may_change_what_it_is_given_and_nobody_else_sees_it():
    def vandal(prompts, completions, tags, completion_ids, **kwargs):
        for values in (prompts, completions, completion_ids):
            for value in values:
                value.clear()
        for value in tags:
            (value or []).append("changed")
        return [0.0] * len(completions)

    groups = make_groups()
    assert kinds_of(vandal, right, groups=groups) == ["correct", "wrong", "correct", "wrong"]
    assert groups[1].problem.columns["tags"] == ["a"]
    assert groups[0].problem.messages[1]["content"] == "21"


def test_functions_are_called_once_with_all_rollouts_and_not_at_all_without():
    calls = []

    def count(completions):
        calls.append(len(completions))
        return [1.0] * len(completions)

    judge_with(count)
    assert calls == [4]
    assert judge_with(count, groups=[]) == ([], [], {})
    assert calls == [4]


def test_partials_callable_objects_and_methods_are_functions():
    class Scaled:
        def __init__(self, scale):
            self.scale = scale

        def __call__(self, completions, **kwargs):
            return [self.scale] * len(completions)

        async def later(self, completions):
            return [self.scale] * len(completions)

    class Later:
        async def __call__(self, completions):
            await asyncio.sleep(0)
            return [2.0] * len(completions)

    def power(completions, base):
        return [base] * len(completions)

    for function, value in [
        (Scaled(3.0), 3.0),
        (Scaled(4.0).later, 4.0),
        (Later(), 2.0),
        (functools.partial(power, base=5.0), 5.0),
        (functools.partial(functools.partial(Later())), 2.0),
    ]:
        assert [v.reward for v in verdicts_of(function)] == [value] * 4


# --- verdicts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [right, right_async])
def test_values_become_verdicts_in_rollout_order(function):
    groups, verdicts, _ = judge_with(function)
    assert [v.kind for v in verdicts] == ["correct", "wrong", "correct", "wrong"]
    assert [v.reward for v in verdicts] == [1.0, 0.0, 1.0, 0.0]
    assert [[g.is_success(i) for i in (0, 1)] for g in groups] == [[True, False], [True, False]]
    assert [group.rollouts for group in groups] == [group.rollouts for group in make_groups()]


def test_the_reward_is_the_weighted_sum_and_kept_raw():
    verdicts = verdicts_of(giving(1, 0, 1, -3), giving(1.0, 1.0, 0.5, 2.0), weights=[0.25, 2.0])
    assert [v.reward for v in verdicts] == [2.25, 2.0, 1.25, 3.25]
    assert [v.reward for v in verdicts_of(giving(1, 0, 1, -3), giving(1.0, 1.0, 0.5, 2.0))] == [2.0, 1.0, 1.5, -1.0]


def test_success_is_reached_at_the_threshold_whatever_rounding():
    ones = giving(1, 1, 1, 1)
    assert kinds_of(ones, ones, ones, weights=[0.7, 0.2, 0.1]) == ["correct"] * 4
    groups = make_groups(success_reward=0.5)
    assert kinds_of(giving(0.5, 0.49, 1.0, -1.0), groups=groups) == ["correct", "wrong", "correct", "wrong"]


SHARES = [(0.9, 0.1), (0.6, 0.4), (0.8, 0.2), (0.55, 0.45), (0.7, 0.2, 0.1), (0.1,) * 10, (0.3, 0.3, 0.4), (1.1, -0.1)]


@pytest.mark.parametrize("shares", SHARES)
@pytest.mark.parametrize(
    "made",
    [
        lambda x: [np.float32(x)] * 4,
        lambda x: np.array([x] * 4, np.float32),
        lambda x: np.array([x] * 4, np.float16),
        lambda x: torch.tensor([x] * 4),
        lambda x: [torch.tensor(x)] * 4,
        lambda x: torch.tensor([x] * 4, dtype=torch.bfloat16),
        lambda x: torch.tensor([x] * 4, dtype=torch.float16, requires_grad=True),
        lambda x: [x] * 4,
        lambda x: torch.tensor([x] * 4).tolist(),
        lambda x: [float(np.float32(x))] * 4,
        lambda x: [torch.tensor(x).item()] * 4,
    ],
)
def test_rewards_of_any_precision_whose_decimals_add_up_to_the_threshold_are_a_success(shares, made):
    functions = [lambda completions, x=x: made(x) for x in shares]
    assert kinds_of(*functions) == ["correct"] * 4
    weighted = [lambda completions: made(1.0) for _ in shares]
    assert kinds_of(*weighted, weights=[*shares]) == ["correct"] * 4


def test_a_reward_of_low_precision_below_the_threshold_is_none():
    below = np.nextafter(np.float32(1), np.float32(0))
    assert (
        kinds_of(giving(below, torch.tensor(below), np.float16(0.999), torch.tensor(0.99, dtype=torch.bfloat16)))
        == ["wrong"] * 4
    )
    assert kinds_of(giving(float(below), 1 - 1e-9, 0.9999, 127 / 128)) == ["wrong"] * 4
    groups = make_groups(success_reward=0.9)
    assert kinds_of(lambda completions: np.array([0.9, 0.89, 0.9, 0.91], np.float32), groups=groups) == [
        *("correct", "wrong", "correct", "correct")
    ]


def test_none_leaves_a_function_out_and_none_of_all_is_an_error():
    groups, verdicts, metrics = judge_with(giving(1, None, 2, None), giving(None, 3, 1, None), weights=[1, 2])
    assert [v.kind for v in verdicts] == ["correct", "correct", "correct", "error"]
    assert [v.reward for v in verdicts] == [1.0, 6.0, 4.0, 0.0]
    assert not groups[1].is_success(1)
    assert not groups[1].is_failure(1)
    assert "No reward function" in verdicts[3].feedback
    assert metrics["rewards/lambda_none_count"] == 2.0
    assert metrics["rewards/lambda_error_count"] == 0.0


@pytest.mark.parametrize(
    "value",
    [
        math.nan, math.inf, -math.inf, 1e39, 10**400, "1.0", [1.0], {}, 1j, object(),
        np.float32("nan"), np.str_("1"), torch.tensor(math.inf), torch.tensor([1.0, 2.0]), torch.tensor([]),
    ],
)  # fmt: skip
def test_a_value_that_is_no_finite_number_is_an_error_of_that_rollout_alone(value):
    _, verdicts, metrics = judge_with(giving(1.0, value, 0.0, 1.0), right)
    assert [v.kind for v in verdicts] == ["correct", "error", "correct", "correct"]
    assert verdicts[1].reward == 0.0
    assert "lambda" in verdicts[1].feedback
    assert metrics["rewards/lambda_error_count"] == 1.0
    assert metrics["rewards/lambda_mean"] == pytest.approx(2 / 3)
    assert metrics["rewards/right_error_count"] == 0.0


@pytest.mark.parametrize(
    "found",
    [
        (1, 0, 1, 0),
        [True, False, np.True_, np.False_],
        [np.float32(1), np.int64(0), torch.tensor(1), torch.tensor([0.0])],
        np.array([1.0, 0.0, 1.0, 0.0]),
        torch.tensor([1.0, 0.0, 1.0, 0.0], requires_grad=True),
    ],
)
def test_numbers_of_every_sort_count(found):
    assert kinds_of(lambda **kwargs: found) == ["correct", "wrong", "correct", "wrong"]


def test_a_sum_that_is_not_finite_is_an_error():
    assert kinds_of(giving(3e38, 1, 1, 1), giving(3e38, 1, 1, 1)) == ["error", "correct", "correct", "correct"]
    assert kinds_of(giving(3e38, 1, 1, 1), weights=[1e300])[0] == "error"


def test_truncated_completions_are_scored_and_never_succeed():
    groups, verdicts, metrics = judge_with(giving(5, 2, 1, 0), groups=make_groups(truncated=("12", "43")))
    assert [v.kind for v in verdicts] == ["truncated", "correct", "correct", "truncated"]
    assert [v.reward for v in verdicts] == [5.0, 2.0, 1.0, 0.0]
    assert not groups[0].is_success(0)
    assert groups[0].is_failure(0)
    assert metrics["rewards/lambda_mean"] == 2.0


def test_a_truncated_completion_without_a_reward_is_an_error():
    assert kinds_of(giving(None, 1, 1, 1), groups=make_groups(truncated=("12",)))[0] == "error"


# --- functions that fail --------------------------------------------------------------------------------------------


class Unreadable(Exception):
    def __str__(self):
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ValueError("fell over"), "raised ValueError: fell over"),
        (SystemExit(2), "raised SystemExit"),
        (KeyboardInterrupt(), "raised KeyboardInterrupt"),
        (TimeoutError("socket"), "raised TimeoutError: socket"),
        (StopIteration(), "raised "),
        (asyncio.CancelledError(), "cancelled"),
        (Unreadable(), "raised Unreadable"),
    ],
)
@pytest.mark.parametrize("is_async", [False, True])
def test_a_function_that_raises_is_an_error_of_all_rollouts_and_the_next_call_is_sound(error, says, is_async):
    def failing(**kwargs):
        raise error

    async def failing_async(**kwargs):
        await asyncio.sleep(0)
        raise error

    _, verdicts, metrics = judge_with(failing_async if is_async else failing, right)
    assert [v.kind for v in verdicts] == ["error"] * 4
    assert all("failing" in v.feedback and says.lower() in v.feedback.lower() for v in verdicts)
    name = "failing_async" if is_async else "failing"
    assert metrics[f"rewards/{name}_error_count"] == 4.0
    assert metrics["rewards/right_mean"] == 0.5
    assert kinds_of(right_async) == ["correct", "wrong", "correct", "wrong"]


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ([1.0], "1 values for 4 rollouts"),
        ([1.0] * 5, "5 values for 4 rollouts"),
        ([], "0 values for 4"),
        (None, "NoneType"),
        (1.0, "float"),
        ("1111", "str"),
        ({0: 1, 1: 1, 2: 1, 3: 1}, "dict"),
        ({1, 2, 3, 4}, "set"),
        ((x for x in [1, 1, 1, 1]), "generator"),
        (np.float64(1.0), "float"),
        (np.array(1.0), "float"),
    ],
)
def test_what_is_no_list_of_the_right_length_is_an_error_of_all_rollouts(found, says):
    verdicts = verdicts_of(lambda **kwargs: found)
    assert [v.kind for v in verdicts] == ["error"] * 4
    assert all(says in v.feedback for v in verdicts)


def test_a_sync_function_that_returns_a_coroutine_is_an_error():
    kept = []

    def wrapper(**kwargs):
        kept.append(right_async(**kwargs))
        return kept[0]

    assert "coroutine" in verdicts_of(wrapper)[0].feedback
    kept[0].close()


@pytest.mark.parametrize("said", ["expected 12", "expected '34'"])
def test_the_feedback_quotes_no_reference_of_any_problem_of_the_call(said):
    def failing(**kwargs):
        raise ValueError(said)

    for verdict in verdicts_of(failing):
        assert "withheld" in verdict.feedback
        assert "12" not in verdict.feedback
        assert "34" not in verdict.feedback


def test_without_a_reference_the_feedback_quotes_no_column():
    def failing(**kwargs):
        raise ValueError("no number: ZQX")

    groups = [Group(0, problem("21", None, gold="ZQX"), (1,), (rollout("12"),))]
    assert "ZQX" not in verdicts_of(failing, groups=groups)[0].feedback


def test_feedback_is_short_even_where_an_error_is_long():
    def failing(**kwargs):
        raise ValueError("x" * 10_000)

    assert len(verdicts_of(failing)[0].feedback) <= 500


# --- functions that do not end --------------------------------------------------------------------------------------


def test_a_sync_function_over_its_time_is_given_up_on():
    release = threading.Event()

    def hangs(completions):
        release.wait(30)
        return [1.0] * len(completions)

    began = time.monotonic()
    verdicts = verdicts_of(hangs, time_limit_s=0.2)
    release.set()
    assert time.monotonic() - began < 5
    assert [v.kind for v in verdicts] == ["error"] * 4
    assert "time limit of 0.2 s" in verdicts[0].feedback


def test_an_async_function_over_its_time_is_cancelled():
    cancelled = threading.Event()

    async def hangs(completions):
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    assert kinds_of(hangs, time_limit_s=0.2) == ["error"] * 4
    assert cancelled.wait(5)


def test_an_async_function_that_swallows_its_cancellation_holds_up_nothing():
    release = []

    async def stubborn(completions):
        while not release:
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                continue
        return [1.0] * len(completions)

    began = time.monotonic()
    assert kinds_of(stubborn, time_limit_s=0.2) == ["error"] * 4
    assert kinds_of(right_async) == ["correct", "wrong", "correct", "wrong"]
    assert time.monotonic() - began < 5
    release.append(True)


def test_an_async_function_that_blocks_the_loop_holds_up_only_its_own_call():
    release = threading.Event()

    async def blocks(completions):
        release.wait(30)
        return [1.0] * len(completions)

    began = time.monotonic()
    assert kinds_of(blocks, time_limit_s=0.2) == ["error"] * 4
    assert kinds_of(right_async, time_limit_s=5) == ["correct", "wrong", "correct", "wrong"]
    assert time.monotonic() - began < 8
    release.set()


def test_one_late_function_does_not_lose_what_others_gave():
    release = threading.Event()

    def hangs(completions):
        release.wait(30)

    _, verdicts, metrics = judge_with(hangs, right, time_limit_s=0.2)
    release.set()
    assert [v.kind for v in verdicts] == ["error"] * 4
    assert [v.details["rewards/right"] for v in verdicts] == [1.0, 0.0, 1.0, 0.0]
    assert metrics["rewards/right_mean"] == 0.5
    assert metrics["rewards/hangs_error_count"] == 4.0


def test_async_functions_run_side_by_side_in_a_loop_that_stays():
    loops, meeting = [], asyncio.Event()

    async def first(completions):
        loops.append(asyncio.get_running_loop())
        await asyncio.wait_for(meeting.wait(), 5)
        meeting.clear()
        return [1.0] * len(completions)

    async def second(completions):
        meeting.set()
        return [1.0] * len(completions)

    for _ in range(2):
        assert kinds_of(first, second, time_limit_s=10) == ["correct"] * 4
    assert loops[0] is loops[1]


def test_judging_leaves_no_threads_behind_but_the_one_loop():
    verdicts_of(right, right_async)
    before = threading.active_count()
    for _ in range(5):
        verdicts_of(right, right_async, right)
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_calls_keep_the_order_in_which_they_were_given():
    async def late():
        await asyncio.sleep(0.05)
        return "late"

    async def soon():
        return "soon"

    found = call_all([(late, {}), (lambda: "sync", {}), (soon, {}), (lambda: 1 / 0, {})], 5.0)
    assert found[:3] == ["late", "sync", "soon"]
    assert isinstance(found[3], Failure)


# --- metrics and records --------------------------------------------------------------------------------------------


def test_what_functions_log_is_in_metrics_and_details():
    def chatty(completions, log_metric, log_extra, **kwargs):
        log_metric("share", 0.25)
        log_metric("share", torch.tensor(0.75))
        log_metric("bad", math.nan)
        log_metric("worse", "text")
        log_metric("mean", 99.0)
        log_extra("parsed", [c[0]["content"] for c in completions])
        log_extra("object", [None, 1, math.nan, Unreadable()])
        log_extra("short", [1])
        return [1.0, 0.0, None, 1.0]

    _, verdicts, metrics = judge_with(chatty)
    assert metrics["rewards/chatty_share"] == 0.5
    assert metrics["rewards/chatty_mean"] == pytest.approx(2 / 3)
    assert not any(name.endswith(("bad", "worse")) for name in metrics)
    assert [v.details["parsed"] for v in verdicts] == ["12", "21", "34", "43"]
    assert [v.details["rewards/chatty"] for v in verdicts] == [1.0, 0.0, None, 1.0]
    assert [v.details["object"] for v in verdicts[:3]] == [None, 1.0, "nan"]
    assert "Unreadable" in verdicts[3].details["object"]
    assert "short" not in verdicts[0].details


def test_what_a_failed_call_had_logged_is_not_told():
    def failing(completions, log_metric, log_extra):
        log_metric("share", 1.0)
        log_extra("parsed", ["x"] * 4)
        raise ValueError("fell over")

    _, verdicts, metrics = judge_with(failing)
    assert set(metrics) == {f"rewards/failing_{name}" for name in ("mean", "none_count", "error_count")}
    assert verdicts[0].details == {"rewards/failing": None, "failed/failing": "raised ValueError"}


def test_functions_of_one_name_are_told_apart():
    metrics = judge_with(giving(1, 1, 1, 1), giving(2, 2, 2, 2), giving(3, 3, 3, 3))[2]
    assert [metrics[f"rewards/lambda{end}_mean"] for end in ("", "_2", "_3")] == [1.0, 2.0, 3.0]


def test_the_mean_of_a_function_that_gave_nothing_is_zero():
    metrics = judge_with(giving(None, None, None, None))[2]
    assert metrics == {
        "rewards/lambda_mean": 0.0,
        "rewards/lambda_none_count": 4.0,
        "rewards/lambda_error_count": 0.0,
    }


# --- which functions ------------------------------------------------------------------------------------------------

PROBLEMS = ProblemSet(train=tuple(g.problem for g in make_groups()), held_out=())


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module into a folder and forgets it afterwards."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def write(name, text, folder=tmp_path):
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.py").write_text(text)
        return folder

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


ACCURACY = "def accuracy(completions, **kwargs):\n    return [float(c[0]['content'] == '12') for c in completions]\n"


def named(*names, **options):
    return make_config(f"rewards.functions={list(names)!r}", *(f"rewards.{k}={v!r}" for k, v in options.items()))


def test_without_functions_verifiers_judge():
    assert make_judge(make_config(), PROBLEMS) is by_verifiers
    assert make_judge(make_config(), PROBLEMS, []) is by_verifiers


def test_a_module_is_found_in_the_current_directory(module, tmp_path, monkeypatch):
    module("rewards_in_cwd", ACCURACY)
    monkeypatch.chdir(tmp_path)
    judged, _ = make_judge(named("rewards_in_cwd:accuracy"), PROBLEMS)(make_groups(), 0)
    assert [v.kind for g in judged for v in g.verdicts] == ["correct", "wrong", "wrong", "wrong"]


def test_a_module_is_found_in_the_folder_of_the_configuration(module, tmp_path, monkeypatch):
    folder = module("rewards_in_folder", ACCURACY, tmp_path / "elsewhere")
    judge = make_judge(named("rewards_in_folder:accuracy", folder=str(folder)), PROBLEMS)
    assert judge(make_groups(), 0)[0][0].is_success(0)


def test_a_name_may_walk_into_a_class(module, tmp_path):
    folder = module("rewards_in_class", "class Own:\n    @staticmethod\n    def one(completions): return [1] * 4\n")
    judge = make_judge(named("rewards_in_class:Own.one", folder=str(folder)), PROBLEMS)
    assert judge(make_groups(), 0)[0][0].is_success(1)


@pytest.mark.parametrize("name", ["accuracy", "a:", ":a", "a:b:c", "a.py:b", "a b:c", "./a:b", ""])
def test_a_malformed_name_is_refused(name):
    with pytest.raises(ConfigError, match="module:function"):
        make_judge(named(name), PROBLEMS)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no_such_module_here:accuracy", "No module named"),
        ("bad_rewards:acuracy", "did you mean accuracy"),
        ("bad_rewards:zzz", "it has accuracy"),
        ("bad_rewards:number", "cannot be called"),
        ("bad_rewards:Klass", "a class"),
        ("bad_rewards:asks", "did you mean solution"),
        ("bad_rewards:asks_more", "zzz"),
        ("bad_rewards:positional", "completions"),
        ("raising_rewards:accuracy", "ZeroDivisionError"),
        ("exiting_rewards:accuracy", "SystemExit"),
        ("broken_rewards:accuracy", "SyntaxError"),
    ],
)
def test_a_function_that_cannot_serve_is_named(module, name, says):
    folder = module(
        "bad_rewards",
        f"{ACCURACY}\nnumber = 1\nclass Klass: pass\ndef asks(completions, solutions): pass\n"
        "def asks_more(zzz, **kwargs): pass\ndef positional(completions, /): pass\n",
    )
    module("raising_rewards", "1 / 0\n")
    module("exiting_rewards", "import sys; sys.exit(1)\n")
    module("broken_rewards", "def accuracy(:\n")
    with pytest.raises(VerifierError) as error:
        make_judge(named(name, folder=str(folder)), PROBLEMS)
    assert says in str(error.value)
    assert error.value.do


def test_two_modules_of_one_name_are_not_mistaken_for_each_other(module, tmp_path):
    module("rewards_twice", ACCURACY, tmp_path / "one")
    module("rewards_twice", "def accuracy(completions): return [1] * 4\n", tmp_path / "two")
    make_judge(named("rewards_twice:accuracy", folder=str(tmp_path / "one")), PROBLEMS)
    with pytest.raises(VerifierError, match="same name"):
        make_judge(named("rewards_twice:accuracy", folder=str(tmp_path / "two")), PROBLEMS)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["rewards.functions=['a:b']", "rewards.weights=[1, 2]"], "one weight for each of the 1"),
        (["rewards.functions=['a:b', 'a:c']", "rewards.weights=[]"], "holds 0"),
        (["rewards.functions=['a:b']", "rewards.weights=[nan]"], "finite"),
        (["rewards.form='chat'"], "'messages' or 'text'"),
        (["rewards.time_limit_s=0"], "is over 0"),
        (["rewards.functions='a:b'"], "is a list"),
        (["rewards.function=['a:b']"], "did you mean rewards.functions"),
    ],
)
def test_a_contradictory_table_is_refused(overrides, says):
    with pytest.raises(ConfigError) as error:
        make_config(*overrides)
    assert says in str(error.value)


def test_weights_without_functions_are_refused():
    with pytest.raises(ConfigError, match="no functions"):
        make_judge(make_config("rewards.weights=[1]"), PROBLEMS)


# --- functions passed in Python -------------------------------------------------------------------------------------


def test_functions_passed_are_named_in_the_configuration():
    config = with_functions(make_config("rewards.weights=[1, 2]"), [right, right_async])
    assert config.rewards.functions == [f"{__name__}:right", f"{__name__}:right_async"]
    assert with_functions(config, [right, right_async]) is config
    assert with_functions(make_config(), right).rewards.functions == [f"{__name__}:right"]
    assert with_functions(config, None) is config


def test_what_cannot_be_imported_again_has_a_name_that_says_so():
    class Own:
        def __call__(self, completions):
            return [1.0] * len(completions)

    assert name_of(right) == f"{__name__}:right"
    for function in (functools.partial(right), lambda: 0, Own(), giving(1)):
        name = name_of(function)
        assert "<" in name
        with pytest.raises(VerifierError, match="reward_functions"):
            make_judge(named(name), PROBLEMS)


@pytest.mark.parametrize("given", ["Org/Model", ["Org/Model"], [1], [torch.nn.Linear(1, 1)], [dict], [right, None]])
def test_what_is_no_function_is_refused(given):
    with pytest.raises(VerifierError, match="a reward function is a function"):
        with_functions(make_config(), given)


def test_functions_are_named_or_passed_but_not_both():
    with pytest.raises(ConfigError, match="leave one"):
        with_functions(named("a:b"), [right])


def test_weights_of_another_length_than_the_functions_passed_are_refused():
    with pytest.raises(ConfigError, match="one weight for each of the 1"):
        with_functions(make_config("rewards.weights=[1, 2]"), [right])


@pytest.mark.long
def test_a_run_is_judged_again_by_the_functions_it_began_with():
    local = giving(1, 1, 1, 1)
    config = with_functions(make_config(), [local, right])
    with pytest.raises(RunError, match="reward_functions"):
        make_judge_again(config, PROBLEMS)
    with pytest.raises(RunError, match="began with"):
        make_judge_again(config, PROBLEMS, [right, local])
    with pytest.raises(RunError, match="none"):
        make_judge_again(make_config(), PROBLEMS, [right])
    judged, _ = make_judge_again(config, PROBLEMS, [local, right])(make_groups(), 0)
    assert [v.reward for g in judged for v in g.verdicts] == [2.0, 1.0, 2.0, 1.0]
    importable = with_functions(make_config(), [right])
    assert make_judge_again(importable, PROBLEMS)(make_groups(), 0)[0][0].is_success(0)


# --- TRL's own ------------------------------------------------------------------------------------------------------


def trl_groups(*pairs):
    made = []
    for solution, texts in pairs:
        rollouts = tuple(rollout(text, i) for i, text in enumerate(texts))
        made.append(Group(0, problem("?", None, solution=solution), (1,), rollouts))
    return made


def test_published_functions_of_trl_run_unchanged():
    trl = pytest.importorskip("trl.rewards")
    groups = trl_groups(
        (r"$\frac{1}{3}$", [r"So \boxed{\frac{1}{3}}", r"So \boxed{\frac{1}{2}}"]),
        ("no mathematics ((", [r"<think>a</think>\boxed{1}", "b"]),
    )
    functions = [trl.accuracy_reward, trl.think_format_reward, trl.get_soft_overlong_punishment(20, 10)]
    _, verdicts, metrics = judge_with(*functions, groups=groups, weights=[1.0, 0.5, 0.25])
    noted = [[v.details[f"rewards/{name}"] for v in verdicts] for name in ("accuracy_reward", "think_format_reward")]
    assert noted == [[1.0, 0.0, None, None], [0.0, 0.0, 1.0, 0.0]]
    assert verdicts[0].details["gold_parsed"] == "[1/3, '\\\\frac{1}{3}']"
    assert verdicts[0].reward == pytest.approx(1.0 - 0.25)  # 23 tokens and one more: over 20
    assert verdicts[3].reward == 0.0
    assert metrics["rewards/soft_overlong_punishment_reward_error_count"] == 0.0
    assert metrics["rewards/accuracy_reward_none_count"] == 2.0


@pytest.mark.long
def test_published_functions_of_trl_are_found_by_name():
    pytest.importorskip("trl.rewards")
    problems = ProblemSet(train=tuple(g.problem for g in trl_groups(("1", ["1"]))), held_out=())
    for name in ("accuracy_reward", "reasoning_accuracy_reward", "think_format_reward"):
        judge = make_judge(named(f"trl.rewards:{name}"), problems)
        judged, _ = judge(trl_groups(("$1$", [r"<think>x</think> \boxed{1}"])), 0)
        assert judged[0].verdicts[0].kind == "correct"


def test_the_module_says_which_arguments_are_no_columns():
    assert set(signatures.GIVEN) <= set(given_to())
