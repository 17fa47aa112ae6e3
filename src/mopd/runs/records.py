"""The records of a run: written to groups.jsonl and rebuilt from it, here and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mopd.core.errors import RunError
from mopd.core.types import Group, LessonRecord, Message, Problem, Rollout, Verdict


def describe_group(group: Group, records: Sequence[LessonRecord]) -> dict[str, Any]:
    """One line of groups.jsonl."""
    return {
        "step": group.step,
        "problem_id": group.problem.id,
        "domain": group.problem.domain,
        "prompt": list(group.problem.messages),
        "reference": recorded_reference(group.problem),
        "rollouts": [_describe_rollout(group, record, i) for i, record in enumerate(records)],
    }


LONGEST_REFERENCE = 2000
"""Characters of a reference that is recorded; the tests of a program may be megabytes."""


def recorded_reference(problem: Problem) -> str | None:
    """The problem's reference; of a long one its length, and None where there is none."""
    reference = problem.reference
    if reference is None or len(reference) <= LONGEST_REFERENCE:
        return reference
    return f"[{len(reference):,} characters, not recorded]"


def _describe_rollout(group: Group, record: LessonRecord, index: int) -> dict[str, Any]:
    rollout, peers = group.rollouts[index], record.peers
    shown: dict[str, Any] = {"successes": list(peers.successes), "failures": list(peers.failures)}
    if peers.problem_ids:
        shown["problem_ids"] = list(peers.problem_ids)
    return {
        "index": index,
        "completion": rollout.text,
        "token_count": len(rollout.token_ids),
        **({} if rollout.weights_version is None else {"weights_version": rollout.weights_version}),
        **describe_verdict(group, index),
        "peers": shown,
        "context_tokens": record.context.token_count if record.context else None,
        "shortened_count": record.context.shortened_count if record.context else 0,
        "dropped_count": record.context.dropped_count if record.context else 0,
        "is_lesson": record.lesson is not None,
        "no_lesson_reason": None if record.lesson else record.reason,
        "no_teacher_reason": record.reason if record.lesson else None,
    }


def describe_verdict(group: Group, index: int) -> dict[str, Any]:
    """What is recorded of the verdict on one rollout of a verified group."""
    verdict = group.verdicts[index]
    return {
        "reward": verdict.reward,
        "kind": verdict.kind,
        "is_success": group.is_success(index),
        "answer": verdict.answer,
        "feedback": verdict.feedback,
        **({"details": dict(verdict.details)} if verdict.details else {}),
    }


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """All complete lines of a JSONL log. Raises RunError where it is missing or damaged."""
    return list(iterate_jsonl(path))


def iterate_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """As `read_jsonl`, one line at a time."""
    read_count = 0
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                if line.endswith("\n"):
                    yield json.loads(line)
                    read_count += 1
    except (OSError, ValueError) as error:
        where = path if isinstance(error, OSError) else f"{path}, line {read_count + 1}"
        what = error.strerror if isinstance(error, OSError) else error
        raise RunError("a log of a run can be read", f"{where}: {what}", "restore it from a backup") from error


def rebuild_group(recorded: Mapping[str, Any], success_reward: float) -> Group:
    """The group of one line of groups.jsonl. Token ids are not recorded: each completion has as many zeros."""
    rollouts, verdicts = [], []
    for row in recorded["rollouts"]:
        ids = (0,) * row["token_count"]
        rollouts.append(
            Rollout(
                row["index"], ids, (True,) * len(ids), (0.0,) * len(ids), row["completion"], row["kind"] == "truncated"
            )
        )
        verdicts.append(Verdict(row["reward"], row["kind"], row["answer"], row["feedback"]))
    messages = tuple(Message(role=turn["role"], content=turn["content"]) for turn in recorded["prompt"])
    problem = Problem(recorded["problem_id"], messages, None, "recorded", recorded["domain"])
    return Group(recorded["step"], problem, (), tuple(rollouts), tuple(verdicts), success_reward)


def mean_key(figures: Mapping[str, Any]) -> str:
    """The key of an evaluation's mean success, `mean_at_8` or the like."""
    return next(key for key in figures if key.startswith("mean_at_") and not key.endswith("interval"))


def best_step(evaluations: Sequence[Mapping[str, Any]]) -> int | None:
    """The steps behind the best mean, of evaluations in training that were measured like the newest; the later of two
    equals, None where there is none."""
    trained = [row for row in evaluations if row["step"]]
    alike = [row for row in trained if row.get("measured") == trained[-1].get("measured")]
    return max(((row[mean_key(row)], int(row["step"])) for row in alike), default=(0.0, None))[1]
