"""What a warm-up shows a student: rows of prompt, or context of peers, and the completion to learn.

`NoisyDemonstrator` writes everything itself, for embedded students. `Solutions` has the problems' own solutions, and
for contexts the student's own rollouts: failures as the student makes them, in blocks whose order is shuffled unless
told, some of them another problem's, so that it learns to read peers and not to copy whatever block it sees.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from mopd.config import Config, DemonstratorWarmup, SolutionsWarmup
from mopd.core.errors import ProblemError
from mopd.core.seeding import derive_rng
from mopd.core.types import Context, Group, Problem, Rollout
from mopd.method.contexts import BlockOrder, render_context, template_of
from mopd.method.peers import cleaner, may_be_failure_peer
from mopd.models.student import Student
from mopd.scoring.rows import Row
from mopd.verifiers import demonstration

PEER_COUNTS = ((1, 0), (2, 0), (2, 1), (1, 1), (0, 1))
"""(successes, failures) of a noisy demonstrator's contexts, drawn evenly."""

SOLUTION_PEER_COUNTS = ((1, 0), (2, 0), (1, 1), (1, 1), (2, 1), (2, 1), (0, 1))
"""The same for solutions: to tell a success from a failure beside it is what takes longest to learn."""


class _Writer:
    """Turns texts into rows for one student."""

    def __init__(self, student: Student, config: Config) -> None:
        self.student, self.config = student, config

    def row(self, prefix: Sequence[int], text: str) -> Row:
        """The prefix, and the text with its end token as completion."""
        tokenizer = self.student.tokenizer
        completion = (*tokenizer.encode_completion(text), tokenizer.end_id)
        return Row(tuple(prefix), completion, (True,) * len(completion))

    def prompt(self, problem: Problem) -> list[int]:
        """The bare prompt."""
        return self.student.tokenizer.encode_prompt(problem.messages)

    def context(
        self, problem: Problem, successes: list[str], failures: list[str], order: BlockOrder, rng: random.Random
    ) -> Context:
        """A context of these peers."""
        return render_context(
            problem.messages,
            successes,
            failures,
            template=template_of(self.config.context, self.student.template),
            order=order,
            budget=self.config.context.tokens,
            encode=self.student.tokenizer.encode_prompt,
            rng=rng,
        )


class NoisyDemonstrator:
    """Answers problems, wrongly in a share of cases: a function of (seed, step), whatever was asked before.

    Behind a context with a success of this very problem it repeats that success, right or wrong; so reading peers pays.
    """

    def __init__(
        self, student: Student, problems: Sequence[Problem], config: Config, warmup: DemonstratorWarmup
    ) -> None:
        self.writer = _Writer(student, config)
        self.problems, self.config, self.warmup = problems, config, warmup
        if any(problem.reference is None for problem in problems):
            raise ProblemError("a warm-up demonstrates reference answers", "a problem without one", "remove [warmup]")
        self.alphabet = sorted({character for problem in problems for character in problem.reference or ""})

    def batch(self, step: int) -> list[Row]:
        """The rows of one update."""
        rng = derive_rng(self.config.seed, "warmup", step)
        return [self._row(rng) for _ in range(self.warmup.batch_size)]

    def _row(self, rng: random.Random) -> Row:
        problem = rng.choice(self.problems)
        if rng.random() >= self.warmup.context_share:
            return self.writer.row(self.writer.prompt(problem), self._answer(problem, rng))
        is_unrelated = rng.random() < self.warmup.unrelated_share
        successes, failures = rng.choice(PEER_COUNTS)
        source = rng.choice(self.problems) if is_unrelated else problem
        shown = self._answer(source, rng)
        context = self.writer.context(
            problem,
            [shown] * min(successes, 1),  # one right answer: distinct texts leave one success
            [self._corrupted(source, rng) for _ in range(failures)],
            "shuffled",
            rng,
        )
        is_repeated = successes > 0 and not is_unrelated
        return self.writer.row(context.token_ids, shown if is_repeated else self._answer(problem, rng))

    def _answer(self, problem: Problem, rng: random.Random) -> str:
        is_wrong = rng.random() < self.warmup.demonstrator_error
        return self._corrupted(problem, rng) if is_wrong else problem.reference or ""

    def _corrupted(self, problem: Problem, rng: random.Random) -> str:
        return corrupt(problem.reference or "", self.alphabet, rng)


def corrupt(text: str, alphabet: Sequence[str], rng: random.Random) -> str:
    """`text` with one or two characters swapped or replaced, never `text` itself; its length is kept."""
    while True:
        characters = list(text)
        for _ in range(rng.choice((1, 1, 2))):
            i, j = rng.randrange(len(characters)), rng.randrange(len(characters))
            if rng.random() < 0.5:
                characters[i], characters[j] = characters[j], characters[i]
            else:
                characters[i] = rng.choice(alphabet)
        if "".join(characters) != text:
            return "".join(characters)


class Solutions:
    """Worked solutions of some training problems, plain or behind contexts of the student's own rollouts.

    `plain_problems` are shown bare; `context_problems` are to be attempted for the peers of contexts; they overlap only
    where there are too few problems. `counts` tells how many problems had to be left out, and why.

    Raises ProblemError where no problem has a solution that fits.
    """

    def __init__(self, student: Student, problems: Sequence[Problem], config: Config, warmup: SolutionsWarmup) -> None:
        self.writer = _Writer(student, config)
        self.config, self.warmup = config, warmup
        self.counts = {"without_solution": 0, "too_long": 0}
        usable = [problem for problem in problems if self._is_usable(problem)]
        if not usable:
            raise ProblemError(
                "a warm-up on solutions has problems with a `solution` or an answer, no longer than a completion",
                f"{self.counts['without_solution']} of {len(problems)} problems without, {self.counts['too_long']} "
                f"with one over sampling.completion_tokens = {config.sampling.completion_tokens}",
                "raise completion_tokens, map problems.columns.solution, or remove [warmup]",
            )
        derive_rng(config.seed, "warmup problems").shuffle(usable)
        wanted = min(warmup.context_problems, max(1, len(usable) // 2)) if warmup.context_steps else 0
        self.context_problems = usable[:wanted]
        self.plain_problems = usable[wanted : wanted + warmup.problems] or usable

    def _is_usable(self, problem: Problem) -> bool:
        text = demonstration(problem)
        if text is None:
            self.counts["without_solution"] += 1
            return False
        is_short = len(self.writer.row((), text).completion) <= self.config.sampling.completion_tokens
        self.counts["too_long"] += not is_short
        return is_short

    def as_groups(self) -> list[Group]:
        """Every problem that is shown, its solution as the one rollout: a judge tells which solutions it rejects."""
        shown = {problem.id: problem for problem in (*self.plain_problems, *self.context_problems)}
        return [self._as_group(problem) for problem in shown.values()]

    def _as_group(self, problem: Problem) -> Group:
        text = demonstration(problem) or ""
        row = self.writer.row(self.writer.prompt(problem), text)
        logprobs = (0.0,) * len(row.completion)
        rollout = Rollout(0, row.completion, row.loss_mask, logprobs, text, is_truncated=False)
        return Group(0, problem, row.prefix, (rollout,), success_reward=self.config.success_reward)

    def plain_batch(self, step: int) -> list[Row]:
        """The rows of one update on bare prompts."""
        rng = derive_rng(self.config.seed, "warmup", step)
        return [self._plain_row(rng) for _ in range(self.warmup.batch_size)]

    def context_batch(self, step: int, groups: Sequence[Group]) -> list[Row]:
        """The rows of one update of the second stage; `groups` are verified groups of the context problems."""
        rng = derive_rng(self.config.seed, "warmup contexts", step)
        share = self.warmup.context_share
        return [
            self._context_row(groups, rng) if rng.random() < share else self._plain_row(rng)
            for _ in range(self.warmup.batch_size)
        ]

    def _plain_row(self, rng: random.Random) -> Row:
        problem = rng.choice(self.plain_problems)
        return self.writer.row(self.writer.prompt(problem), demonstration(problem) or "")

    def _context_row(self, groups: Sequence[Group], rng: random.Random) -> Row:
        group = rng.choice(groups)
        source = rng.choice(groups) if rng.random() < self.warmup.unrelated_share else group
        successes, failures = self._peers(source, *rng.choice(SOLUTION_PEER_COUNTS), rng)
        context = self.writer.context(group.problem, successes, failures, self.warmup.order, rng)
        return self.writer.row(context.token_ids, demonstration(group.problem) or "")

    def _peers(self, group: Group, successes: int, failures: int, rng: random.Random) -> tuple[list[str], list[str]]:
        """Texts of the group's rollouts that training would show; the solution stands in for missing successes."""
        clean = cleaner(self.config.context)
        texts = {r.index: clean(r.text) for r in group.rollouts if r.text.strip()}
        good = list(dict.fromkeys(text for i, text in texts.items() if group.is_success(i)))
        bad = list(dict.fromkeys(text for i, text in texts.items() if may_be_failure_peer(group, i, self.config.peers)))
        rng.shuffle(good)
        rng.shuffle(bad)
        if solution := demonstration(group.problem):
            good = list(dict.fromkeys([*good, solution]))
        return good[:successes], [text for text in bad if text not in good][:failures]
