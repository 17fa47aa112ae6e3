"""The words of the project as frozen types: problem, rollout, verdict, group, peers, context, lesson.

No torch, no disk, no clock. `docs/vocabulary.md` tells the words in prose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypedDict


class Message(TypedDict):
    """One turn of a conversation, as chat templates take it."""

    role: str
    content: str


VerdictKind = Literal["correct", "wrong", "unparsable", "truncated", "timeout", "error"]
VERDICT_KINDS: tuple[VerdictKind, ...] = (
    "correct",
    "wrong",
    "unparsable",
    "truncated",
    "timeout",
    "error",
)


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem: what the student reads, and what a verifier needs to judge an attempt.

    `columns` are what its record holds, and fields that mopd reads from columns of another name (`solution`, `tests`).
    Where such a field has the name of a column of the record, that column's own value is in `shadowed`. `where` is the
    file and line that it was read from, where it was.

    Example: `Problem("sort-digits-7", ({"role": "user", "content": "31"},), "13", "exact", "sorting")`.
    """

    id: str
    messages: tuple[Message, ...]
    reference: str | None
    verifier: str
    domain: str = "default"
    columns: Mapping[str, Any] = field(default_factory=dict)
    shadowed: Mapping[str, Any] = field(default_factory=dict)
    where: str = field(default="", compare=False)

    @property
    def named(self) -> str:
        """As errors name it."""
        return f"problem {self.id}" + (f" ({self.where})" if self.where else "")

    @property
    def own_columns(self) -> dict[str, Any]:
        """The columns with the values that its record itself has for them."""
        return {**self.columns, **self.shadowed}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verifier says of one completion.

    `reward` is kept raw. `kind` "error" means the grader failed: such a rollout is neither a success nor a
    failure, and `reward` is then 0.0 by convention and never averaged. `details` is for the record alone: what each
    reward function gave the rollout, and what it logged of it.
    """

    reward: float
    kind: VerdictKind
    answer: str | None = None
    feedback: str = ""
    details: Mapping[str, str | float | None] = field(default_factory=dict)


class Verifier(Protocol):
    """A verifier maps (problem, completion text) to a verdict. It may raise: that is counted as `error`."""

    def __call__(self, problem: Problem, completion: str) -> Verdict:
        """The verdict on one completion."""
        ...


@dataclass(frozen=True, slots=True)
class Rollout:
    """One attempt of the student.

    `token_ids` are the completion's tokens, the end token included; `is_own` tells which of them the student
    wrote itself (tool output is not its own and never trained on); `sampler_logprobs` are natural-log
    probabilities as the sampler computed them, before top-p, one a token (0.0 where the token is not its own).
    `weights_version` names the weights of a server that wrote it; of an engine in this process, which has those of the
    step, it is None.
    """

    index: int
    token_ids: tuple[int, ...]
    is_own: tuple[bool, ...]
    sampler_logprobs: tuple[float, ...]
    text: str
    is_truncated: bool
    weights_version: str | None = None

    @property
    def own_token_count(self) -> int:
        """How many tokens the student wrote itself."""
        return sum(self.is_own)


@dataclass(frozen=True, slots=True)
class Group:
    """The rollouts of one problem in one step, with their verdicts (empty until verified)."""

    step: int
    problem: Problem
    prompt_ids: tuple[int, ...]
    rollouts: tuple[Rollout, ...]
    verdicts: tuple[Verdict, ...] = ()
    success_reward: float = 1.0

    def is_success(self, index: int) -> bool:
        """True where the rollout's reward reaches `success_reward`, it was not cut, and its grader did not fail."""
        verdict = self.verdicts[index]
        return verdict.kind not in ("error", "truncated") and verdict.reward >= self.success_reward

    def is_failure(self, index: int) -> bool:
        """True where the grader judged the rollout and it is no success."""
        return self.verdicts[index].kind != "error" and not self.is_success(index)


@dataclass(frozen=True, slots=True)
class Peers:
    """The peers chosen for one rollout, by rollout index within `source` groups, in the order shown.

    `success_texts[i]` belongs to `successes[i]`. `shows_own_text` is set when nothing but another rollout with
    the rollout's own text was left to show. `problem_ids` is filled only by controls that take peers elsewhere.
    """

    successes: tuple[int, ...] = ()
    failures: tuple[int, ...] = ()
    success_texts: tuple[str, ...] = ()
    failure_texts: tuple[str, ...] = ()
    shows_own_text: bool = False
    problem_ids: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """Successes and failures together."""
        return len(self.successes) + len(self.failures)


@dataclass(frozen=True, slots=True)
class Block:
    """One block of a context: a success, a failure, or the rollout's own feedback, as it is shown."""

    kind: Literal["success", "failure", "feedback"]
    text: str


@dataclass(frozen=True, slots=True)
class Context:
    """What the teacher reads before a completion.

    `messages` went through the student's chat template to `token_ids`, generation header included.
    `shortened_count` and `dropped_count` count peers cut in the middle or left out to hold the token budget.
    """

    messages: tuple[Message, ...]
    blocks: tuple[Block, ...]
    token_ids: tuple[int, ...]
    shortened_count: int = 0
    dropped_count: int = 0

    @property
    def token_count(self) -> int:
        """Length of the context in tokens."""
        return len(self.token_ids)


NoLessonReason = Literal[
    "grader_error",
    "no_peers",
    "no_success",
    "over_budget",
    "no_advantage",
    "not_a_success",
    "no_own_tokens",
    "not_taught",
    "cut_short",
    "teacher_paused",
]


@dataclass(frozen=True, slots=True)
class Lesson:
    """One rollout with what its objective needs; the unit of training.

    `context_ids` is the context as token ids (None where the objective has no teacher); `failure_context_ids` is the
    one with a failure in the place of the success, for a contrast of teachers; `advantage` is the scalar of a
    policy-gradient objective (0.0 where unused).
    """

    problem_id: str
    domain: str
    rollout: Rollout
    prompt_ids: tuple[int, ...]
    context_ids: tuple[int, ...] | None = None
    advantage: float = 0.0
    failure_context_ids: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class LessonRecord:
    """What became of one rollout: its peers, its context, and its lesson or the reason for none.

    A lesson beside a reason is one that no teacher gives, for that reason: GRPO alone has it. Under a contrast of
    teachers `failure_context` is what the second one reads, where there is a failed peer.
    """

    peers: Peers
    context: Context | None
    lesson: Lesson | None
    reason: NoLessonReason | None
    failure_context: Context | None = None

    @property
    def has_teacher(self) -> bool:
        """Whether its lesson has a context, which a teacher reads."""
        return self.lesson is not None and self.lesson.context_ids is not None

    @property
    def shown(self) -> tuple[Block, ...]:
        """All that is shown to a teacher, the first one's blocks before the second one's."""
        contexts = [context for context in (self.context, self.failure_context) if context is not None]
        return tuple(block for context in contexts for block in context.blocks)


Messages = Sequence[Message]
