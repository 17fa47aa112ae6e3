"""A run that learns nothing says so, early and at its end, with counts and what to do."""

import re
from pathlib import Path

import pytest

from mopd.cli import main
from mopd.core.types import VERDICT_KINDS
from mopd.training.nothing_learnt import EarlyNotice, nothing_learnt
from tests.builders import make_config

TINY = str(Path(__file__).parents[1] / "configs" / "tiny.toml")


def row(success_share=0.0, *, empty=1.0, skipped=0.0, updates=1, lessons=None, **kinds):
    counts = {f"verdicts/{kind}_count": float(kinds.get(kind, 0)) for kind in VERDICT_KINDS}
    reasons = {f"lessons/none_{reason}_count": float(count) for reason, count in (lessons or {}).items()}
    update = {"update/skipped_empty_count": empty}
    if not empty:
        update |= {"update/skipped_nonfinite_count": skipped, "update/count": updates - skipped}
    return {"reward/success_share": success_share, **counts, **reasons, **update}


@pytest.mark.parametrize(
    ("rows", "overrides", "says"),
    [
        ([row(wrong=25, truncated=39)] * 4, [], ["0 of 4 steps", "no success in 256 rollouts", "61 % were cut at 64"]),
        ([row(wrong=25, truncated=39)], ["sampling.completion_tokens=9"], ["cut at 9 tokens", "(now 9)", "[warmup]"]),
        ([row(unparsable=16)], [], ["100 % had no answer", "problems.instruction"]),
        ([row(wrong=8)], ["warmup={ steps = 1, context_steps = 1 }"], ["warmup.steps"]),
        ([row(1.0, correct=16, lessons={"no_advantage": 16})], [], ["16 successes in 16", "same reward"]),
        ([row(0.25, correct=4, wrong=12, lessons={"over_budget": 16})], [], ["4 successes", "context.tokens"]),
        (
            [row(0.25, correct=4, wrong=12, empty=0.0, skipped=1.0)],
            [],
            ["gradient was not finite in 1", "learning_rate"],
        ),
        ([row(wrong=8, error=8)], [], ["50 % had no verdict", "groups.jsonl"]),
    ],
)
def test_the_causes_are_told_with_counts_and_what_to_do(rows, overrides, says):
    told = nothing_learnt(rows, make_config(*overrides))
    assert all(text in told for text in says), told
    assert told.partition("do:")[2].strip()


def test_a_run_with_one_update_has_learnt_something():
    rows = [row(wrong=8), row(0.5, correct=4, wrong=4, empty=0.0)]
    assert nothing_learnt(rows, make_config()) == ""
    assert nothing_learnt([], make_config()) == ""
    half = row(0.5, correct=4, wrong=4, empty=0.0, skipped=1.0, updates=2)
    assert nothing_learnt([half], make_config("optimizer.updates_per_step=2")) == ""


def test_it_is_told_once_and_early():
    notice = EarlyNotice(make_config("steps=10"))
    told = [notice.after(step, row(wrong=8)) for step in range(10)]
    assert [bool(text) for text in told] == [False, False, True] + [False] * 7
    notice = EarlyNotice(make_config("steps=10"))
    assert not any(notice.after(step, row(0.5, correct=1, wrong=1, empty=float(step > 0))) for step in range(10))


def test_a_run_without_a_lesson_says_so_early_and_at_its_end(tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["train", TINY, f"run='{run}'", "steps=4", "sampling.completion_tokens=1", "--quiet"]) == 0
    said = capsys.readouterr()
    assert "0 of 4 steps updated: no success in 64 rollouts" in " ".join(said.out.split())
    assert "sampling.completion_tokens" in said.out
    assert "0 of 3 steps updated" in said.err


@pytest.mark.parametrize(
    "overrides", [["sampling.completion_tokens=1", "steps=1"], ["objective.kind='grpo'", "steps=1"], ["steps=2"]]
)
def test_every_command_that_the_end_of_a_run_recommends_succeeds(tmp_path, capsys, overrides):
    assert main(["train", TINY, f"run='{tmp_path / 'run'}'", *overrides, "--quiet"]) == 0
    printed = capsys.readouterr().out
    commands = re.findall(r"mopd ([a-z-]+ \S+)", printed)
    assert bool(commands) == (overrides == ["steps=2"])
    for command in commands:
        assert main(command.split()) == 0
