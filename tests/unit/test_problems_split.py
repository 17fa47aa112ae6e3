"""Splits: trivially different copies stay together, another source can be held out, near-duplicates are counted."""

from __future__ import annotations

import dataclasses
import json
import random
import string
import time
from collections import Counter
from itertools import pairwise

import datasets
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from mopd.config import ProblemsConfig, build_config
from mopd.core.errors import ConfigError, ProblemError
from mopd.core.types import Problem
from mopd.problems import load_problems
from mopd.problems.near_duplicates import JACCARD, SHINGLE, near_duplicates
from mopd.problems.split import SplitReport, hold_out, normalise, normalised_prompt
from mopd.report.terminal import print_split


def a_problem(number, prompt, domain="default"):
    return Problem(f"p{number}", ({"role": "user", "content": prompt},), "1", "exact", domain)


def write(path, prompts, **fields):
    path.write_text("".join(json.dumps({"prompt": p, "answer": "1"} | fields) + "\n" for p in prompts))
    return str(path)


def prompts_of(problems):
    return [problem.messages[-1]["content"] for problem in problems]


# --- by prompt ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [("What  is\n1?", " what is 1? "), ("STRASSE", "straße"), ("ﬁve", "FIVE"), ("\uff11\uff0b\uff11", "1+1")],
)
def test_trivially_different_copies_are_one_prompt(one, other):
    assert normalise(one) == normalise(other)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=20))
def test_normalising_twice_changes_nothing_and_neither_do_case_and_space(text):
    once = normalise(text)
    assert normalise(once) == once
    assert normalise(f"  {text}\t") == once
    assert normalise(once.replace(" ", " \n ")) == once


def copies(word):
    return st.sampled_from([word, word.upper(), f" {word}", f"{word}\n"])


@settings(max_examples=60, deadline=None)
@given(
    prompts=st.lists(st.sampled_from("abcdefgh").flatmap(copies), min_size=2, max_size=30),
    domains=st.lists(st.sampled_from("xyz"), min_size=30, max_size=30),
    share=st.floats(0, 0.9),
    seed=st.integers(0, 3),
)
def test_no_prompt_is_on_both_sides_however_it_is_written(prompts, domains, share, seed):
    problems = [a_problem(n, prompt, domain) for n, (prompt, domain) in enumerate(zip(prompts, domains, strict=False))]
    count = int(share * len(problems))
    held_out = hold_out(problems, count, seed)
    held = {p.id for p in held_out}
    assert len(held) == len(held_out) <= count
    inside = {normalised_prompt(p) for p in held_out}
    assert all((normalised_prompt(p) in inside) == (p.id in held) for p in problems)
    assert held_out == hold_out(problems, count, seed)


def test_more_held_out_problems_of_several_domains_contain_the_fewer():
    problems = [a_problem(n, str(n), "xyz"[n % 7 % 3]) for n in range(70)]
    sets = [{p.id for p in hold_out(problems, count, 0)} for count in range(60)]
    assert [len(one) for one in sets] == list(range(60))
    assert all(fewer <= more for fewer, more in pairwise(sets))


# --- held out from elsewhere ----------------------------------------------------------------------------------------


def load(tmp_path, train, apart, **fields):
    source, held_out_source = write(tmp_path / "train.jsonl", train), write(tmp_path / "test.jsonl", apart)
    return load_problems(ProblemsConfig(source=source, held_out_source=held_out_source, **fields))


def test_an_instruction_stands_behind_held_out_prompts_of_another_source_too(tmp_path):
    found = load(tmp_path, ["one", "two", "three"], ["Two", "four"], held_out=2, instruction="Say it in a word.")
    both = [problem.messages[-1]["content"] for problem in found.train + found.held_out]
    assert sorted(both) == sorted(f"{text}\n\nSay it in a word." for text in ("one", "three", "Two", "four"))
    assert found.split.removed_count == 1  # "two": what is held out is not trained on


def test_held_out_problems_come_from_their_own_source_and_their_prompts_leave_training(tmp_path):
    problems = load(tmp_path, ["Is it a?", "is  it B?", "Is it c?"], ["Is it b?", "Is it z?"])
    assert prompts_of(problems.train) == ["Is it a?", "Is it c?"]
    assert prompts_of(problems.held_out) == ["Is it b?", "Is it z?"]
    assert problems.split.removed_count == 1
    assert [p.id for p in problems.train + problems.held_out] == ["train/1", "train/3", "held_out/1", "held_out/2"]


def test_of_a_large_source_held_out_problems_are_drawn_by_seed(tmp_path):
    train, apart = [f"train {n}" for n in range(5)], [f"test {n}" for n in range(50)]
    problems = load(tmp_path, train, apart, held_out=10)
    assert len(problems.held_out) == 10
    assert len(problems.train) == 5
    assert problems == load(tmp_path, train, apart, held_out=10)
    assert problems.held_out != load(tmp_path, train, apart, held_out=10, seed=1).held_out
    assert prompts_of(load(tmp_path, train, apart, held_out=50).held_out) == apart


@settings(max_examples=40, deadline=None)
@given(
    train=st.lists(st.sampled_from("abcdefgh").flatmap(copies), min_size=1, max_size=12),
    apart=st.lists(st.sampled_from("efghij").flatmap(copies), min_size=1, max_size=12),
    count=st.integers(1, 12),
)
def test_a_source_apart_shares_no_prompt_with_training_and_all_removed_are_counted(
    tmp_path_factory, train, apart, count
):
    try:
        problems = load(tmp_path_factory.mktemp("apart"), train, apart, held_out=count)
    except ProblemError:
        of_prompt = Counter(normalise(p) for p in apart)
        assert {normalise(p) for p in train} <= {*of_prompt} or min(of_prompt.values()) > count
        return
    sides = [{normalise(p) for p in prompts_of(side)} for side in (problems.train, problems.held_out)]
    assert not sides[0] & sides[1]
    assert problems.split.removed_count == len(train) - len(problems.train)
    assert [p for p in train if normalise(p) not in sides[1]] == prompts_of(problems.train)


def test_the_source_apart_is_read_by_the_same_columns(tmp_path):
    (tmp_path / "train.json").write_text('[{"question": "a", "label": 1}]')
    (tmp_path / "test.json").write_text('[{"question": "b", "label": 2}]')
    problems = load_problems(
        ProblemsConfig(
            source=str(tmp_path / "train.json"),
            held_out_source=str(tmp_path / "test.json"),
            columns={"prompt": "question", "answer": "label"},
            verifier="math",
        )
    )
    (held_out,) = problems.held_out
    assert (held_out.reference, held_out.verifier) == ("2", "math")


def test_a_split_of_the_same_data_set_can_be_held_out(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    rows = {name: [{"prompt": f"{name} {n}", "answer": "1"} for n in range(3)] for name in ("train", "test")}
    datasets.DatasetDict({name: datasets.Dataset.from_list(r) for name, r in rows.items()}).save_to_disk(tmp_path / "s")
    source = f"hub:{tmp_path / 's'}"
    expected = [row["prompt"] for row in rows["test"]]
    alone = load_problems(ProblemsConfig(source=source, held_out_split="test"))
    both = load_problems(ProblemsConfig(source=source, split="train", held_out_source=source, held_out_split="test"))
    assert prompts_of(alone.held_out) == prompts_of(both.held_out) == expected
    assert prompts_of(alone.train) == [row["prompt"] for row in rows["train"]]


def test_held_out_problems_are_not_generated_and_never_all_there_is(tmp_path):
    with pytest.raises(ConfigError, match="held_out_source"):
        load_problems(ProblemsConfig(held_out_source="sort-digits"))
    with pytest.raises(ProblemError, match=r"another problems\.held_out_source"):
        load(tmp_path, ["a", "b"], ["A", "B", "c"])


# --- half of the tests of held-out problems ---------------------------------------------------------------------------


def code_record(number, count, **fields):
    tests = {"testtype": "stdin", "inputs": [f"{n}" for n in range(count)], "outputs": [f"{-n}" for n in range(count)]}
    return {"id": number, "prompt": f"Negate, variant {number}.", "kind": "code", "tests": tests} | fields


def load_code(tmp_path, records, **fields):
    (tmp_path / "code.json").write_text(json.dumps(records))
    return load_problems(ProblemsConfig(source=str(tmp_path / "code.json"), **fields))


def test_without_being_asked_for_no_problem_is_on_both_sides(tmp_path):
    problems = load_code(tmp_path, [code_record(n, 4) for n in range(8)], held_out=3)
    assert not {*prompts_of(problems.train)} & {*prompts_of(problems.held_out)}
    assert problems.split.trained_on_count == 0
    with pytest.raises(ProblemError, match="held out"):
        load_code(tmp_path, [code_record(n, 4) for n in range(8)], held_out=8)


@pytest.mark.parametrize("held_out", [3, 8, 100])
def test_where_asked_for_held_out_problems_are_trained_on_with_half_of_their_tests(tmp_path, held_out):
    records = [code_record(n, n + 1) for n in range(8)]
    asked = {"held_out": held_out, "train_on_half_of_held_out_tests": True}
    problems = load_code(tmp_path, records, **asked)
    count = min(held_out, 8)
    assert {*prompts_of(problems.train)} == {record["prompt"] for record in records}
    assert (len(problems.held_out), problems.split.trained_on_count) == (count, count)
    assert len({p.id for p in problems.train + problems.held_out}) == 8 + count
    whole = {p.messages[0]["content"]: p.columns["tests"] for p in problems.held_out}
    halves = [p for p in problems.train if p.id.endswith("/half-of-tests")]
    assert len(halves) == count
    for problem in halves:
        tests, every = problem.columns["tests"], whole[problem.messages[0]["content"]]
        pairs, all_pairs = (list(zip(t["inputs"], t["outputs"], strict=True)) for t in (tests, every))
        assert len(pairs) == max(1, len(all_pairs) // 2)
        assert pairs == [pair for pair in all_pairs if pair in pairs]
    assert problems == load_code(tmp_path, records, **asked)
    assert problems.train != load_code(tmp_path, records, **asked, seed=1).train
    assert all(p.columns["tests"] == records[int(p.id)]["tests"] for p in problems.held_out)


def test_half_of_the_tests_of_a_source_apart_may_be_json_text(tmp_path):
    text = json.dumps(code_record(1, 4)["tests"])
    (tmp_path / "apart.json").write_text(json.dumps([code_record(1, 4, tests=text), code_record(2, 4)]))
    problems = load_code(
        tmp_path,
        [code_record(n, 4) for n in (2, 3)],
        held_out_source=str(tmp_path / "apart.json"),
        train_on_half_of_held_out_tests=True,
    )
    assert problems.split.removed_count == 1
    assert [len(p.columns["tests"]["inputs"]) for p in problems.train] == [4, 2, 2]


def test_half_of_the_tests_is_taken_of_single_cases_alone(tmp_path):
    asserts = code_record(1, 1, tests={"testtype": "assert", "code": "assert f(1) == -1"})
    for record in (asserts, {"id": 1, "prompt": "x", "answer": "1"}):
        with pytest.raises(ProblemError, match=r"train_on_half_of_held_out_tests"):
            load_code(tmp_path, [record], train_on_half_of_held_out_tests=True)
    with pytest.raises(ConfigError, match="train_on_half_of_held_out_tests"):
        build_config({"problems": {"train_on_half_of_held_out_tests": True, "held_out": 0}})


def test_training_on_half_of_the_tests_is_said_with_the_figures():
    console = Console(record=True, width=200)
    print_split(dataclasses.asdict(SplitReport(trained_on_count=5)), console)
    assert "5 held-out problems were trained on, with half of their tests" in console.export_text()
    print_split(dataclasses.asdict(SplitReport()), console)
    assert not console.export_text().strip()


# --- near-duplicates ------------------------------------------------------------------------------------------------


def jaccard(one, other):
    """The overlap of two texts' shingles, from its definition."""
    texts = [normalise(text) for text in (one, other)]
    sets = [{text[begin : begin + SHINGLE] for begin in range(max(1, len(text) - SHINGLE + 1))} for text in texts]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def words(rng, count):
    return ["".join(rng.choices(string.ascii_lowercase, k=rng.randint(2, 8))) for _ in range(count)]


def test_near_duplicates_are_those_of_the_definition():
    """Texts that differ in 0 to 20 of 60 words, on both sides of the bound: none is counted wrongly, none is missed."""
    rng = random.Random(0)
    train, held_out = [], []
    for number in range(300):
        text = words(rng, 60)
        train.append(a_problem(number, " ".join(text)))
        for place in rng.sample(range(60), number % 21):
            text[place] = words(rng, 1)[0]
        held_out.append(a_problem(1000 + number, " ".join(text).upper()))
    overlaps = [jaccard(*pair) for pair in zip(prompts_of(train), prompts_of(held_out), strict=True)]
    near = [index for index, overlap in enumerate(overlaps) if overlap >= JACCARD]
    assert 50 < len(near) < 250
    assert near_duplicates(held_out, train) == (len(near), (held_out[near[0]].id, train[near[0]].id))


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(st.text("ab 1", min_size=1, max_size=12).filter(str.strip), min_size=2, max_size=12))
def test_of_short_texts_no_pair_is_counted_that_is_none(texts):
    half = len(texts) // 2
    held_out, train = ([a_problem(n, t) for n, t in enumerate(side)] for side in (texts[:half], texts[half:]))
    expected = [any(jaccard(a, b) >= JACCARD for b in texts[half:]) for a in texts[:half]]
    count, pair = near_duplicates(held_out, train)
    assert count <= sum(expected)
    assert count >= sum(any(normalise(a) == normalise(b) for b in texts[half:]) for a in texts[:half])
    assert (pair is None) == (count == 0)


def test_texts_of_other_scripts_are_compared_and_system_turns_are_not():
    one, other = (
        "一个农夫有十七只羊，除了九只以外都死了，还剩下多少只羊？" * 3,
        "今天的天气非常好我们一起去公园散步吧" * 3,
    )
    system = {"role": "system", "content": "You are a helpful assistant. " * 20}
    train, near, far = (
        Problem(name, (system, {"role": "user", "content": text}), "1", "exact")
        for name, text in (("t", one), ("n", one + "。"), ("f", other))
    )
    assert near_duplicates([far, near], [train]) == (1, ("n", "t"))


def test_loading_reports_near_duplicates(tmp_path):
    long = "A farmer had seventeen sheep, and all but nine of them died in the winter. How many are left"
    problems = load(tmp_path, ["Something else entirely, on ships.", f"{long}?"], [f"{long} now?"])
    assert (problems.split.removed_count, problems.split.near_duplicate_count) == (0, 1)
    assert problems.split.near_duplicate == ("held_out/1", "train/2")
    assert load_problems(ProblemsConfig(size=60, held_out=10)).split.near_duplicate is None


def test_ten_thousand_problems_of_five_hundred_characters_take_a_few_seconds():
    rng = random.Random(0)
    vocabulary = words(rng, 3000)
    problems = [a_problem(n, " ".join(rng.choices(vocabulary, k=85))) for n in range(10_000)]
    copy = a_problem(-1, prompts_of(problems)[-1].replace(" ", "  ") + "!")
    began = time.process_time()
    assert near_duplicates([*problems[:500], copy], problems[500:]) == (1, ("p-1", "p9999"))
    assert time.process_time() - began < 5.0


def test_problems_of_one_template_are_still_compared_quickly():
    """The worst case: nearly every pair is a candidate and none is a near-duplicate."""
    rng = random.Random(0)
    vocabulary = words(rng, 3000)
    template = rng.choices(vocabulary, k=85)
    problems = []
    for number in range(5_000):
        text = list(template)
        for place in rng.sample(range(85), 9):
            text[place] = rng.choice(vocabulary)
        problems.append(a_problem(number, " ".join(text)))
    began = time.process_time()
    count, _ = near_duplicates(problems[:128], problems[128:])
    assert time.process_time() - began < 8.0
    assert count < 10
