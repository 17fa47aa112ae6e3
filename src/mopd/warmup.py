"""The warm-up: a supervised stage before step 0, by which a student learns its task a little, and to read peers.

A model that cannot read peers cannot teach from them, and neither an untrained nor a small pretrained model can. What
is shown is in `demonstrations.py`; warmed-up students are cached.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from mopd.checkpoint import load_model_weights
from mopd.config import Config, DemonstratorWarmup, OptimizerConfig, SolutionsWarmup
from mopd.demonstrations import NoisyDemonstrator, Solutions
from mopd.embedded import PREFIX
from mopd.embeddings import sparse_input_gradient
from mopd.engines.local import LocalEngine
from mopd.files import dump_json, write_folder_atomically
from mopd.learner import AdamW
from mopd.packing import pack_by_tokens
from mopd.precision import computing_in
from mopd.problems import ProblemSet
from mopd.progress import ProgressDisplay
from mopd.scoring import Row, can_share_prefixes, chunks, live_hidden, predict
from mopd.students import Student
from mopd.types import Group, Problem
from mopd.verification import Judge, by_verifiers


@dataclass(frozen=True)
class WarmupReport:
    """What a warm-up did: its seconds, whether it came from the cache, and its figures.

    `figures` holds what `measure` gave before it (`before`), the mean loss of the last tenth of each stage in nats, and
    counts: problems left out, solutions that their verifier rejects, and updates skipped for a non-finite gradient.
    """

    seconds: float
    is_cached: bool
    figures: dict[str, Any] = field(default_factory=dict)


def warm_up(
    student: Student,
    problems: ProblemSet,
    config: Config,
    progress: ProgressDisplay,
    measure: Callable[[], dict[str, Any]] | None = None,
    judge: Judge = by_verifiers,
) -> WarmupReport:
    """Train `student` in place under `config.warmup`, or take it from the cache.

    `measure` is called before training; `judge` judges the rollouts that become peers.

    Raises ProblemError where problems have nothing to demonstrate.
    """
    assert config.warmup is not None
    began = time.perf_counter()
    cached = _cache_folder(student, problems, config, judge, measure is not None)
    figures = _load_cached(student, cached)
    if figures is not None:
        return WarmupReport(time.perf_counter() - began, True, figures)
    before = {"before": measure()} if measure is not None else {}
    if isinstance(config.warmup, SolutionsWarmup):
        figures = before | _learn_solutions(student, problems, config, config.warmup, progress, judge)
    else:
        figures = before | _learn_from_demonstrator(student, problems, config, config.warmup, progress)
    seconds = time.perf_counter() - began

    def fill(folder: Path) -> None:
        student.save(folder)
        (folder / "warmup.json").write_text(dump_json(figures), encoding="utf-8")

    write_folder_atomically(cached, fill)
    return WarmupReport(seconds, False, figures)


def _learn_from_demonstrator(
    student: Student, problems: ProblemSet, config: Config, warmup: DemonstratorWarmup, progress: ProgressDisplay
) -> dict[str, Any]:
    demonstrator = NoisyDemonstrator(student, problems.train, config, warmup)
    stage = _Stage(student, config, warmup.learning_rate)
    loss = stage.run("warm-up", warmup.steps, demonstrator.batch, progress)
    return {"loss_nats": loss, "skipped_nonfinite_count": stage.skipped}


def _learn_solutions(
    student: Student,
    problems: ProblemSet,
    config: Config,
    warmup: SolutionsWarmup,
    progress: ProgressDisplay,
    judge: Judge,
) -> dict[str, Any]:
    solutions = Solutions(student, problems.train, config, warmup)
    stage = _Stage(student, config, warmup.learning_rate)
    figures: dict[str, Any] = {f"problems_{name}_count": count for name, count in solutions.counts.items()}
    shown = judge(solutions.as_groups(), 0)[0]
    figures["solutions_rejected_count"] = sum(not group.is_success(0) for group in shown)
    figures["loss_nats"] = stage.run("warm-up", warmup.steps, solutions.plain_batch, progress)
    if warmup.context_steps:
        groups = _attempt(student, solutions, config, progress, judge)
        figures["rollouts_success_share"] = _success_share(groups)
        figures["contexts_loss_nats"] = stage.run(
            "warm-up, contexts", warmup.context_steps, lambda step: solutions.context_batch(step, groups), progress
        )
    figures["skipped_nonfinite_count"] = stage.skipped
    return figures


def _attempt(
    student: Student, solutions: Solutions, config: Config, progress: ProgressDisplay, judge: Judge
) -> list[Group]:
    """Verified groups of the student's own rollouts, as the plain stage left it."""
    sampling, count = config.sampling, solutions.warmup.context_rollouts
    with progress.phase("warm-up, rollouts", len(solutions.context_problems) * count) as phase:
        groups = LocalEngine(student, config.compute.sampling_rows).sample_groups(
            solutions.context_problems,
            count,
            key=lambda problem: (config.seed, "warmup rollout", problem.id),
            step=0,
            success_reward=config.success_reward,
            completion_tokens=sampling.completion_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            on_batch=phase.advance,
        )
        return judge(groups, 0)[0]


def _success_share(groups: Sequence[Group]) -> float:
    found = [group.is_success(rollout.index) for group in groups for rollout in group.rollouts]
    return sum(found) / len(found)


class _Stage:
    """Supervised updates of one student; the optimiser goes on from stage to stage, and `skipped` counts vain ones."""

    def __init__(self, student: Student, config: Config, learning_rate: float) -> None:
        self.student, self.budget, self.learning_rate = student, config.compute.microbatch_tokens, learning_rate
        self.optimizer = AdamW(student.model, OptimizerConfig(learning_rate=learning_rate, betas=(0.9, 0.98)))
        self.skipped = 0

    def run(self, name: str, steps: int, batch: Callable[[int], Sequence[Row]], progress: ProgressDisplay) -> float:
        """`steps` updates on `batch(step)`; the mean loss of the last tenth, in nats."""
        losses: list[float] = []
        with progress.phase(name, steps) as phase:
            for step in range(steps):
                losses.append(self._backward(batch(step)))
                is_done, _ = self.optimizer.update(self.learning_rate * _schedule(step, steps))
                self.skipped += not is_done
                phase.advance(note=f"loss {losses[-1]:.3f} nats")
        last = losses[-max(1, len(losses) // 10) :]
        return sum(last) / len(last)

    def _backward(self, rows: Sequence[Row]) -> float:
        """Gradients of the mean cross-entropy over the completions' tokens, and that mean in nats."""
        model = self.student.model
        tokens = sum(len(row.completion) for row in rows)
        total = 0.0
        for pack in pack_by_tokens([row.token_ids for row in rows], self.budget, can_share_prefixes(model)):
            packed = [rows[index] for index in pack]
            with computing_in(self.student.dtype, next(model.parameters()).device), sparse_input_gradient(model):
                hidden = live_hidden(model, packed)
            targets = torch.tensor([token for row in packed for token in row.completion], device=hidden.device)
            cut = hidden.detach().requires_grad_()
            for part in chunks(model, len(targets)):
                with computing_in(self.student.dtype, hidden.device):
                    predictions = predict(model, cut[part])
                loss = -predictions.of(targets[part]).sum() / tokens
                loss.backward()  # type: ignore[no-untyped-call]
                total += loss.item()
            hidden.backward(cut.grad)  # type: ignore[no-untyped-call]
        return total


def _schedule(step: int, steps: int) -> float:
    """Share of the peak learning rate: a linear rise over 5 % of the steps, then a cosine down to 5 %."""
    rise = min(1.0, (step + 1) / max(1.0, 0.05 * steps))
    return rise * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / steps)))


# --- cache ----------------------------------------------------------------------------------------------------------


def cache_root() -> Path:
    """Where warmed-up students are kept: $MOPD_CACHE, else $XDG_CACHE_HOME/mopd, else ~/.cache/mopd."""
    if own := os.environ.get("MOPD_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mopd"


SHAPING = (
    *("code_tests", "contexts", "demonstrations", "embedded", "embeddings", "engines", "learner", "packing", "peers"),
    *("precision", "predictions", "pretrained", "problems", "sandbox", "scoring", "seeding", "students", "tokens"),
    *("trie_attention", "verifiers", "warmup"),
)
"""Modules of this package whose code shapes a warmed-up student."""


SHAPING_KEYS = ("seed", "success_reward", "warmup", "sampling", "chat", "rewards")
"""Keys of the configuration that shape it, besides those of contexts and microbatches."""


def _cache_folder(student: Student, problems: ProblemSet, config: Config, judge: Judge, is_measured: bool) -> Path:
    """A folder named by all that shapes a warmed-up student: its weights, problems, configuration, this code, torch."""
    source = Path(__file__).parent
    files = [path for name in SHAPING for path in (source / f"{name}.py", *sorted((source / name).glob("*.py")))]
    table = config.model_dump(mode="json")
    parts = [
        config.student,
        _fingerprint(student.model),
        repr((student.dtype, next(student.model.parameters()).device.type)),
        json.dumps([table[key] for key in SHAPING_KEYS]),
        json.dumps(table["peers"]["truncated_failures"]),
        json.dumps([table["context"]["tokens"], table["context"]["template"], table["compute"]["microbatch_tokens"]]),
        json.dumps(table["evaluation"]) if is_measured else "",
        getattr(judge, "fingerprint", ""),
        *(_shown_and_judged(problem) for problem in problems.train),
        torch.__version__,
        *(path.read_text(encoding="utf-8") for path in files if path.is_file()),
    ]
    digest = hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:16]
    name = Path(config.student.removeprefix(PREFIX)).name
    return cache_root() / "warmups" / f"{name}-seed{config.seed}-{digest}"


def _shown_and_judged(problem: Problem) -> str:
    """All that a problem shows a student and is judged by: a mended `solution` or test is another warm-up."""
    return repr((problem.id, problem.messages, problem.reference, problem.verifier, dict(problem.columns)))


@torch.no_grad()
def _fingerprint(model: Any) -> str:
    """A digest of the model's weights: their sums, tensor by tensor."""
    sums = [(name, p.double().sum().item(), p.double().abs().sum().item()) for name, p in model.named_parameters()]
    return hashlib.sha256(repr(sums).encode()).hexdigest()


def _load_cached(student: Student, folder: Path) -> dict[str, Any] | None:
    """The figures of a cached warm-up, its weights loaded; None where it is absent or unreadable."""
    try:
        figures: dict[str, Any] = json.loads((folder / "warmup.json").read_text(encoding="utf-8"))
        load_model_weights(student.model, folder)
    except (OSError, SafetensorError, ValueError, KeyError):
        return None
    return figures
