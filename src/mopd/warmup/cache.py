"""Warmed-up students kept on disk, each under a name made of all that shaped it."""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mopd.config import Config, flatten
from mopd.core.files import dump_json, remove_folder, write_folder_atomically
from mopd.models.embedded import PREFIX
from mopd.models.student import Student
from mopd.models.tokenizer import ChatTokenizer
from mopd.preflight.setup import Setup
from mopd.runs.checkpoint import load_weights
from mopd.runs.environment import package_source, package_versions
from mopd.runs.inputs import own_verifiers, rendered, shown_and_judged
from mopd.runs.paths import absolute
from mopd.runs.progress import say


def cache_root() -> Path:
    """Where warmed-up students are kept: $MOPD_CACHE, else $XDG_CACHE_HOME/mopd, else ~/.cache/mopd.

    Raises RuntimeError or OSError where this user has no home directory, or there is no working directory.
    """
    if own := os.environ.get("MOPD_CACHE"):
        return absolute(own)
    return absolute(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mopd"


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
        "compute.teacher",
        "checkpoint.",
        "tracker.",
        "evaluation.",
        "preflight.",
        "lessons.",
        "alarms.",
        "parallel.",
        "context.order",
        "context.over_budget",
        "context.feedback",
    ),
)
"""Keys of the configuration that do not shape a warmed-up student; a key that nobody thought of is taken to shape it.

Problems count by what they are, not by where they come from."""

WITH_EFFECT = ("peers.truncated_failures", "evaluation.temperature", "evaluation.top_p")
"""Keys that do, among those; those of evaluation by the figures that are measured before the warm-up."""


MARK = "warmup.json"
"""The file that a cached warm-up has, with its figures."""


def cache_folder(setup: Setup, is_measured: bool) -> Path:
    """A folder named by all that shapes a warmed-up student: model, tokenizer, problems, configuration, packages.

    What is measured before the warm-up is cached with it, so that a warm-up which is measured has another name.
    """
    config, model = setup.config, setup.student.model
    parts = [
        _model_digest(model),
        _tokenizer_digest(setup.student.tokenizer),
        repr((setup.student.dtype, next(model.parameters()).device.type)),
        json.dumps([_shaping_settings(config), is_measured]),
        getattr(setup.judge, "fingerprint", ""),
        *(() if setup.config.rewards.functions else own_verifiers(setup.problems)),
        *rendered(setup.problems, setup.student.tokenizer),
        *map(shown_and_judged, setup.problems.train),
        *(map(shown_and_judged, setup.problems.held_out) if is_measured else ()),
        json.dumps(package_versions()),
        *package_source(),
    ]
    digest = hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:16]
    name = Path(config.student.removeprefix(PREFIX)).name
    return cache_root() / "warmups" / f"{name}-seed{config.seed}-{digest}"


def _shaping_settings(config: Config) -> dict[str, Any]:
    flat = flatten(config.model_dump(mode="json"))
    return {key: value for key, value in flat.items() if key in WITH_EFFECT or not key.startswith(WITHOUT_EFFECT)}


@torch.no_grad()
def _model_digest(model: Any) -> str:
    """A digest of all that a model computes with: every bit of its tensors in their order, and its configuration."""
    found = hashlib.sha256(_described(model.config).encode())
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return found.hexdigest()


def _described(config: Any) -> str:
    """A model's configuration without where it came from."""
    return json.dumps(
        {**config.to_dict(), "_name_or_path": "", "transformers_version": ""}, sort_keys=True, default=str
    )


def _tokenizer_digest(tokenizer: ChatTokenizer) -> str:
    """A digest of how text becomes ids and turns become text, and of what ends a completion."""
    inner = tokenizer.inner
    backend = getattr(inner, "backend_tokenizer", None)
    text_to_ids = sorted(inner.get_vocab().items()) if backend is None else backend.to_str()
    ends = [sorted(tokenizer.end_ids), tokenizer.end_id, tokenizer.pad_id]
    return hashlib.sha256(repr([text_to_ids, inner.chat_template, ends]).encode("utf-8", "replace")).hexdigest()


def load_cached(student: Student, folder: Path) -> dict[str, Any] | None:
    """The figures of a cached warm-up, its weights loaded; None where there is none.

    One that cannot be read, or that another process removes meanwhile, is said, and the student is as it was.
    """
    if not (folder / MARK).is_file():
        return None
    try:
        figures: dict[str, Any] = json.loads((folder / MARK).read_text(encoding="utf-8"))
        load_weights(student, folder)
        with suppress(OSError):  # a cache of others, that can only be read
            os.utime(folder / MARK)  # when it was used last
    except Exception as error:  # transformers and safetensors each raise errors of their own
        say(f"warning: the cached warm-up {folder} cannot be read ({str(error)[:200]}); it is done again")
        return None
    return figures


def keep_cached(student: Student, figures: dict[str, Any], folder: Path, is_damaged: bool) -> str | None:
    """Keep a warmed-up student; why not, where it cannot be kept, which is also said.

    Of several processes with one warm-up the first one's is kept, since the others' are the same, unless it
    `is_damaged`.
    """

    def fill(aside: Path) -> None:
        student.save(aside)
        (aside / MARK).write_text(dump_json(figures), encoding="utf-8")

    try:
        write_folder_atomically(folder, fill, keep=None if is_damaged else MARK)
    except Exception as error:  # a full disk is an exception of their own to safetensors and tokenizers
        say(
            f"warning: the warm-up is not cached, since {folder} cannot be written ({str(error)[:200]}): "
            "the run goes on with it, and the next run does it again; set MOPD_CACHE to another directory"
        )
        return str(error)[:200]
    return None


@dataclass(frozen=True)
class CachedWarmup:
    """A warm-up on this disk: where it is, its bytes, and the days since it was used."""

    path: Path
    size: int
    age_days: float


def cached_warmups() -> list[CachedWarmup]:
    """What is kept, the newest first."""
    found = []
    for mark in (cache_root() / "warmups").glob(f"*/{MARK}"):
        with suppress(FileNotFoundError):  # another process removes it
            size = sum(file.stat().st_size for file in mark.parent.rglob("*") if file.is_file())
            found.append(CachedWarmup(mark.parent, size, (time.time() - mark.stat().st_mtime) / 86400))
    return sorted(found, key=lambda entry: entry.age_days)


def prune(days: float) -> list[CachedWarmup]:
    """Remove the warm-ups that were not used for `days` days; those removed. A run that needs one does it again."""
    old = [entry for entry in cached_warmups() if entry.age_days >= days]
    for entry in old:
        remove_folder(entry.path)
    return old
