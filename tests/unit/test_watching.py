"""A run in which no verdict comes stops where that is seen first; graders that fail now and then stop nothing."""

import pytest

from mopd.core.errors import VerdictError
from mopd.judging.watching import WatchedJudge
from tests.builders import make_group


def watched(*judgings):
    """A judge that gives one group a judging, of the kinds named, and how often it may be asked before it stops."""
    given = iter(judgings)

    def judge(groups, step):
        kinds = next(given)
        feedback = [f"cause {index}" for index in range(len(kinds))]
        return [make_group(["1"] * len(kinds), kinds=kinds, feedback=feedback)], {"judge/asked": 1.0}

    return WatchedJudge(judge)


def judgings_until_stopped(*judgings):
    judge = watched(*judgings)
    for done in range(len(judgings)):
        try:
            judge([], done)
        except VerdictError:
            return done + 1
    return None


E, C, W, T = "error", "correct", "wrong", "truncated"


@pytest.mark.parametrize(
    ("judgings", "stopped"),
    [
        ([[E, E]], 1),
        ([[E]], 1),
        ([[T, T], [E, E]], 2),
        ([[T, E], [T, E], [T, T], [E, E]], 4),  # few were asked at first, and cut ones tell nothing
        ([[T, *[E] * 8]], 1),
        ([[T, *[E] * 7], [T, E]], 2),
        ([[C, E], [E, E], [E, E], [E, E]], 4),
        ([[W, E], [E, E], [E, E], [W, E], [E, E], [E, E]], None),
        ([[W], [E] * 50, [W]], None),
        ([[T, T]] * 20, None),
        ([[E, E, E, W]] * 20, None),
    ],
)
def test_no_verdict_stops_a_run_as_soon_as_that_is_sure(judgings, stopped):
    assert judgings_until_stopped(*judgings) == stopped


def test_the_first_cause_is_said_with_how_many_failed():
    with pytest.raises(VerdictError) as error:
        watched([T, *[E] * 9])([], 0)
    assert "cause 1" in str(error.value)
    assert "9 completions" in str(error.value)
    assert error.value.exit_status == 1


def test_what_the_judge_gives_is_handed_on():
    groups, metrics = watched([C, W])([], 0)
    assert [verdict.kind for verdict in groups[0].verdicts] == [C, W]
    assert metrics == {"judge/asked": 1.0}
