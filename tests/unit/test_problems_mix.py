"""Mixes: sources by domain, weights that hold exactly over many steps, ids that differ."""

from __future__ import annotations

import json
import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mopd.config import Config, ProblemsConfig, build_config
from mopd.core.errors import ConfigError, ProblemError
from mopd.core.types import Problem
from mopd.problems import ProblemSet, load_problems
from mopd.problems.order import Pace, apportion, most_in_a_step, whole_weights


def a_problem(domain, number):
    return Problem(f"{domain}-{number}", ({"role": "user", "content": f"{domain} {number}"},), "1", "exact", domain)


def a_mix(sizes, weights):
    """Training problems of as many domains (a, b, ...) as there are sizes, with weights."""
    domains = "abcdef"[: len(sizes)]
    train = [a_problem(domain, n) for domain, size in zip(domains, sizes, strict=True) for n in range(size)]
    return ProblemSet(tuple(train), (), dict(zip(domains, weights, strict=True)))


def write(path, count, **fields):
    rows = [{"prompt": f"{path.stem} {n}?", "answer": str(n)} | fields for n in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def entry(path, count=10, **fields):
    return {"source": write(path, count), **fields}


# --- weights --------------------------------------------------------------------------------------------------------

weights_lists = st.lists(st.floats(0, 10), min_size=1, max_size=5).filter(any)


@settings(max_examples=200, deadline=None)
@given(weights=weights_lists, count=st.integers(0, 400))
def test_seats_sum_to_the_count_and_none_is_lost_when_it_grows(weights, count):
    whole = whole_weights(weights)
    now, then = apportion(whole, count), apportion(whole, count + 1)
    assert sum(now) == count
    assert sorted(b - a for a, b in zip(now, then, strict=True)) == [0] * (len(weights) - 1) + [1]
    assert all(seats == 0 for seats, weight in zip(now, weights, strict=True) if weight == 0)


def given_one_by_one(weights, count):
    """The rule itself: each seat to the part whose next one comes first."""
    seats = [0] * len(weights)
    for _ in range(count):
        times = [((2 * s + 1) / w if w else float("inf")) for s, w in zip(seats, weights, strict=True)]
        seats[times.index(min(times))] += 1
    return seats


@settings(max_examples=100, deadline=None)
@given(weights=st.lists(st.integers(0, 9), min_size=1, max_size=5).filter(any), count=st.integers(0, 200))
def test_seats_are_those_given_one_by_one(weights, count):
    assert apportion(weights, count) == given_one_by_one(weights, count)


@settings(max_examples=60, deadline=None)
@given(weights=weights_lists, count=st.integers(1, 16), steps=st.integers(1, 300))
def test_shares_of_all_problems_taken_converge_to_the_weights(weights, count, steps):
    seats = apportion(whole_weights(weights), steps * count)
    for taken, weight in zip(seats, weights, strict=True):
        assert abs(taken - steps * count * weight / sum(weights)) <= len(weights)


def test_weights_are_taken_as_written():
    assert whole_weights([0.7, 0.3]) == (7, 3)
    problems = a_mix([30, 30], [0.7, 0.3])
    counts = Counter(p.domain for step in range(10) for p in problems.take(step, 5, 0))
    assert counts == {"a": 35, "b": 15}


def test_a_step_of_one_problem_still_reaches_every_domain():
    problems = a_mix([5, 5, 5], [1, 2, 1])
    assert Counter(problems.take(step, 1, 0)[0].domain for step in range(8)) == {"a": 2, "b": 4, "c": 2}


@settings(max_examples=80, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 12), min_size=2, max_size=4),
    weights=st.lists(st.sampled_from([0, 0.1, 0.5, 1, 2, 3]), min_size=4, max_size=4),
    count=st.integers(1, 9),
    seed=st.integers(0, 2),
)
def test_no_step_has_a_problem_twice_and_every_domain_walks_whole_passes(sizes, weights, count, seed):
    weights = weights[: len(sizes)]
    if not any(weights):
        return
    problems = a_mix(sizes, weights)
    try:
        steps = [[p.id for p in problems.take(step, count, seed)] for step in range(40)]
    except ProblemError:
        whole = whole_weights(weights)
        most = [most_in_a_step(Pace(whole, part, count), 40) for part, weight in enumerate(whole) if weight]
        assert any(
            one > size for one, size in zip(most, (s for s, w in zip(sizes, whole, strict=True) if w), strict=True)
        )
        return
    assert all(len(step) == len(set(step)) == count for step in steps)
    for domain, size in zip("abcd", sizes, strict=False):
        taken = [problem for step in steps for problem in step if problem.startswith(domain)]
        for begin in range(0, len(taken) - size + 1, size):
            assert len(set(taken[begin : begin + size])) == size


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    weights=st.lists(st.sampled_from([0, 1, 2, 3, 0.5, 7, 11]), min_size=4, max_size=4),
    count=st.integers(1, 9),
    steps=st.integers(1, 80),
)
def test_a_run_is_refused_before_its_first_step_exactly_where_one_of_its_steps_would_fail(sizes, weights, count, steps):
    weights = weights[: len(sizes)]
    if not any(weights):
        return
    assert _fails(lambda problems: problems.check_steps(steps, count), a_mix(sizes, weights)) == _fails(
        lambda problems: [problems.take(step, count, 0) for step in range(steps)], a_mix(sizes, weights)
    )


def _fails(function, problems):
    try:
        function(problems)
    except ProblemError:
        return True
    return False


def test_a_long_run_is_checked_in_no_time():
    a_mix([50, 50], [1 / 3, 2 / 3]).check_steps(10**9, 8)
    a_mix([3], [1]).check_steps(10**9, 3)
    with pytest.raises(ProblemError, match="4 problems a step, 3 training problems"):
        ProblemSet(a_mix([3], [1]).train, ()).check_steps(1, 4)


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(4, 9), min_size=2, max_size=3), seed=st.integers(0, 2))
def test_a_step_of_a_mix_depends_on_step_count_and_seed_alone(sizes, seed):
    """Backwards, on sets that nobody took from: what is cached or gone back to changes nothing."""
    weights = [1, 2, 1][: len(sizes)]
    forward = [a_mix(sizes, weights).take(step, 4, seed) for step in range(60)]
    problems = a_mix(sizes, weights)
    assert [problems.take(step, 4, seed) for step in reversed(range(60))] == forward[::-1]


def test_domains_differ_in_their_order_and_seeds_differ():
    problems = a_mix([50, 50], [1, 1])
    first = problems.take(0, 20, 0)
    a, b = ([p.id.split("-")[1] for p in first if p.domain == domain] for domain in "ab")
    assert a != b
    assert first != problems.take(0, 20, 1)


def test_a_domain_too_small_for_its_weight_is_refused_at_the_first_step():
    problems = a_mix([2, 50], [1, 3])  # 2 and 6 of 8; some of 10 are 3 and 7
    assert len(problems.take(0, 8, 0)) == 8
    with pytest.raises(ProblemError, match=r"lower the domain's problems\.weights") as error:
        problems.take(0, 10, 0)
    assert error.value.got == "3 problems of domain 'a' a step, 2 training problems"


def test_weighted_taking_is_cheap_on_large_sets_and_late_steps():
    problem_a, problem_b = a_problem("a", 0), a_problem("b", 0)
    problems = ProblemSet((problem_a,) * 100_000 + (problem_b,) * 40, (), {"a": 0.77, "b": 0.23})
    began = time.process_time()
    for step in range(500):
        problems.take(step, 64, 0)
    problems.take(10_000, 64, 0)
    assert time.process_time() - began < 5.0


def test_a_pace_finds_the_step_around_every_position():
    pace = Pace((7, 2, 1), 2, 3)
    for step in range(200):
        for position in range(pace.before(step), pace.before(step + 1)):
            assert pace.step_around(position) == (pace.before(step), pace.before(step + 1))


# --- loading --------------------------------------------------------------------------------------------------------


def test_a_mix_reads_each_entry_its_own_way(tmp_path):
    (tmp_path / "q.jsonl").write_text('{"question": "2+2", "label": 4, "domain": "own"}\n')
    mix = [
        {"source": str(tmp_path / "q.jsonl"), "columns": {"prompt": "question", "answer": "label"}, "verifier": "math"},
        entry(tmp_path / "words.jsonl", 3, domain="words"),
        {"source": "sort-digits", "size": 5, "options": {"length": 3}},
    ]
    problems = load_problems(ProblemsConfig(mix=mix, held_out=0)).train
    assert Counter((p.domain, p.verifier) for p in problems) == {
        ("own", "math"): 1,
        ("words", "exact"): 3,
        ("sort-digits", "exact"): 5,
    }
    assert [p.id for p in problems[:2]] == ["q/1", "words/1"]  # both files count their lines from 1


def test_ids_get_labels_only_where_two_entries_share_one(tmp_path):
    (tmp_path / "more").mkdir()
    mix = [entry(tmp_path / "a.jsonl", 2), {"source": "sort-digits", "size": 2}]
    assert "1" in {p.id for p in load_problems(ProblemsConfig(mix=mix, held_out=0)).train}
    mix = [entry(tmp_path / "a.jsonl", 2), entry(tmp_path / "more" / "a.jsonl", 2), entry(tmp_path / "b.jsonl", 1)]
    problems = load_problems(ProblemsConfig(mix=mix, held_out=0))
    assert [p.id for p in problems.train] == ["a/1", "a/2", "a-2/1", "a-2/2", "b/1"]


def test_an_error_in_an_entry_names_its_place_in_the_configuration(tmp_path):
    (tmp_path / "q.jsonl").write_text('{"question": "2+2", "answer": 4}\n')
    mix = [entry(tmp_path / "a.jsonl"), {"source": str(tmp_path / "q.jsonl")}]
    with pytest.raises(ProblemError, match=r"did you mean problems\.mix\[1\]\.columns\.prompt = 'question'\?"):
        load_problems(ProblemsConfig(mix=mix))


def test_every_domain_is_held_out_in_proportion(tmp_path):
    mix = [entry(tmp_path / f"{name}.jsonl", size, domain=name) for name, size in (("a", 60), ("b", 30), ("c", 10))]
    problems = load_problems(ProblemsConfig(mix=mix, held_out=20, weights={"a": 1, "b": 1, "c": 2}))
    assert Counter(p.domain for p in problems.held_out) == {"a": 12, "b": 6, "c": 2}
    assert Counter(p.domain for p in problems.take(0, 8, 0)) == {"a": 2, "b": 2, "c": 4}
    assert len({p.id for p in problems.train + problems.held_out}) == 100


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ({"a": 1, "b": 1, "d": 1}, ["'d', which has no training problem", "a (10), b (10)"]),
        ({"alpha": 1, "a": 1, "b": 1}, ["'alpha'", "a (10), b (10)"]),
        ({"a": 1}, ["none for b", "0 leaves a domain out"]),
        ({"a": 0, "b": 0}, ["over 0"]),
    ],
)
def test_weights_that_do_not_suit_the_domains_are_refused_naming_them(tmp_path, weights, says):
    mix = [entry(tmp_path / f"{name}.jsonl", domain=name) for name in "ab"]
    with pytest.raises(ConfigError) as error:
        load_problems(ProblemsConfig(mix=mix, held_out=0, weights=weights))
    assert all(word in str(error.value) for word in says), str(error.value)


def test_a_weight_for_a_domain_that_is_all_held_out_is_refused(tmp_path):
    mix = [entry(tmp_path / "a.jsonl", 50, domain="a"), entry(tmp_path / "b.jsonl", 1, domain="b")]
    with pytest.raises(ConfigError, match="'b', which has no training problem"):
        load_problems(ProblemsConfig(mix=mix, held_out=49, weights={"a": 1, "b": 1}))


def test_weights_suit_one_source_with_several_domains(tmp_path):
    rows = [{"prompt": f"{n}?", "answer": "1", "domain": "ab"[n % 2]} for n in range(20)]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    problems = load_problems(ProblemsConfig(source=str(tmp_path / "a.json"), held_out=4, weights={"b": 3, "a": 1}))
    assert Counter(p.domain for p in problems.take(0, 4, 0)) == {"a": 1, "b": 3}
    assert Counter(p.domain for p in problems.held_out) == {"a": 2, "b": 2}


# --- the configuration ----------------------------------------------------------------------------------------------

MIX = {"source": "sort-digits", "size": 10}


@pytest.mark.parametrize(
    ("problems", "says"),
    [
        ({"source": "a.jsonl", "mix": [MIX]}, "problems.mix takes the place of problems.source"),
        ({"source": "sort-digits", "mix": [MIX]}, "problems.mix takes the place of problems.source"),
        ({"source": ""}, "problems.source is empty"),
        ({"size": 10, "mix": [MIX]}, "problems.size belongs into the entries"),
        ({"columns": {"prompt": "x"}, "mix": [MIX]}, "problems.columns belongs into the entries"),
        ({"split": "test", "mix": [MIX], "held_out_source": "a.jsonl"}, "problems.split belongs into the entries"),
        ({"mix": [{"size": 10}]}, "problems.mix.0.source"),
        ({"mix": [MIX | {"colums": {}}]}, "did you mean problems.mix[].columns?"),
        ({"columns": {"promt": "x"}}, "has the key 'promt'"),
        ({"weights": {"a": -1}}, "problems.weights.a"),
        ({"weights": {"a": float("inf")}}, "problems.weights.a"),
        ({"source": "a.jsonl", "held_out_split": "test"}, "hub:NAME"),
        ({"mix": [MIX], "held_out_split": "test"}, "hub:NAME"),
        ({"held_out": 0, "held_out_source": "a.jsonl"}, "problems.held_out is 0"),
    ],
)
def test_contradictory_keys_of_problems_are_refused(problems, says):
    with pytest.raises(ConfigError) as error:
        build_config({"problems": problems})
    assert says in str(error.value)


def test_a_mix_survives_its_own_dump_and_overrides():
    overrides = [
        "problems.mix=[{source='a.jsonl', domain='a', columns={prompt='question'}}, {source='hub:x/y', split='test'}]",
        "problems.weights={a=2, default=0.5}",
    ]
    config = build_config({}, overrides)
    assert config.problems.mix[0].columns == {"prompt": "question"}
    assert Config.model_validate_json(config.model_dump_json()) == config
    assert build_config({}, ["problems.columns.prompt=question"]).problems.columns == {"prompt": "question"}
