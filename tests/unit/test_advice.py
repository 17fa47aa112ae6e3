"""Which word a preflight gives, of what was measured."""

import pytest

from mopd import load_config
from mopd.core.errors import PreflightError
from mopd.method.advice import ENOUGH_PROBLEMS, Measured, advise, is_clearly_better
from mopd.method.readings import Outcome, Reading
from mopd.method.recipes import Recipe
from tests.builders import make_config

PROBLEMS = 12
FINDING = PreflightError("must", "what was got", "what to do")


def reading(recipe, right, *, problems=PROBLEMS, **copies):
    """A share of two cases a problem is right, the first problems' first."""
    solved = round(2 * problems * right)
    return Reading(recipe, [Outcome(f"p{i // 2}", i < solved, **copies) for i in range(2 * problems)])


ALONE = reading(None, 0.25)
ONE = Recipe(1, 0, "failures_first", "peers_behind")
BOTH = Recipe(2, 1, "successes_first", "peers_first")
WARMUP = ("warmup.kind = 'solutions'", "warmup.steps = 24", "warmup.context_steps = 20")


def measured(taken=None, *others, alone=ALONE, **figures):
    """Half of the groups are mixed, unless told."""
    asked = {"attempted": 24, "solved": 2, "failed": 10, "problems_per_step": 8, "warmup_settings": WARMUP}
    readings = [one for one in (taken, *others) if one is not None]
    return Measured(**(asked | figures), alone=alone if taken else None, taken=taken, readings=readings)


def word(*args, **figures):
    return advise(measured(*args, **figures)).word


def test_a_teacher_that_is_clearly_better_behind_the_runs_recipe_goes():
    found = advise(measured(reading(ONE, 0.75)))
    assert found.word == found.said == "go"
    assert "18 of 24, the student alone in 6 of 24: a gap of +0.50" in found.reasons[0]


def test_where_only_another_recipe_helps_the_context_is_changed_to_it():
    found = advise(measured(reading(BOTH, 0.25), reading(ONE, 0.75), finding=FINDING))
    assert found.said == f"change the context to {ONE.name}"
    assert found.reading.recipe == ONE
    assert ONE.name in found.reasons[0]
    assert BOTH.name in found.reasons[1]


def test_a_recipe_that_helps_is_left_only_for_one_that_is_clearly_better():
    assert word(reading(ONE, 0.75), reading(BOTH, 0.8)) == "go"
    assert word(reading(ONE, 0.5), reading(BOTH, 1.0)) == "change the context"


def test_peers_that_do_not_fit_are_given_room():
    found = advise(measured(reading(ONE, 0.75), fits=False, finding=FINDING, context_settings=("context.tokens = 90",)))
    assert found.said == "change the context: raise context.tokens"
    assert found.reasons == ("what was got", "what to do")
    assert found.toml == "[context]\ntokens = 90\n"


@pytest.mark.parametrize("right", [0.0, 0.25])
def test_where_no_recipe_helps_verdicts_teach_if_a_step_has_a_mixed_group(right):
    found = advise(measured(reading(ONE, right)))
    assert found.word == "use GRPO"
    assert found.settings == ("objective.kind = 'grpo'",)
    assert "4.0 of a step's 8" in found.reasons[-1]


def test_where_no_recipe_helps_and_hardly_a_group_is_mixed_the_student_is_warmed_up():
    found = advise(measured(reading(ONE, 0.25), attempted=100, failed=90, solved=0))
    assert found.word == "warm up first"
    assert found.settings == WARMUP
    assert word(reading(ONE, 0.25), attempted=100, failed=0, solved=90) == "change the problems"


def test_where_nothing_is_mixed_it_depends_on_what_there_is():
    assert word(failed=24, solved=0, finding=FINDING) == "warm up first"
    assert word(failed=0, solved=24, finding=FINDING) == "change the problems"
    assert word(failed=12, solved=12, finding=FINDING) == "warm up first"
    assert "does not suffice" in advise(measured(failed=24, solved=0, has_warmup=True)).reasons[-1]


def test_an_objective_without_a_teacher_goes_by_its_mixed_groups():
    found = advise(measured(has_teacher=False))
    assert (found.word, found.settings) == ("go", ())
    assert word(has_teacher=False, attempted=100, failed=95, solved=0) == "warm up first"


def test_no_peers_to_show_leaves_the_verdicts():
    """A lone success in each group has no other success to show."""
    assert word(finding=FINDING) == "use GRPO"


def test_a_gap_that_may_be_chance_is_no_go():
    small = reading(ONE, 0.25)
    small.outcomes[20] = Outcome("p10", True)  # one more of 24
    assert ALONE.behind(small)[0] > 0
    found = advise(measured(small))
    assert found.word == "use GRPO"
    assert "may be chance" in found.reasons[1]


@pytest.mark.parametrize("problems", [1, ENOUGH_PROBLEMS - 1, ENOUGH_PROBLEMS])
def test_few_problems_tell_nothing_whatever_their_interval(problems):
    alone, right = reading(None, 0.0, problems=problems), reading(ONE, 1.0, problems=problems)
    assert alone.behind(right) == (1.0, (1.0, 1.0))
    assert is_clearly_better(alone, right) == (problems >= ENOUGH_PROBLEMS)
    found = advise(measured(right, alone=alone))
    assert found.word == ("go" if problems >= ENOUGH_PROBLEMS else "use GRPO")
    assert any("too few to tell" in reason for reason in found.reasons) == (problems < ENOUGH_PROBLEMS)


def test_copies_controls_and_scores_that_mislead_are_said():
    copying = reading(ONE, 0.75, is_copied_failure=True, is_copied_success=True)
    as_good = reading(Recipe(1, 0, "failures_first", control="unrelated_problem"), 0.75)
    worse = reading(Recipe(1, 0, "failures_first", control="random_peer"), 0.25)
    told = " ".join(advise(measured(copying, controls=[as_good, worse])).reasons)
    assert "repeats a failure that it is shown in 100 %" in told
    assert "in 100 % it repeats a success word for word" in told
    assert "another problem's peers it is not clearly worse" in told
    assert "random peers" not in told
    misled = advise(measured(reading(ONE, 0.25), auc=0.97))
    assert any("AUC 0.97" in reason and "writes no better" in reason for reason in misled.reasons)
    assert not any("AUC" in reason for reason in advise(measured(reading(ONE, 0.75), auc=0.97)).reasons)


@pytest.mark.parametrize(
    "recipe",
    [
        ONE,
        BOTH,
        Recipe(0, 1, "failures_first"),
        Recipe(0, 0, "failures_first", feedback=True),
        Recipe(2, 0, "failures_first", "peers_first", feedback=True),
    ],
    ids=lambda recipe: recipe.name,
)
def test_settings_are_a_configuration_that_goes_by_the_recipe(recipe):
    found = advise(measured(reading(recipe, 0.75)))
    pasted, applied = make_config(*found.settings), recipe.applied(make_config())
    assert pasted.peers == applied.peers
    assert pasted.context.wording == applied.context.wording
    assert pasted.context.feedback == applied.context.feedback
    assert load_config(f"steps = 3\n{found.toml}").peers == applied.peers


@pytest.mark.parametrize("settings", [WARMUP, ("objective.kind = 'grpo'",)])
def test_other_settings_are_settings_too(settings):
    make_config(*settings)
