"""A step's line holds at any width, and says nothing of what was not judged."""

import io

import pytest
from rich.console import Console

from mopd.report.live import LiveView, course
from mopd.report.steps import duration, plain_line
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


ALARMS = [{"step": 4, "told": "completions grew from 80 to 160 tokens", "action": "warned"}] * 5


def panel(width, rows=20, alarms=()):
    """The panel behind the last of some steps."""
    view = LiveView(40)
    for step in range(rows):
        draw, _ = view.after(ROW | {"step": step, "reward/success_share": step / 40}, alarms, step + 1)
    return draw(width).split("\n")


@pytest.mark.parametrize("width", [12, 30, 60, 80, 200])
@pytest.mark.parametrize("alarms", [[], ALARMS])
def test_a_panel_is_no_wider_than_its_terminal(width, alarms):
    lines = panel(width, alarms=alarms)
    assert max(map(len, lines)) <= width
    assert lines[0].startswith("step 20/40"[:width])
    assert [line.split()[0] for line in lines[1:6]] == ["success", "tokens", "cut", "loss", "lessons"]


def test_a_panel_has_figures_with_their_course_alarms_and_the_time_that_is_left():
    lines = panel(200, alarms=ALARMS)
    assert lines[0] == "step 20/40  12.3 s a step  left 4 min"
    assert lines[1].split() == ["success", "0.47", course([step / 40 for step in range(20)], 40), "reward", "0.12"]
    assert "longest 256" in lines[2]
    assert lines[6] == " alarms        5  step 5: completions grew from 80 to 160 tokens"
    assert len(lines) == 9
    assert panel(200)[6].split() == ["alarms", "none"]
    assert not any("longest" in line for line in panel(40))


@pytest.mark.parametrize(
    ("values", "width", "drawn"),
    [
        ([], 10, ""),
        ([1.0], 0, ""),
        ([0.0, 0.0], 10, "▁▁"),
        ([0.0, 0.5, 1.0], 10, "▁▅█"),
        ([-1.0, 0.0, 1.0], 10, "▁▅█"),
        ([5.0], 10, "█"),
        ([0.0, 0.0, 1.0, 1.0], 2, "▁█"),
        ([0.0, 1.0, 1.0, 0.0, 0.0], 3, "▁█▁"),
    ],
)
def test_a_course_is_drawn_from_the_least_or_nothing_to_the_largest_and_its_newest_part_is_whole(values, width, drawn):
    assert course(values, width) == drawn


def test_a_run_that_fell_back_is_shown_from_where_it_goes_on():
    view = LiveView(40)
    for step in range(10):
        view.after(ROW | {"step": step}, (), step + 1)
    draw, line = view.after(ROW | {"step": 4}, (), 5)
    assert [row["step"] for row in view.rows] == [0, 1, 2, 3, 4]
    assert draw(80).startswith("step 5/40")
    assert line.endswith("left 7 min")


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
            "no_teacher_reason": None if index != 2 else "over_budget",
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
    assert "".join(lines).count("GRPO") == 1
