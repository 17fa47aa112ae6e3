"""The recipes of the paper and the page on data sets hold configurations that mopd accepts. No network is used."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from mopd.cli.words import parse
from mopd.config import build_config, load_config
from mopd.verifiers.code_tests import read_tests

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "configs" / "paper").glob("*.toml"))
PAGE = (ROOT / "docs" / "data-sets.md").read_text()
NAMES = ["livecodebench-qwen3-4b", "livecodebench-qwen3-8b", "math-qwen3-4b", "science-qwen3-8b", "tooluse-qwen3-8b"]


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


def commands(recipe):
    """The command lines in a recipe's comments."""
    comments = "\n".join(line[1:] for line in recipe.read_text().splitlines() if line.startswith("#"))
    lines = re.findall(r"^ {3}(mopd (?:.*\\\n)*.*)$", comments, flags=re.MULTILINE)
    return [shlex.split(line.replace("\\\n", " ")) for line in lines]


def test_there_is_a_recipe_for_each_domain():
    assert [path.stem for path in RECIPES] == NAMES


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_has_the_settings_of_the_paper(path):
    config = load_config(path)
    model = path.stem.split("-", 1)[1]
    assert config.student == f"Qwen/{model.replace('qwen', 'Qwen').replace('b', 'B')}"
    assert (config.problems_per_step, config.group_size) == (32, 8)
    assert (config.sampling.completion_tokens, config.context.tokens) == (4096, 10240)
    assert (config.sampling.temperature, config.sampling.top_p) == (1.0, 1.0)
    assert (config.optimizer.learning_rate, config.optimizer.warmup_steps) == (1e-5, 10)
    assert (config.teacher.kind, config.teacher.rate) == ("ema", 0.05)
    assert (config.divergence.kind, config.divergence.weight) == ("jensen_shannon", 0.5)
    assert (config.divergence.support, config.divergence.k, config.divergence.tail) == ("student_top_k", 100, True)
    assert (config.peers.successes, config.peers.failures) == (2, 1)
    evaluation = config.evaluation
    assert (evaluation.every, evaluation.rollouts, evaluation.temperature, evaluation.top_p) == (5, 8, 0.6, 0.95)
    assert config.chat.options == {"enable_thinking": False}
    assert config.run == f"runs/{path.stem}"


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_steps_of_a_recipe_are_thirty_passes(path):
    problems = re.search(r"30 passes over ([\d,]+) problems, 32 a step", path.read_text())[1]
    assert load_config(path).steps == -(-30 * int(problems.replace(",", "")) // 32)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_command_in_a_recipe_is_accepted_and_no_two_share_a_run(path):
    recipes = [parse(words[1:]) for words in commands(path)]
    configs = [load_config(ROOT / options.config, options.overrides) for options in recipes]
    assert {options.config for options in recipes} == {f"configs/paper/{path.name}"}
    trained = [config.run for options, config in zip(recipes, configs, strict=True) if not hasattr(options, "target")]
    assert len({*trained, f"runs/{path.stem}"}) == len(trained) + 1
    (sdpo,) = (config for config in configs if config.run.endswith("-sdpo"))
    assert (sdpo.peers.successes, sdpo.peers.failures) == (1, 0)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_says_that_it_was_not_run_and_what_its_figures_are(path):
    text = " ".join(path.read_text().replace("\n#", "\n").split())
    assert "validated and NOT been run: no GPU was at hand" in text
    assert "The paper reports" in text
    assert "its figures, not ones of mopd" in text


def test_only_livecodebench_trains_on_tests_of_held_out_problems_and_it_says_so():
    for path in RECIPES:
        is_asked_for = load_config(path).problems.train_on_half_of_held_out_tests
        text = " ".join(path.read_text().replace("\n#", "\n").split())
        assert is_asked_for == path.stem.startswith("livecodebench")
        assert is_asked_for == ("training sees half of the tests of the very problems that are evaluated on" in text)
    assert "training saw half of the tests of the very" in PAGE


@pytest.mark.parametrize("block", blocks("toml"), ids=lambda block: block.splitlines()[1])
def test_every_configuration_on_the_page_is_accepted(block):
    build_config(tomllib.loads(block))


def test_the_page_has_a_configuration_for_every_way_of_reading():
    configs = [build_config(tomllib.loads(block)).problems for block in blocks("toml")]
    schemas = {source.record_schema for config in configs for source in (config, *config.mix)}
    assert {"livecodebench", "mbpp", "sciknoweval"} <= schemas
    assert any(config.train_on_half_of_held_out_tests for config in configs)


def test_the_tests_on_the_page_are_read():
    (lines,) = blocks("json")
    assert len([read_tests(json.loads(line)) for line in lines.splitlines()]) == 3
