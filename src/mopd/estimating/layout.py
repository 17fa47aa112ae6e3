"""A step as its problems make it: which sequences are scored, and how long they are.

Ids of completions and peers are made up: what is computed depends on where sequences are alike, not on what they say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mopd.config import Config
from mopd.core.types import Problem
from mopd.method.contexts import render_context, template_of
from mopd.method.recipes import expected
from mopd.models.student import Reader
from mopd.problems import ProblemSet
from mopd.scoring.rows import Row

LAID_OUT = 2**18
"""Tokens of a step that are laid out; the groups behind them are like those before."""

EXPECTED_SHARE = 0.5
"""How long completions are taken to be on average, as a share of `sampling.completion_tokens`: nobody knows before a
run."""

MADE_UP = 2**40
"""Ids from here on are no tokens of any vocabulary."""


@dataclass(frozen=True)
class Layout:
    """Rows of a step: `students` are the rollouts, `teachers` the same behind their contexts (none without a teacher).

    `scale` is how many times the step is as large as what is laid out; `completion` the tokens of each completion.
    """

    prompts: tuple[tuple[int, ...], ...]
    students: tuple[Row, ...]
    teachers: tuple[Row, ...]
    contexts: tuple[tuple[int, ...], ...]
    completion: int
    scale: float

    @property
    def loss_tokens(self) -> int:
        """Of those that are laid out."""
        return sum(len(row.completion) for row in self.students)


def layout_of(config: Config, reader: Reader, problems: ProblemSet, is_worst: bool) -> Layout:
    """A step of the longest prompts, contexts and completions, or of prompts of all lengths and middling completions.

    In both every rollout teaches, and a context shows as many peers as the recipe asks for at most: the one that a run
    is expected to find, where it is to be found.
    """
    config = expected(config, reader.template)
    completion = config.sampling.completion_tokens
    if not is_worst:
        completion = max(1, round(EXPECTED_SHARE * completion))
    chosen = _chosen(config, reader, problems, is_worst)
    groups = max(1, min(len(chosen), LAID_OUT // max(1, _group_tokens(config, completion))))
    parts = [_group(config, reader, pair, n, completion, is_worst) for n, pair in enumerate(chosen[:groups])]
    return Layout(
        prompts=tuple(ids for _, ids in chosen[:groups]),
        students=tuple(row for students, _ in parts for row in students),
        teachers=tuple(row for _, teachers in parts for row in teachers),
        contexts=tuple(dict.fromkeys(row.prefix for _, teachers in parts for row in teachers)),
        completion=completion,
        scale=config.problems_per_step / groups,
    )


def _group_tokens(config: Config, completion: int) -> int:
    return config.group_size * (config.context.tokens + completion)


def _chosen(
    config: Config, reader: Reader, problems: ProblemSet, is_worst: bool
) -> list[tuple[Problem, tuple[int, ...]]]:
    """As many problems as a step takes: the longest, or evenly over all lengths; with their prompts' ids."""
    read = [(problem, tuple(reader.tokenizer.encode_prompt(problem.messages))) for problem in problems.train]
    read.sort(key=lambda pair: -len(pair[1]))
    count = min(len(read), config.problems_per_step)
    if is_worst:
        return read[:count]
    return [read[(2 * index + 1) * len(read) // (2 * count)] for index in range(count)]


def _group(
    config: Config,
    reader: Reader,
    asked: tuple[Problem, tuple[int, ...]],
    number: int,
    completion: int,
    is_worst: bool,
) -> tuple[list[Row], list[Row]]:
    """The rows of a problem's rollouts, read by the student and by the teacher."""
    problem, prompt = asked
    begin = MADE_UP + 2**20 * number
    written = [(begin + index, *[begin] * (completion - 1)) for index in range(config.group_size)]
    mask = (True,) * completion
    students = [Row(prompt, ids, mask) for ids in written]
    if config.objective.kind != "distill":
        return students, []
    template = template_of(config.context, reader.template)
    alone = render_context(problem.messages, (), (), template=template, encode=reader.tokenizer.encode_prompt).token_ids
    teachers = []
    for index, ids in enumerate(written):
        for context in _contexts(config, alone, index, completion, is_worst):
            teachers.append(Row(context, ids, mask))
    return students, teachers


def _contexts(
    config: Config, alone: Sequence[int], index: int, completion: int, is_worst: bool
) -> list[tuple[int, ...]]:
    """What the teacher reads before rollout `index`. Under policy `group` all rollouts read the same peers, but those
    that are peers themselves, who see another in their own place."""
    peers = config.peers.successes + config.peers.failures
    shown = 1 if config.contrast else peers
    room = max(0, config.context.tokens - len(alone))
    size = min(room // max(1, shown), room if is_worst else completion)
    found = []
    for kind in range(2 if config.contrast else 1):
        blocks = [MADE_UP * (2 + kind) + block for block in range(shown)]
        if config.peers.policy != "group":
            blocks = [MADE_UP * (9 + index) + block for block in blocks]
        elif index < shown:
            blocks[index] += MADE_UP * 9
        found.append((*alone, *(block for block in blocks for _ in range(size))))
    return found
