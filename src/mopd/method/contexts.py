"""What the teacher reads: one user turn with the problem, its peers, feedback and a closing instruction; or a
conversation in which its peers are the assistant's earlier turns.

The one renderer for training, evaluation and `show-context`. Pure: token ids come from a function it is given.
Nothing is cut silently: over the token budget peers are shortened in the middle or left out, and both are counted.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from typing import Literal

from mopd.config import ContextConfig, TemplateConfig
from mopd.core.errors import ProblemError
from mopd.core.types import Block, Context, Message, Messages

ENGLISH = TemplateConfig(
    success="\n\nAn attempt that was verified as correct:\n\n{text}",
    failure="\n\nAn attempt that was verified as wrong; do not repeat its mistake:\n\n{text}",
    attempt="\n\nAn earlier attempt:\n\n{text}",
    feedback="\n\nWhat the checker said of your last attempt:\n\n{text}",
    turn="{problem}{blocks}\n\nNow solve the problem stated at the beginning, in the required format.",
)
"""Default wording for students that read English."""

PEERS_FIRST = ENGLISH.model_copy(
    update={
        "success": "An attempt at the problem below, verified as correct:\n\n{text}\n\n",
        "failure": "An attempt at the problem below, verified as wrong; do not repeat its mistake:\n\n{text}\n\n",
        "attempt": "An earlier attempt at the problem below:\n\n{text}\n\n",
        "feedback": "What the checker said of your last attempt at the problem below:\n\n{text}\n\n",
        "turn": "{blocks}{problem}",
    }
)
"""Another wording: peers stand before the problem, which then ends the turn as it does for the student alone."""

PEERS_AS_TURNS = TemplateConfig(
    success="That was verified as correct.\n\n",
    failure="That was verified as wrong. Do not repeat its mistake.\n\n",
    attempt="Now try it once more.\n\n",
    feedback="What the checker said of your last attempt:\n\n{text}\n\n",
    turn="{blocks}{problem}",
    peers_are_turns=True,
)
"""Peers are what the assistant answered before: no word about them is in the turn that the answer follows but the
verdict, and a model that was taught to converse reads them as its own."""

WORDINGS = {"peers_behind": ENGLISH, "peers_first": PEERS_FIRST, "peers_as_turns": PEERS_AS_TURNS}
"""By their names in `context.wording`."""

_WORTH = ("success", "feedback", "failure")
"""What is left out last to first, over budget: without a success most recipes have no lesson at all."""

BlockOrder = Literal["failures_first", "successes_first", "shuffled"]


def template_of(config: ContextConfig, own: TemplateConfig) -> TemplateConfig:
    """The wording that a configuration says, else the student's `own`."""
    return config.template or WORDINGS.get(config.wording, own)


def render_context(
    messages: Messages,
    successes: Sequence[str],
    failures: Sequence[str],
    *,
    template: TemplateConfig = ENGLISH,
    order: BlockOrder = "failures_first",
    feedback: str = "",
    budget: int | None = None,
    over_budget: Literal["shorten", "drop"] = "shorten",
    encode: Callable[[Messages], Sequence[int]] | None = None,
    rng: random.Random | None = None,
) -> Context:
    """The context for one rollout: `messages` with the last user turn extended by its peers, or followed by them.

    `successes` and `failures` are texts in the order shown within their kind; `rng` is needed only for order
    `shuffled`. `encode` turns messages into token ids, generation header included, and `budget` bounds their number;
    without `encode` the context has messages only.
    System turns and earlier turns are kept as they are. Problem, closing instruction and header always survive.

    Raises ProblemError where there is no user turn or the problem alone is over the budget.
    """
    blocks = _ordered(successes, failures, order, rng)
    if feedback:
        blocks.append(Block("feedback", feedback))
    encode = encode or (lambda _: ())
    rendered = _render(messages, blocks, template)
    token_ids = tuple(encode(rendered))
    if budget is None or len(token_ids) <= budget:
        return Context(rendered, tuple(blocks), token_ids)
    kept, shortened, dropped = _fit(messages, blocks, template, budget, over_budget, encode)
    rendered = _render(messages, kept, template)
    return Context(rendered, tuple(kept), tuple(encode(rendered)), shortened, dropped)


def _ordered(
    successes: Sequence[str], failures: Sequence[str], order: BlockOrder, rng: random.Random | None
) -> list[Block]:
    good = [Block("success", text) for text in successes]
    bad = [Block("failure", text) for text in failures]
    if order == "failures_first":
        return bad + good
    blocks = good + bad
    if order == "shuffled":
        if rng is None:
            raise ValueError("order 'shuffled' needs rng")
        rng.shuffle(blocks)
    return blocks


def _render(messages: Messages, blocks: Sequence[Block], template: TemplateConfig) -> tuple[Message, ...]:
    if not messages or messages[-1]["role"] != "user":
        raise ProblemError(
            "a prompt ends with a user turn",
            f"a prompt has the roles {[m['role'] for m in messages]}",
            "put the problem into a user turn",
        )
    problem = messages[-1]["content"]
    if not template.peers_are_turns:
        shown = "".join(_shown(block, template) for block in blocks)
        return (*messages[:-1], _user_turn(problem, shown, template))
    turns, said = list(messages[:-1]), ""
    for block in (block for block in blocks if block.kind != "feedback"):
        turns += [_user_turn(problem, said, template), Message(role="assistant", content=block.text)]
        said = _shown(block, template)
    said += "".join(_shown(block, template) for block in blocks if block.kind == "feedback")
    return (*turns, _user_turn(problem, said, template))


def _shown(block: Block, template: TemplateConfig) -> str:
    return str(getattr(template, block.kind)).replace("{text}", block.text)


def _user_turn(problem: str, blocks: str, template: TemplateConfig) -> Message:
    values = {"{problem}": problem, "{blocks}": blocks}
    content = re.sub(r"\{problem\}|\{blocks\}", lambda mark: values[mark.group()], template.turn)
    return Message(role="user", content=content)


def _fit(
    messages: Messages,
    blocks: list[Block],
    template: TemplateConfig,
    budget: int,
    over_budget: Literal["shorten", "drop"],
    encode: Callable[[Messages], Sequence[int]],
) -> tuple[list[Block], int, int]:
    """The blocks that hold the budget, how many were shortened, and how many were dropped (failures first)."""

    def fits(candidate: Sequence[Block]) -> bool:
        return len(encode(_render(messages, candidate, template))) <= budget

    by_worth = sorted(range(len(blocks)), key=lambda i: _WORTH.index(blocks[i].kind))  # stable: the last goes first
    for kept_count in range(len(blocks), 0, -1):
        kept = [blocks[i] for i in sorted(by_worth[:kept_count])]
        if fits(kept):
            return kept, 0, len(blocks) - kept_count
        if over_budget == "shorten" and fits(_shortened(kept, 1, template.marker)):
            short = _shortened(kept, _longest_fitting(kept, fits, template.marker), template.marker)
            changed = sum(a != b for a, b in zip(kept, short, strict=True))
            return short, changed, len(blocks) - kept_count
    if not fits([]):
        raise ProblemError(
            f"the problem without any peer fits context.tokens = {budget}",
            f"a problem takes {len(encode(_render(messages, [], template)))} tokens without any peer",
            "raise context.tokens or leave the problem out",
        )
    return [], 0, len(blocks)


def _longest_fitting(blocks: Sequence[Block], fits: Callable[[Sequence[Block]], bool], marker: str) -> int:
    """The largest number of characters a block may keep so that all fit, by bisection; at least 1."""
    low, high = 1, max(len(block.text) for block in blocks)
    while low < high:
        middle = (low + high + 1) // 2
        if fits(_shortened(blocks, middle, marker)):
            low = middle
        else:
            high = middle - 1
    return low


def _shortened(blocks: Sequence[Block], characters: int, marker: str) -> list[Block]:
    """Blocks with the middle of every text longer than `characters` replaced by the marker."""
    return [Block(block.kind, _cut_middle(block.text, characters, marker)) for block in blocks]


def _cut_middle(text: str, characters: int, marker: str) -> str:
    if len(text) <= characters + len(marker):
        return text
    tail = characters // 2
    return text[: characters - tail] + marker + text[len(text) - tail :]
