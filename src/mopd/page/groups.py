"""Groups of a run for its page: some of them, evenly over the steps, with what the teacher read before each rollout."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mopd.core.types import Block, Group, LessonRecord, Messages, Peers
from mopd.method.lessons import LessonMaker
from mopd.page.sampling import Budget, Row, shown, spread
from mopd.runs.lines import Lines
from mopd.runs.records import rebuild_group

FIRST, LAST = 0, 1


@dataclass
class Tally:
    """What all groups of a run are, seen line by line: kinds of verdicts and groups, and how often each problem
    succeeded when it first came and when it last came."""

    rollouts: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    groups: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    shares: dict[str, list[float]] = field(default_factory=dict)
    seen: Counter[str] = field(default_factory=Counter)
    steps: array[int] = field(default_factory=lambda: array("q"))

    def add(self, group: Row) -> None:
        """Count one line of groups.jsonl. Raises KeyError or TypeError where it is none; nothing is counted then."""
        step, problem, rollouts = int(group["step"]), str(group["problem_id"]), group["rollouts"]
        outcomes = [bool(r["is_success"]) for r in rollouts if r["kind"] != "error"]
        kinds, reasons = [r["kind"] for r in rollouts], [r.get("no_lesson_reason") for r in rollouts]
        [(r["index"], r["completion"]) for r in rollouts]  # without which there is nothing to show
        self.steps.append(step)
        self.rollouts += len(rollouts)
        self.kinds.update(kinds)
        self.reasons.update(reason for reason in reasons if reason)
        self.groups[outcome_of(outcomes)] += 1
        if outcomes:
            share = sum(outcomes) / len(outcomes)
            self.shares.setdefault(problem, [share, share])[LAST] = share
            self.seen[problem] += 1

    def gain(self, problem: str) -> float | None:
        """By how much a problem's share of successes is another in its last group than in its first; None where it came
        once."""
        if self.seen[problem] < 2:
            return None
        return self.shares[problem][LAST] - self.shares[problem][FIRST]


def outcome_of(outcomes: Sequence[bool]) -> str:
    """`mixed`, `solved`, `failed`, or `unjudged` of a group whose judged rollouts ended so."""
    if not outcomes:
        return "unjudged"
    return "mixed" if len(set(outcomes)) == 2 else "solved" if outcomes[0] else "failed"


MOST_ENCODED = 40_000_000
"""Characters encoded at most while contexts are rendered again: a long peer is shortened in some fifteen tries."""


class Contexts:
    """Contexts as they were read, while there is room for the work; then with whole peers, which is counted."""

    def __init__(self, maker: LessonMaker) -> None:
        self.maker, self.left, self.differing, self.unmeasured = maker, MOST_ENCODED, 0, 0
        self._exact = LessonMaker(maker.config, self._encode, maker.template)
        self._whole = LessonMaker(maker.config, lambda messages: (), maker.template)

    def _encode(self, messages: Messages) -> Sequence[int]:
        self.left -= sum(len(turn["content"]) for turn in messages)
        return self.maker.encode(messages)

    def of(self, group: Group, index: int, groups: Sequence[Group], tokens: int) -> LessonRecord:
        """The record of a rollout whose context had so many tokens. Raises whatever a template raises."""
        is_exact = self.left > 0
        record = (self._exact if is_exact else self._whole).make_one(group, index, groups)
        self.unmeasured += not is_exact
        self.differing += record.context is not None and 0 < record.context.token_count != tokens
        return record


@dataclass
class Chosen:
    """The groups that a page shows, in the order of the log: as recorded, and as JSON."""

    tally: Tally
    lines: Lines
    recorded: list[Row]
    drawn: list[dict[str, Any]]
    neighbours: list[list[Group]]
    """The groups of the step of each, where contexts show peers of other problems; else none."""
    contexts: Contexts


def choose_groups(path: Path, maker: LessonMaker, budget: Budget) -> Chosen:
    """Scan groups.jsonl and choose groups within a budget. Raises OSError."""
    tally = Tally()
    lines = Lines.scan(path, tally.add)
    found = Chosen(tally, lines, [], [], [], Contexts(maker))
    drawn: dict[int, tuple[Row, dict[str, Any], list[Group]]] = {}
    for index in spread(len(lines.offsets)):
        recorded = lines.read(index)
        neighbours = _neighbours(lines, tally, index, maker)
        group = _drawn(recorded, found.contexts, neighbours)
        group["gain"] = tally.gain(recorded["problem_id"])
        if not budget.takes(group, len(recorded["rollouts"])):
            break
        drawn[index] = (recorded, group, neighbours)
    in_order = [drawn[index] for index in sorted(drawn)]
    found.recorded = [recorded for recorded, _, _ in in_order]
    found.drawn = [group for _, group, _ in in_order]
    found.neighbours = [neighbours for _, _, neighbours in in_order]
    return found


def _neighbours(lines: Lines, tally: Tally, index: int, maker: LessonMaker) -> list[Group]:
    """The groups of the same step, where contexts show peers of other problems; else none is needed."""
    if maker.config.peers.control == "none":
        return []
    reward, step = maker.config.success_reward, tally.steps[index]
    return [rebuild_group(lines.read(i), reward) for i, other in enumerate(tally.steps) if other == step]


def _drawn(recorded: Row, contexts: Contexts, neighbours: Sequence[Group]) -> dict[str, Any]:
    """One group as JSON."""
    outcomes = [bool(r["is_success"]) for r in recorded["rollouts"] if r["kind"] != "error"]
    group = _rebuilt(recorded, contexts.maker.config.success_reward)
    groups = neighbours or ([] if group is None else [group])
    return {
        "step": recorded["step"],
        "problem": shown(recorded["problem_id"], 200),
        "domain": shown(recorded.get("domain", ""), 100),
        "prompt": prompt_of(recorded),
        "reference": shown(recorded.get("reference") or ""),
        "outcome": outcome_of(outcomes),
        "successes": sum(outcomes),
        "judged": len(outcomes),
        "rollouts": [
            rollout_of(rollout) | _context(rollout, group, groups, contexts) for rollout in recorded["rollouts"]
        ],
    }


def prompt_of(recorded: Mapping[str, Any]) -> list[list[str]]:
    """The turns of a recorded prompt: role and text."""
    return [[shown(turn.get("role", "")), shown(turn.get("content", ""))] for turn in recorded.get("prompt", ())]


def rollout_of(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """A completion with its verdict as JSON; what an earlier version did not record is left out."""
    answer = recorded.get("answer")
    return {
        "index": recorded["index"],
        "text": shown(recorded["completion"]),
        "tokens": recorded.get("token_count"),
        "kind": shown(recorded["kind"], 40),
        "success": bool(recorded["is_success"]),
        "reward": recorded.get("reward"),
        "answer": None if answer is None else shown(answer, 2000),
        "feedback": shown(recorded.get("feedback") or "", 4000),
    }


def _rebuilt(recorded: Row, success_reward: float) -> Group | None:
    """The group that contexts are made from; None where the record is an earlier version's and lacks something."""
    try:
        return rebuild_group(recorded, success_reward)
    except (KeyError, TypeError):
        return None


def _context(recorded: Row, group: Group | None, groups: Sequence[Group], contexts: Contexts) -> dict[str, Any]:
    """What became of a rollout: its lesson or the reason for none, its peers, and its context where it had one."""
    peers = recorded.get("peers") or {}
    told = {
        "lesson": recorded.get("is_lesson"),
        "reason": recorded.get("no_lesson_reason"),
        "alone": recorded.get("no_teacher_reason"),
        "peers": {kind: list(peers.get(kind, ())) for kind in ("successes", "failures")},
        "others": [shown(name, 200) for name in peers.get("problem_ids", ())],
    }
    tokens = recorded.get("context_tokens")
    if tokens is None or group is None:
        return told
    try:
        record = contexts.of(group, recorded["index"], groups, tokens)
    except Exception as error:  # a template is a program, and an older run's recipe may not be read as it was
        return told | {"context": {"tokens": tokens, "unread": f"{type(error).__name__}: {shown(error, 300)}"}}
    if record.context is None:
        return told
    blocks = [_block(block, record.peers, contexts.maker.template.marker) for block in record.shown]
    lost = {"shortened": recorded.get("shortened_count", 0), "dropped": recorded.get("dropped_count", 0)}
    return told | {"context": {"tokens": tokens, "blocks": blocks, **lost}}


def _block(block: Block, peers: Peers, marker: str) -> dict[str, Any]:
    """One block as JSON: its kind, whose text it is, and the text as it was shown."""
    of_kind = {"success": (peers.successes, peers.success_texts), "failure": (peers.failures, peers.failure_texts)}
    candidates = [*zip(*of_kind.get(block.kind, ((), ())), strict=True)]
    whole = [index for index, text in candidates if text == block.text]
    begin, _, end = block.text.partition(marker)
    cut = [index for index, text in candidates if text.startswith(begin) and text.endswith(end)]
    is_short = bool(candidates) and not whole
    return {"kind": block.kind, "peer": next(iter([*whole, *cut]), None), "text": shown(block.text), "short": is_short}
