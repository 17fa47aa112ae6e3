"""Warmed-up students kept on disk, each under a name made of all that shaped it."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from mopd.config import Config, flatten
from mopd.core.types import Problem
from mopd.models.embedded import PREFIX
from mopd.models.student import Student
from mopd.preflight.setup import Setup
from mopd.runs.checkpoint import load_model_weights


def cache_root() -> Path:
    """Where warmed-up students are kept: $MOPD_CACHE, else $XDG_CACHE_HOME/mopd, else ~/.cache/mopd."""
    if own := os.environ.get("MOPD_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mopd"


WITHOUT_EFFECT = (
    *(
        "run",
        "steps",
        "group_size",
        "problems_per_step",
        "problems.",
        "peers.",
        "teacher.",
        "objective.",
        "divergence.",
    ),
    *(
        "optimizer.",
        "checkpoint.",
        "tracker.",
        "evaluation.",
        "context.order",
        "context.over_budget",
        "context.feedback",
    ),
)
"""Keys of the configuration that do not shape a warmed-up student; a key that nobody thought of is taken to shape it.

Problems count by what they are, not by where they come from."""

WITH_EFFECT = ("peers.truncated_failures", "evaluation.temperature", "evaluation.top_p")
"""Keys that do, among those; those of evaluation by the figures that are measured before the warm-up."""


def cache_folder(setup: Setup, is_measured: bool) -> Path:
    """A folder named by all that shapes a warmed-up student: weights, problems, configuration, this package, torch.

    What is measured before the warm-up is cached with it, so that a warm-up which is measured has another name.
    """
    config, model = setup.config, setup.student.model
    parts = [
        _weights_digest(model),
        repr((setup.student.dtype, next(model.parameters()).device.type)),
        json.dumps([_shaping_settings(config), is_measured]),
        getattr(setup.judge, "fingerprint", ""),
        *(_shown_and_judged(problem) for problem in setup.problems.train),
        *(_shown_and_judged(problem) for problem in setup.problems.held_out if is_measured),
        torch.__version__,
        *_package_source(),
    ]
    digest = hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:16]
    name = Path(config.student.removeprefix(PREFIX)).name
    return cache_root() / "warmups" / f"{name}-seed{config.seed}-{digest}"


def _shaping_settings(config: Config) -> dict[str, Any]:
    flat = flatten(config.model_dump(mode="json"))
    return {key: value for key, value in flat.items() if key in WITH_EFFECT or not key.startswith(WITHOUT_EFFECT)}


def _package_source() -> list[str]:
    """The text of every module of this package, so that no list of those that matter can fall behind."""
    root = Path(__file__).parents[1]
    return [path.read_text(encoding="utf-8") for path in sorted(root.rglob("*.py"))]


def _shown_and_judged(problem: Problem) -> str:
    """All that a problem shows a student and is judged by: a mended `solution` or test is another warm-up."""
    return repr((problem.id, problem.messages, problem.reference, problem.verifier, dict(problem.columns)))


@torch.no_grad()
def _weights_digest(model: Any) -> str:
    """A digest of the model's weights: their sums, tensor by tensor."""
    sums = [(name, p.double().sum().item(), p.double().abs().sum().item()) for name, p in model.named_parameters()]
    return hashlib.sha256(repr(sums).encode()).hexdigest()


def load_cached(student: Student, folder: Path) -> dict[str, Any] | None:
    """The figures of a cached warm-up, its weights loaded; None where it is absent or unreadable."""
    try:
        figures: dict[str, Any] = json.loads((folder / "warmup.json").read_text(encoding="utf-8"))
        load_model_weights(student.model, folder)
    except (OSError, SafetensorError, ValueError, KeyError):
        return None
    return figures
