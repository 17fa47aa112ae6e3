"""Held-out problems before and after: the completions of both evaluations, with verdicts, problem by problem."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mopd.page.groups import prompt_of, rollout_of
from mopd.page.sampling import Budget, Row, shown, spread
from mopd.runs.lines import Lines


class Side:
    """The completions of one evaluation, found by problem without being held in memory."""

    def __init__(self, path: Path) -> None:
        self.places: dict[str, list[int]] = {}
        self.right: dict[str, list[bool]] = {}
        self._count = 0
        self.lines = Lines.scan(path, self._see)

    def _see(self, row: Row) -> None:
        problem, is_right, is_judged = str(row["problem_id"]), bool(row["is_success"]), row["kind"] != "error"
        row["index"], row["completion"]
        self.places.setdefault(problem, []).append(self._count)
        self.right.setdefault(problem, []).extend([is_right] if is_judged else [])
        self._count += 1

    def rows(self, problem: str) -> list[Row]:
        """The recorded completions of one problem."""
        return [self.lines.read(place) for place in self.places[problem]]

    def share(self, problem: str) -> float | None:
        """Of its judged completions those that are right; None where no verdict came."""
        right = self.right[problem]
        return sum(right) / len(right) if right else None


def before_and_after_by_problem(before: Path, after: Path, budget: Budget) -> tuple[list[dict[str, Any]], int, int]:
    """Problems that both files have, within a budget, in the order of the first file; how many there are; and how many
    lines cannot be read. Raises OSError."""
    sides = Side(before), Side(after)
    common = [problem for problem in sides[0].places if problem in sides[1].places]
    drawn: dict[int, dict[str, Any]] = {}
    for place in spread(len(common)):
        value = _problem(common[place], *sides)
        if not budget.takes(value, len(value["before"]) + len(value["after"])):
            break
        drawn[place] = value
    damaged = sum(side.lines.damaged for side in sides)
    return [drawn[place] for place in sorted(drawn)], len(common), damaged


def _problem(problem: str, before: Side, after: Side) -> dict[str, Any]:
    was, now = before.rows(problem), after.rows(problem)
    shares = before.share(problem), after.share(problem)
    return {
        "problem": shown(problem, 200),
        "prompt": prompt_of(was[0]),
        "shares": shares,
        "gain": None if None in shares else (shares[1] or 0.0) - (shares[0] or 0.0),
        "before": [rollout_of(row) for row in was],
        "after": [rollout_of(row) for row in now],
    }
