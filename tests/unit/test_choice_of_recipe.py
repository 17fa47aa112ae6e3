"""Which recipe of peers is taken, of how a student wrote from each."""

import random
from dataclasses import replace

import pytest

from mopd.config import ContrastConfig, TemplateConfig
from mopd.core.errors import RunError
from mopd.core.statistics import wilson_interval
from mopd.method.contexts import ENGLISH, PEERS_FIRST, WORDINGS, template_of
from mopd.method.readings import Outcome, Reading, choose
from mopd.method.recipes import TRIED, Recipe, candidates, in_force, others
from tests.builders import make_config

CASES = 24
OWN = TemplateConfig(success="+{text}", failure="-{text}", feedback="?{text}", turn="{problem}{blocks}")


def reading(name, accuracy, count=CASES, seed=0):
    """How a student wrote that is right in a share of the cases; the same cases are the hard ones for all recipes."""
    successes, failures, *order = name.replace("S", " ").replace("F", " ").split()
    recipe = Recipe(int(successes), int(failures), order[0] if order else "failures_first")
    right = [i < round(accuracy * CASES) for i in range(CASES)]
    random.Random(seed).shuffle(right)
    return Reading(recipe, [Outcome(f"p{i // 2}", right[i]) for i in range(count)])


def chosen(**accuracies):
    return choose([reading(name, accuracy) for name, accuracy in accuracies.items()])[0].recipe


def test_where_failures_take_away_none_is_shown():
    """Qwen2.5-Coder-0.5B-Instruct on MBPP, as measured."""
    assert chosen(**{"1S0F": 0.95, "2S0F": 0.90, "1S1F": 0.6, "2S1F failures_first": 0.32}).failures == 0
    assert chosen(**{"1S0F": 0.95, "2S1F successes_first": 0.68}) == Recipe(1, 0, "failures_first")


def test_where_failures_take_nothing_away_the_fuller_recipe_is_taken():
    """An embedded student: it reads failures first, and nothing else."""
    found = chosen(**{"1S0F": 0.75, "2S0F": 0.75, "2S1F failures_first": 0.8, "2S1F successes_first": 0.1})
    assert found == Recipe(2, 1, "failures_first")


def test_of_equal_recipes_without_failures_the_fuller_is_taken():
    assert chosen(**{"1S0F": 0.9, "2S0F": 0.85}) == Recipe(2, 0, "failures_first")
    assert chosen(**{"1S0F": 0.9, "2S0F": 0.5}) == Recipe(1, 0, "failures_first")


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_read_the_taken_recipe_is_not_clearly_worse_than_any(seed):
    rng = random.Random(seed)
    names = ("1S0F", "2S0F", "1S1F failures_first", "1S1F successes_first", "2S1F failures_first")
    readings = [reading(name, rng.random(), seed=rng.randrange(99)) for name in names]
    taken, reason = choose(readings)
    assert reason
    for other in readings:
        assert taken.behind(other)[1][0] <= 0
    if taken.recipe.failures:
        assert taken.mean >= max(r.mean for r in readings if not r.recipe.failures)


def test_a_recipe_that_was_left_early_is_never_taken():
    early = reading("2S1F", 1.0, count=8)
    early.outcomes = [Outcome("p", right) for right in [True] * 7 + [False]]
    assert choose([reading("1S0F", 0.9), early])[0].recipe == Recipe(1, 0, "failures_first")


def test_a_gain_is_that_of_the_cases_that_both_have_and_counts_problems_alike():
    alone = Reading(None, [Outcome("a", False), Outcome("a", False), Outcome("b", True)])
    behind = Reading(None, [Outcome("a", True), Outcome("a", None)])
    gain, (low, high) = alone.behind(behind)
    assert gain == 1.0
    assert low <= gain <= high


def test_candidates_are_the_small_set_in_both_orders_and_two_wordings():
    found = candidates(make_config("peers.recipe='one_context'"), ENGLISH)
    counts = {(r.successes, r.failures) for r in found}
    assert counts == {(1, 0), (2, 0), (1, 1), (2, 1)}
    assert {(r.order, r.wording) for r in found if r.failures} == {
        (order, wording) for order in ("failures_first", "successes_first") for wording in TRIED
    }
    assert len(found) == len(set(found)) == 12
    assert found[0] == Recipe(1, 0, "failures_first", "peers_behind")  # the leanest first
    both = candidates(make_config(), ENGLISH)
    assert both[:12] == found
    assert both[12:] == [Recipe(1, 1, "failures_first", wording, contrast=True) for wording in TRIED]


@pytest.mark.parametrize(
    "overrides",
    [
        ["peers.recipe='one_context'"],
        ["divergence.kind='reverse_kl'", "divergence.k=5"],
        ["group_size=2", "peers.recipe='auto'", "peers.successes=1", "peers.failures=0"],
        ["peers.recipe='auto'", "peers.failures=0"],
        ["peers.require_success=false"],
        ["peers.show_failures='when_no_success'"],
        ["teacher={ kind = 'external', model = 'other' }"],
    ],
)
def test_no_contrast_is_tried_that_a_run_could_not_learn_from_or_was_told_not_to(overrides):
    assert not any(recipe.contrast for recipe in candidates(make_config(*overrides), ENGLISH))


def against(accuracy, count=CASES, seed=0):
    return replace(reading("1S0F", accuracy, count, seed), recipe=Recipe(1, 1, "failures_first", contrast=True))


def test_a_contrast_is_taken_where_its_reader_of_the_success_is_not_clearly_worse():
    as_good = [reading("1S0F", 0.9), reading("2S0F", 0.95), against(0.85)]
    taken, reason = choose(as_good)
    assert taken.recipe.contrast
    assert "20 of 24" in reason
    assert "2S0F" in reason
    assert choose([reading("2S0F", 0.95), against(0.4)])[0].recipe == Recipe(2, 0, "failures_first")
    early = against(1.0, count=8)
    early.outcomes[-1] = Outcome("p", False)
    assert choose([reading("1S0F", 0.9), early])[0].recipe == Recipe(1, 0, "failures_first")


def test_what_is_worth_knowing_besides_has_all_wordings():
    found = candidates(make_config(), ENGLISH)
    more = others(make_config(), ENGLISH, found)
    assert not set(found) & set(more)
    assert {recipe.wording for recipe in more} == set(WORDINGS)
    assert (2, 1) in {(recipe.successes, recipe.failures) for recipe in more if recipe.wording == "peers_as_turns"}


@pytest.mark.parametrize(
    ("overrides", "template", "wordings", "orders"),
    [
        ([], OWN, {"own"}, {"failures_first", "successes_first"}),  # a student with a wording of its own
        (["context.order='shuffled'"], ENGLISH, set(TRIED), {"shuffled"}),
        (["context.order='successes_first'"], OWN, {"own"}, {"successes_first"}),
        (["context.wording='peers_first'"], ENGLISH, {"own"}, {"failures_first", "successes_first"}),
    ],
)
def test_what_the_configuration_says_is_kept(overrides, template, wordings, orders):
    found = candidates(make_config(*overrides), template)
    assert {recipe.wording for recipe in found} == wordings
    assert {recipe.order for recipe in found if recipe.failures} == orders


def test_no_recipe_asks_for_more_peers_than_a_group_has():
    assert {r.count for r in candidates(make_config("group_size=4"), OWN)} == {1, 2, 3}
    few = make_config("group_size=2", "peers.recipe='auto'", "peers.successes=1", "peers.failures=0")
    assert [r.name for r in candidates(few, OWN)] == ["1S0F"]


def test_a_fixed_recipe_is_measured_first_and_once():
    found = candidates(make_config("peers.successes=2", "peers.failures=1"), ENGLISH)
    assert found[0] == Recipe(2, 1, "failures_first")
    assert Recipe(2, 1, "failures_first", "peers_behind") not in found
    assert len(found) == 12
    contrast = make_config("peers.successes=1", "peers.failures=1", "objective.contrast={}")
    assert candidates(contrast, ENGLISH) == [Recipe(1, 1, "failures_first", contrast=True)]


def test_a_recipe_applied_is_what_a_configuration_would_say():
    recipe = Recipe(1, 1, "successes_first", "peers_first")
    applied = recipe.applied(make_config())
    assert applied.peers.recipe == "fixed"
    assert (applied.peers.successes, applied.peers.failures) == (1, 1)
    assert applied.context.order == "successes_first"
    assert template_of(applied.context, OWN) == PEERS_FIRST
    own = Recipe(1, 0, "failures_first").applied(make_config())
    assert template_of(own.context, OWN) == OWN


@pytest.mark.parametrize("recipe", candidates(make_config(), ENGLISH), ids=lambda recipe: recipe.name)
def test_the_lines_that_fix_a_recipe_can_be_pasted(recipe):
    pasted, applied = make_config(*recipe.lines.split(", ")), recipe.applied(make_config())
    assert pasted.peers == applied.peers
    assert pasted.objective == applied.objective
    assert template_of(pasted.context, OWN) == template_of(applied.context, OWN)
    assert not recipe.failures or pasted.context.order == applied.context.order


def test_a_recipe_comes_back_from_its_record_and_is_missed_where_it_is_gone():
    config = make_config()
    for recipe in (Recipe(2, 1, "successes_first", "peers_behind"), Recipe(1, 1, "failures_first", contrast=True)):
        assert in_force(config, {"recipe": recipe.as_json()}) == recipe.applied(config)
    assert recipe.applied(config).objective.contrast == ContrastConfig()
    with pytest.raises(RunError, match=r"restore preflight\.json"):
        in_force(config, {})
    for own in (make_config("peers.failures=0"), make_config("objective.kind='grpo'")):
        assert in_force(own, {}) == own


def test_numbers_by_hand_fix_the_recipe_and_a_measured_one_needs_its_measurement():
    assert make_config().peers.recipe == "auto"
    assert make_config("peers.failures=0").peers.recipe == "fixed"
    assert make_config("peers.failures=0", "peers.recipe='auto'").peers.recipe == "auto"
    with pytest.raises(Exception, match=r"preflight\.action is off"):
        make_config("preflight.action='off'")


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [(0, 0, 0.0, 1.0), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634)],
)
def test_wilson_intervals_are_those_of_the_formula(hits, count, low, high):
    """Wilson 1927; the figures for ten trials are those of statsmodels' proportion_confint."""
    assert wilson_interval(hits, count) == pytest.approx((low, high), abs=2e-4)
