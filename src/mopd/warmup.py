"""The warm-up: a supervised stage that teaches a student its task, imperfectly, and how to read peers.

A noisy demonstrator answers problems, wrong in a share of cases. Some demonstrations begin with a context of peers:
then the answer is right whenever a success of this very problem is shown, so that the student learns that peers are
worth reading; some contexts hold another problem's peers, so that it learns not to copy blindly. Order is shuffled.
"""

from __future__ import annotations

import hashlib
import math
import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from mopd.config import Config, OptimizerConfig, WarmupConfig
from mopd.contexts import render_context
from mopd.embedded import PREFIX
from mopd.errors import ProblemError
from mopd.files import write_folder_atomically
from mopd.learner import AdamW
from mopd.packing import pack_by_tokens
from mopd.problems import ProblemSet
from mopd.progress import ProgressDisplay
from mopd.scoring import Row, live_logprobs
from mopd.seeding import derive_rng
from mopd.students import Student
from mopd.types import Problem

PEER_COUNTS = ((1, 0), (2, 0), (2, 1), (1, 1), (0, 1))
"""(successes, failures) of demonstrated contexts, drawn evenly."""


@dataclass(frozen=True)
class WarmupReport:
    """Seconds the warm-up took, whether it came from the cache, and the mean loss of its last tenth in nats."""

    seconds: float
    is_cached: bool
    loss: float | None


def warm_up(student: Student, problems: ProblemSet, config: Config, progress: ProgressDisplay) -> WarmupReport:
    """Train `student` in place under `config.warmup`. Embedded students are cached by everything that shapes them.

    Raises ProblemError where problems have no reference to demonstrate.
    """
    assert config.warmup is not None
    began = time.perf_counter()
    cached = _cache_folder(config) if config.student.startswith(PREFIX) else None
    if cached is not None and _load_cached(student, cached):
        return WarmupReport(time.perf_counter() - began, True, None)
    loss = _train(student, problems, config, config.warmup, progress)
    if cached is not None:
        write_folder_atomically(cached, student.save)
    return WarmupReport(time.perf_counter() - began, False, loss)


def _train(
    student: Student, problems: ProblemSet, config: Config, warmup: WarmupConfig, progress: ProgressDisplay
) -> float:
    demonstrator = Demonstrator(student, problems.train, config, warmup)
    optimizer = AdamW(student.model, OptimizerConfig(learning_rate=warmup.learning_rate, betas=(0.9, 0.98)))
    losses: list[float] = []
    with progress.phase("warm-up", warmup.steps) as phase:
        for step in range(warmup.steps):
            loss = _backward(student.model, demonstrator.batch(step), config.compute.microbatch_tokens)
            optimizer.update(_learning_rate(step, warmup))
            losses.append(loss)
            phase.advance(note=f"loss {loss:.3f} nats")
    last = losses[-max(1, len(losses) // 10) :]
    return sum(last) / len(last)


def _backward(model: Any, rows: Sequence[Row], budget: int) -> float:
    """Gradients of the mean cross-entropy over the completions' tokens, and that mean in nats."""
    tokens = sum(len(row.completion) for row in rows)
    total = 0.0
    for pack in pack_by_tokens([row.length for row in rows], budget):
        packed = [rows[index] for index in pack]
        targets = torch.tensor([token for row in packed for token in row.completion])
        logprobs = live_logprobs(model, packed)
        loss = -logprobs.gather(-1, targets.to(logprobs.device)[:, None]).sum() / tokens
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    return total


def _learning_rate(step: int, warmup: WarmupConfig) -> float:
    rise = min(1.0, (step + 1) / max(1.0, 0.05 * warmup.steps))
    cosine = 0.5 * (1 + math.cos(math.pi * step / warmup.steps))
    return warmup.learning_rate * rise * (0.05 + 0.95 * cosine)


class Demonstrator:
    """Writes demonstrations: a function of (seed, step), whatever was asked before."""

    def __init__(self, student: Student, problems: Sequence[Problem], config: Config, warmup: WarmupConfig) -> None:
        self.student, self.problems, self.config, self.warmup = student, problems, config, warmup
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
            prefix = self.student.tokenizer.encode_prompt(problem.messages)
            return self._as_row(prefix, self._answer(problem, rng))
        is_unrelated = rng.random() < self.warmup.unrelated_share
        successes, failures = rng.choice(PEER_COUNTS)
        source = rng.choice(self.problems) if is_unrelated else problem
        shown = self._answer(source, rng)
        context = render_context(
            problem.messages,
            [shown] * min(successes, 1),  # one right answer: distinct texts leave one success
            [self._corrupted(source, rng) for _ in range(failures)],
            template=self.config.context.template or self.student.template,
            order="shuffled",
            budget=self.config.context.tokens,
            encode=self.student.tokenizer.encode_prompt,
            rng=rng,
        )
        is_repeated = successes > 0 and not is_unrelated
        answer = shown if is_repeated else self._answer(problem, rng)
        return self._as_row(context.token_ids, answer)

    def _answer(self, problem: Problem, rng: random.Random) -> str:
        is_wrong = rng.random() < self.warmup.demonstrator_error
        return self._corrupted(problem, rng) if is_wrong else problem.reference or ""

    def _corrupted(self, problem: Problem, rng: random.Random) -> str:
        return corrupt(problem.reference or "", self.alphabet, rng)

    def _as_row(self, prefix: Sequence[int], answer: str) -> Row:
        tokenizer = self.student.tokenizer
        completion = (*tokenizer.encode_completion(answer), tokenizer.end_id)
        return Row(tuple(prefix), completion, (True,) * len(completion))


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


# --- cache ----------------------------------------------------------------------------------------------------------


def cache_root() -> Path:
    """Where warmed-up students are kept: $MOPD_CACHE, else $XDG_CACHE_HOME/mopd, else ~/.cache/mopd."""
    if own := os.environ.get("MOPD_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mopd"


def _cache_folder(config: Config) -> Path:
    """A folder named by all that shapes a warmed-up student: configuration, seed, this package's code, torch."""
    source = Path(__file__).parent
    shaping = ("embedded", "warmup", "contexts", "learner", "packing", "problems", "scoring", "seeding", "tokens")
    parts = [
        config.student,
        str(config.seed),
        config.problems.model_dump_json(),
        config.warmup.model_dump_json() if config.warmup else "",
        str(config.context.tokens),
        config.context.template.model_dump_json() if config.context.template else "",
        str(config.compute.microbatch_tokens),
        torch.__version__,
        *((source / f"{module}.py").read_text(encoding="utf-8") for module in shaping),
    ]
    digest = hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:16]
    return cache_root() / "warmups" / f"{config.student.removeprefix(PREFIX)}-seed{config.seed}-{digest}"


def _load_cached(student: Student, folder: Path) -> bool:
    """Load weights from the cache; False where they are absent or unreadable, and the warm-up is done again."""
    try:
        tensors = load_file(folder / "model.safetensors")
    except (OSError, SafetensorError):
        return False
    student.model.load_state_dict(tensors, strict=False)
    return True
