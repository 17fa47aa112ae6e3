"""A step's line holds at any width, and says nothing of what was not judged."""

import io

import pytest
from rich.console import Console

from mopd.report.steps import FIGURES, SHOWN, duration, figures_within, panel, plain_line
from mopd.report.terminal import print_group
from mopd.report.warnings import warnings_of

ROW = {
    "step": 9,
    "reward/mean": 0.123456,
    "reward/success_share": 0.5,
    "objective/loss": 0.01234,
    "completion/tokens_mean": 101.4,
    "completion/tokens_max": 256.0,
    "completion/truncated_share": 0.25,
    "lessons/count": 30.0,
    "time/tokens_per_s": 1234.5,
    "time/step_s": 12.34,
    "verdicts/correct_count": 16.0,
    "verdicts/wrong_count": 16.0,
    "verdicts/error_count": 0.0,
}


@pytest.mark.parametrize("width", [30, 60, 80, 200])
def test_a_panel_is_no_wider_than_its_terminal_and_all_its_lines_are_of_one_width(width):
    lines = panel([ROW] * 20, width).split("\n")
    assert len(lines) == 1 + SHOWN
    assert len({len(line) for line in lines}) == 1
    assert len(lines[0]) <= width
    assert lines[0].split() == [figure.heading for figure in figures_within(width)]


def test_a_narrow_terminal_shows_what_matters_most_and_a_wide_one_all():
    assert [figure.heading for figure in figures_within(30)] == ["step", "success", "loss"]
    assert figures_within(200) == list(FIGURES)


def test_what_was_not_judged_is_a_dash_and_no_zero():
    failed = ROW | {"verdicts/correct_count": 0.0, "verdicts/wrong_count": 0.0, "verdicts/error_count": 32.0}
    assert "success -  reward -" in plain_line(failed, 40)
    assert "success 0.50  reward 0.12" in plain_line(ROW, 40)
    assert plain_line(ROW | {"objective/loss": None}, 40).startswith("step 10/40")
    assert "loss -" in plain_line(ROW | {"objective/loss": None}, 40)


@pytest.mark.parametrize(("seconds", "says"), [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (5400, "1.5 h")])
def test_durations_are_of_a_size_that_people_read(seconds, says):
    assert duration(seconds) == says


QUIET = {"lessons/count": 0.0, "peers/successes_mean": 0.0, "peers/failures_mean": 0.0, "update/count": 1.0}
QUIET |= {"context/shortened_peers_count": 0.0, "context/dropped_peers_count": 0.0}
SOUND = ROW | QUIET | {"completion/truncated_share": 0.0}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"completion/truncated_share": 0.3}, "30 % of completions were cut"),
        ({"verdicts/error_count": 1.0}, "1 of 33 rollouts have no verdict"),
        ({"update/count": 0.0}, "1 of 1 steps updated nothing"),
        (
            {"lessons/count": 8.0, "peers/successes_mean": 2.0, "context/dropped_peers_count": 4.0},
            "4 of 16 peers were shortened or left out",
        ),
        ({"update/skipped_nonfinite_count": 2.0}, "2 gradients were not finite"),
    ],
)
def test_what_is_odd_about_a_run_is_one_warning_with_what_to_do(change, says):
    assert warnings_of([SOUND], {}) == []
    (told,) = warnings_of([SOUND | change], {})
    assert told.startswith(says)
    assert ":" in told


def test_a_tracker_that_failed_is_told_of():
    assert warnings_of([SOUND], {"tracker_failed_count": 3}) == [
        "3 calls of the tracker failed; metrics.jsonl has every figure"
    ]


GROUP = {
    "step": 3,
    "prompt": [{"role": "user", "content": "What is\n two plus [bold]two[/]? " * 20}],
    "rollouts": [
        {
            "index": index,
            "completion": "four [red]words " * 60,
            "is_success": index == 1,
            "kind": "correct" if index == 1 else "wrong",
            "peers": {"successes": [1] if index != 1 else [], "failures": [0]},
            "is_lesson": index != 1,
            "no_lesson_reason": None if index != 1 else "no_success",
        }
        for index in range(3)
    ],
}


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_group_is_shown_in_three_lines_a_completion_as_wide_as_the_terminal(width):
    console = Console(width=width, record=True, file=io.StringIO())
    print_group([{**GROUP, "rollouts": GROUP["rollouts"][:1]}, GROUP], console)
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= width
    assert sum("four" in line for line in lines) in range(3 * 2, 3 * 4 + 1)  # the mixed group, which has three rollouts
    assert any("[red]words" in line for line in lines)  # what a model wrote is no markup
    assert any("+1 -0" in line for line in lines)
    assert "no success" in " ".join(lines)
