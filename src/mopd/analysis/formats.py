"""How other systems record rollouts: which columns hold prompt, completion and reward, and how a record is read.

`rollouts` is one record for each completion: `prompt`, `completion`, `reward`, and perhaps `step`.
`verl` is what its `trainer.rollout_data_dir` and `validation_data_dir` hold, one STEP.jsonl a step, with the columns
`input` (the prompt as its chat template wrote it, without control tokens), `output`, `score`, `gts`, `step`, and what
the reward function returned besides.
`TRL` is what GRPOTrainer and RLOOTrainer write with `log_completions`, one completions/completions_STEP.parquet a step,
with the columns `step`, `prompt`, `completion`, one for each reward function under its name, columns that reward
functions logged, and `advantage`.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mopd.analysis.groups import key_of
from mopd.core.errors import ProblemError
from mopd.core.types import Message, Verdict, VerdictKind

Record = Mapping[str, Any]

NO_REWARDS = {"step", "advantage", "advantages"}
"""Columns of numbers that are no reward, whatever else a table holds."""

_TURNS = re.compile(
    r"(?:system\n(?P<system>.*?)\n)?user\n(?P<user>.*)\nassistant\n(?:<think>\s*(?:</think>\s*)?)?", re.S
)
"""A prompt that a ChatML template wrote, read without its control tokens."""


@dataclass(frozen=True)
class Attempt:
    """One record: a completion of a problem, with its reward (None where it has none).

    Whether it is a success is said by its reward, unless a verdict of another `kind` was recorded.
    """

    step: int | None
    problem: str
    messages: tuple[Message, ...]
    text: str
    reward: float | None
    kind: VerdictKind | None = None

    def verdict(self, success_reward: float) -> Verdict:
        """As a verdict: an error where there is no reward."""
        if self.reward is None:
            return Verdict(0.0, "error")
        return Verdict(self.reward, self.kind or ("correct" if self.reward >= success_reward else "wrong"))


@dataclass(frozen=True)
class Format:
    """Which columns of a record are what; several rewards are added up, as TRL does unless told other weights."""

    name: str
    prompt: str
    completion: str
    rewards: tuple[str, ...]

    @property
    def told(self) -> str:
        """In words."""
        reward = " + ".join(self.rewards)
        return f"{self.name}: prompt is `{self.prompt}`, completion is `{self.completion}`, reward is `{reward}`"

    def read(self, record: Record) -> Attempt:
        """Raises ValueError saying what is wrong with the record."""
        messages = _messages(_column(record, self.prompt), self.name == "verl")
        text = _text(_column(record, self.completion))
        values = [record.get(name) for name in self.rewards]
        if all(name not in record for name in self.rewards):
            raise ValueError(f"no {' or '.join(self.rewards)}")
        step = record.get("step")
        step = step if isinstance(step, int) and not isinstance(step, bool) else None
        digest = hashlib.blake2b(key_of(messages).encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
        return Attempt(step, f"prompt-{digest}", messages, text, _sum(values))


def detect(record: Record, prompt: str | None, completion: str | None, reward: str | None) -> Format:
    """The format of a file from what its first records hold, and columns that were named.

    Raises ProblemError where none suits.
    """
    is_verl = {"input", "output", "score"} <= record.keys()
    is_trl = {"prompt", "completion"} <= record.keys() and bool({"advantage", "advantages"} & record.keys())
    name = "verl" if is_verl else "TRL" if is_trl else "rollouts"
    found = Format(
        name,
        prompt or ("input" if is_verl else "prompt"),
        completion or ("output" if is_verl else "completion"),
        (reward,) if reward else ("score",) if is_verl else _reward_columns(record),
    )
    if missing := [column for column in (found.prompt, found.completion, *found.rewards) if column not in record]:
        raise ProblemError(
            "a record of rollouts has a prompt, a completion and a reward",
            f"no {missing[0]} among the columns {', '.join(map(str, record))}"[:500],
            "name the columns with --prompt, --completion and --reward",
        )
    return found


def _reward_columns(record: Record) -> tuple[str, ...]:
    """`reward`, else the columns of numbers that are called a reward, else the only one."""
    if "reward" in record:
        return ("reward",)
    numbers = [name for name, value in record.items() if name not in NO_REWARDS and _is_number(value)]
    named = [name for name in numbers if "reward" in name]
    if found := named or numbers[: 1 if len(numbers) == 1 else 0]:
        return tuple(found)
    if numbers:
        raise ProblemError(
            "it is known which column is the reward",
            f"the columns {', '.join(numbers)} could be",
            "name one with --reward",
        )
    return ("reward",)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _column(record: Record, name: str) -> Any:
    if record.get(name) is None:
        raise ValueError(f"no {name}")
    return record[name]


def _messages(prompt: Any, is_rendered: bool) -> tuple[Message, ...]:
    """A prompt as turns: a text is one user turn, unless a template's turns can be told from one another in it."""
    if isinstance(prompt, str):
        found = _TURNS.fullmatch(prompt) if is_rendered else None
        if found is None or "\nassistant\n" in found["user"]:  # several turns, whose ends cannot be told from text
            return (Message(role="user", content=prompt),)
        system = [] if found["system"] is None else [Message(role="system", content=found["system"])]
        return (*system, Message(role="user", content=found["user"]))
    if not isinstance(prompt, Sequence) or not prompt:
        raise ValueError(f"a prompt that is a {type(prompt).__name__}")
    return tuple(Message(role=_role(turn), content=_content(turn)) for turn in prompt)


def _text(completion: Any) -> str:
    """A completion as a text: of turns, those of the assistant."""
    if isinstance(completion, str):
        return completion
    if not isinstance(completion, Sequence):
        raise ValueError(f"a completion that is a {type(completion).__name__}")
    if any(_role(turn) != "assistant" for turn in completion):
        raise ValueError("a completion with turns of others, as of a tool")
    return "\n".join(_content(turn) for turn in completion)


def _role(turn: Any) -> str:
    if not isinstance(turn, Mapping) or not isinstance(turn.get("role"), str):
        raise ValueError("a turn without a role")
    return str(turn["role"])


def _content(turn: Any) -> str:
    content = turn.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence) and all(
        isinstance(part, Mapping) and part.get("type") == "text" for part in content
    ):
        return "".join(str(part.get("text", "")) for part in content)
    raise ValueError("a turn whose content is no text")


def _sum(values: Sequence[Any]) -> float | None:
    """The sum of rewards; those that a function did not give (null, NaN) are left out, None where all are."""
    if not all(value is None or isinstance(value, int | float) for value in values):
        raise ValueError("a reward that is no number")
    numbers = [float(value) for value in values if value is not None]
    given = [value for value in numbers if math.isfinite(value)]
    return sum(given) if given else None
