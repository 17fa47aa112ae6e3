"""A short trial of what a run will do, before it writes anything: decode and score, draw, judge, take problems.

Architectures differ in every way that nobody listed: states, buffers, positions, caches, rows without a token. A few
tokens written and then scored show all of them, and cost a second on a model of 135 M parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from mopd.config import Config, Sampling
from mopd.core.errors import MopdError, ProblemError, StudentError
from mopd.core.types import Group, Problem, Rollout
from mopd.judging.verdicts import verify
from mopd.models.memory import is_out_of_memory
from mopd.models.student import Student
from mopd.models.weights import is_rounded
from mopd.problems import ProblemSet
from mopd.rollouts.decoding import open_decoder
from mopd.rollouts.engine import Engine, SamplingRequest
from mopd.scoring.hidden_states import can_share_prefixes
from mopd.scoring.rows import Row
from mopd.scoring.scorer import Scorer
from mopd.verifiers import MULTIPLE_CHOICE, demonstration, in_format

MOST_APART = 1e-3
"""Share of the probability that decoding and scoring may give to different tokens, in float32; 1e-6 is rounding."""

MOST_APART_ROUNDED = 0.2
"""The same where weights are kept in bfloat16, as the base of an adapter is; .05 was rounding in SmolLM2."""

MOST_APART_NATS = 0.5
"""Mean distance of log-probabilities between sampler and learner in half precision, of which some .05 are rounding."""

STEPS = 3
"""Tokens that are decoded, more than a convolution's shortest memory."""

SAMPLED = {"reasoning_gym": 8, "code": 4}
"""Verifiers that take seconds for a problem, and how many of their problems are tried, spread over all."""

ALIKE = ("exact", "math")
"""Verifiers that read nothing of a problem but its reference: of equal ones the first is tried."""

WHOLE = (*ALIKE, "tool_use", *MULTIPLE_CHOICE)
"""Verifiers all of whose references are tried."""

MANY = 500
"""References whose trial may take seconds, behind each so many of which that is told."""


def try_out(
    config: Config,
    problems: ProblemSet,
    student: Student,
    engine: Engine,
    trains: bool = True,
    tell: Callable[[str], object] = str,
) -> None:
    """Try what the run will do. Raises StudentError for what the student cannot do, ProblemError for the problems.

    Reward functions and verifiers of the user's own are not called: they may cost money, and see a run's first rollouts
    soon enough.
    """
    if trains:
        problems.check_steps(config.steps, config.problems_per_step)
    try:
        _try_student(config, problems.train + problems.held_out, student, engine)
    except MopdError:
        raise
    except Exception as error:  # whatever an architecture raises must not come in the middle of a run
        if is_out_of_memory(error):
            raise
        raise _refusal(student, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}") from error
    if not config.rewards.functions:
        check_references(problems.train + problems.held_out, tell)


# --- the student ----------------------------------------------------------------------------------------------------


@torch.no_grad()
def _try_student(config: Config, problems: Sequence[Problem], student: Student, engine: Engine) -> None:
    prompts = _short_prompts(student, problems)
    apart = _decoding_apart(student, prompts)
    if not apart <= (MOST_APART_ROUNDED if is_rounded(student.model) else MOST_APART):
        raise _refusal(student, f"written token by token, it gives {apart:.2g} of the probability to other tokens")
    requests = [SamplingRequest(prompt, 2, (config.seed, "trial", i)) for i, prompt in enumerate(prompts[:1])]
    sampling = config.sampling.model_copy(update={"completion_tokens": min(2, config.sampling.completion_tokens)})
    (rollouts,) = engine.sample(requests, sampling)
    apart = _sampling_apart(config, student, prompts[0], rollouts, sampling)
    if not apart <= MOST_APART_NATS:
        raise _refusal(student, f"what it samples in {student.dtype} is {apart:.2g} nats from what is learnt from")


def _refusal(student: Student, got: str) -> StudentError:
    return StudentError(
        "a student writes, token by token and in groups, by the probabilities that it is scored by",
        f"{type(student.model).__name__}: {got}",
        "use another architecture, or report this one",
    )


def _short_prompts(student: Student, problems: Sequence[Problem]) -> list[tuple[int, ...]]:
    """The begin of a prompt at two lengths, and its end: of different lengths, two of which share a prefix."""
    ids = tuple(student.tokenizer.encode_prompt(problems[0].messages))
    return list(dict.fromkeys((ids[:12], ids[:7], ids[-9:])))


def _decoding_apart(student: Student, prompts: Sequence[tuple[int, ...]]) -> float:
    """How far decoding and scoring are apart at most: the share of probability that lies on other tokens."""
    model, dropped = student.model, 1
    owners = [index for index in range(len(prompts)) for _ in range(2)]
    rows = [(*prompts[index], *_some_tokens(prompts[0], row)) for row, index in enumerate(owners)]
    decoder = open_decoder(model, prompts, [2] * len(prompts), can_share_prefixes(model))
    found, places = [decoder.logits], [list(range(len(rows)))]
    for step in range(STEPS):
        if step == 1:  # a row ends while the others go on
            keep = torch.tensor([row for row in range(len(rows)) if row != dropped])
            decoder.keep(keep)
            places.append(keep.tolist())
        else:
            places.append(places[-1])
        at = [len(prompts[owners[row]]) + step for row in places[-1]]
        found.append(decoder.step(torch.tensor([rows[row][i] for row, i in zip(places[-1], at, strict=True)])))
    scorer = Scorer(student.dtype if is_rounded(model) else torch.float32)
    scored = _scored(model, rows, [len(prompts[index]) for index in owners], scorer)
    pairs = [(got, torch.stack([scored[row][step] for row in places[step]])) for step, got in enumerate(found)]
    return max(_total_variation(got, wanted) for got, wanted in pairs)


def _some_tokens(ids: Sequence[int], row: int) -> tuple[int, ...]:
    """Tokens to write: other ones in each row, of those that the student's prompts have."""
    return tuple(ids[(row + 1 + 2 * step) % len(ids)] for step in range(STEPS))


def _scored(model: Any, rows: Sequence[tuple[int, ...]], lengths: Sequence[int], scorer: Scorer) -> list[Tensor]:
    """For each row the log-probabilities behind its prompt and each of its tokens, [STEPS + 1, vocabulary]."""
    asked = [
        Row(row[:length], (*row[length:], row[0]), (True,) * (STEPS + 1))
        for row, length in zip(rows, lengths, strict=True)
    ]
    return [scorer.predict(model, states, 1.0).whole() for states in scorer.read(model, asked)]


def _total_variation(logits: Tensor, logprobs: Tensor) -> float:
    return (logits.float().softmax(-1) - logprobs.exp()).abs().sum(-1).max().item() / 2


def _sampling_apart(
    config: Config, student: Student, prompt: tuple[int, ...], rollouts: Sequence[Rollout], sampling: Sampling
) -> float:
    """The mean distance between the log-probabilities of rollouts by the engine and by the learner, in nats."""
    scorer = Scorer.of(config.compute, student.dtype, may_compile=False)
    rows = [Row(prompt, rollout.token_ids, rollout.is_own) for rollout in rollouts]
    gaps: list[float] = []
    for rollout, states in zip(rollouts, scorer.read(student.model, rows), strict=True):
        ids = torch.tensor(rollout.token_ids, device=states.device)
        learnt = scorer.predict(student.model, states, sampling.temperature).of(ids).tolist()
        gaps += [abs(a - b) for a, b in zip(learnt, rollout.sampler_logprobs, strict=True)]
    return math.fsum(gaps) / len(gaps)


# --- the problems ---------------------------------------------------------------------------------------------------


def check_references(problems: Sequence[Problem], tell: Callable[[str], object] = str) -> None:
    """Refuse references that their verifier cannot read: verdicts on such a problem would be errors.

    A completion that solves each problem is judged and one that hardly does; of problems that take seconds, a few.
    What may take seconds is told. Raises ProblemError.
    """
    tried = _tried(problems)
    for begin in range(0, len(tried), MANY):
        if len(tried) > MANY:
            tell(f"references tried: {begin} of {len(tried)}")
        for group in verify([_as_group(problem) for problem in tried[begin : begin + MANY]]):
            if failed := next((verdict for verdict in group.verdicts if verdict.kind == "error"), None):
                raise ProblemError(
                    "the verifier of a problem can read its reference",
                    f"{group.problem.named}: {failed.feedback}",
                    "mend the problem or leave it out; `mopd verify` judges completions of your own",
                )


def _tried(problems: Sequence[Problem]) -> list[Problem]:
    """The problems whose references are tried; none of verifiers of the user's own."""
    found: dict[object, Problem] = {}
    for place, problem in enumerate(problems):
        if problem.verifier in WHOLE:
            key = problem.reference if problem.verifier in ALIKE else place
            found.setdefault((problem.verifier, key), problem)
    for name, most in SAMPLED.items():
        those = [problem for problem in problems if problem.verifier == name]
        found |= {
            (name, place): problem for place, problem in enumerate(those[:: max(1, math.ceil(len(those) / most))])
        }
    return list(found.values())


def _as_group(problem: Problem) -> Group:
    """Two completions as rollouts: the solution, where one can be made, and an answer like any other.

    A reference in words that the verifier cannot read equals itself; only another answer shows that it cannot.
    """
    texts = (demonstration(problem) or "?", in_format(problem.verifier, "0") or "?")
    rollouts = tuple(Rollout(index, (), (), (), text, is_truncated=False) for index, text in enumerate(texts))
    return Group(0, problem, (), rollouts)
