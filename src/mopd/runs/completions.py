"""The completions of held-out problems: one file for each evaluation of a run, `evaluations/step-N.jsonl`.

A file is written before the line of evaluations.jsonl that it belongs to. A run that was killed in between evaluates
again, and writes the same file in its place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from mopd.core.files import finite, write_atomically
from mopd.core.types import Group
from mopd.runs.directory import EVALUATIONS, written
from mopd.runs.records import describe_verdict

_NAME = re.compile(r"(step-\d+\.jsonl|\.step-\d+\.jsonl\.new)")


def describe_completions(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Of verified groups, one object for each completion, in order."""
    return [
        {
            "problem_id": group.problem.id,
            "domain": group.problem.domain,
            "prompt": list(group.problem.messages),
            "index": rollout.index,
            "completion": rollout.text,
            "token_count": len(rollout.token_ids),
            "is_truncated": rollout.is_truncated,
            **describe_verdict(group, rollout.index),
        }
        for group in groups
        for rollout in group.rollouts
    ]


def as_lines(completions: Sequence[dict[str, Any]]) -> str:
    """JSON lines, one a completion."""
    return "".join(json.dumps(finite(one), allow_nan=False) + "\n" for one in completions)


def keep_completions(run: Path, step: int, completions: Sequence[dict[str, Any]]) -> None:
    """Write the file of the evaluation after `step` steps, whole or not at all. Raises RunError."""
    folder = run / EVALUATIONS
    with written(folder):
        folder.mkdir(exist_ok=True)
        write_atomically(folder / f"step-{step}.jsonl", as_lines(completions))


def drop_other_completions(run: Path, steps: Collection[int]) -> None:
    """Remove the files of evaluations that the run does not have (any more): `steps` are those it has.

    Raises RunError.
    """
    kept = {f"step-{step}.jsonl" for step in steps}
    with written(run / EVALUATIONS):
        for path in sorted((run / EVALUATIONS).glob("*step-*")):
            if _NAME.fullmatch(path.name) and path.name not in kept:
                path.unlink()
