"""Trackers: metrics and a few completions sent to tensorboard, trackio or wandb. None is needed: the run has all."""

from __future__ import annotations

import html
import importlib
import json
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mopd.config import Config
from mopd.core.errors import ConfigError
from mopd.core.files import dump_json, write_atomically
from mopd.runs.progress import say

COMPLETIONS = "evaluation/completions"
"""The name of the table of held-out completions."""

COLUMNS = ("problem", "prompt", "completion", "verdict", "reward")

MOST_ROWS = 16
"""Held-out problems of which the table shows a completion."""

Row = tuple[str, str, str, str, float]


class Tracker:
    """Sends metrics somewhere. `log(step, metrics)` takes floats; `close()` flushes.

    `log_completions(step, completions)` takes those that `evaluations/step-N.jsonl` has, and sends a table of a few.
    A tracker that fails ends no run: the first failure is said, all are counted in `failed_count`.
    """

    def __init__(
        self,
        log: Callable[[int, dict[str, float]], None] = lambda step, metrics: None,
        close: Callable[[], None] = lambda: None,
        kind: str = "none",
        log_rows: Callable[[int, list[Row]], None] = lambda step, rows: None,
    ) -> None:
        self._log, self._close, self._kind, self._log_rows = log, close, kind, log_rows
        self.failed_count = 0

    def log(self, step: int, metrics: dict[str, float]) -> None:
        self._try(lambda: self._log(step, metrics))

    def log_completions(self, step: int, completions: Sequence[dict[str, Any]]) -> None:
        if rows := _rows(completions):
            self._try(lambda: self._log_rows(step, rows))

    def close(self) -> None:
        self._try(self._close)

    def _try(self, send: Callable[[], None]) -> None:
        try:
            send()
        except Exception as error:  # of a package, a network or a disk
            self.failed_count += 1
            if self.failed_count == 1:
                say(
                    f"warning: tracker {self._kind} failed ({type(error).__name__}: {str(error)[:200]}); "
                    "metrics.jsonl has every metric"
                )


def _rows(completions: Sequence[dict[str, Any]]) -> list[Row]:
    """A table's rows: the first completion of each of the first problems."""
    firsts = [one for one in completions if one["index"] == 0][:MOST_ROWS]
    return [
        (one["problem_id"], one["prompt"][-1]["content"], one["completion"], one["kind"], one["reward"])
        for one in firsts
    ]


def open_tracker(config: Config) -> Tracker:
    """The configured tracker. Raises ConfigError where its package is not installed or it cannot be opened."""
    opener = {"none": lambda _: Tracker(), "tensorboard": _tensorboard, "trackio": _trackio, "wandb": _wandb}
    check_tracker(config)
    try:
        return opener[config.tracker.kind](config)
    except Exception as error:  # of a package, a network or a disk
        raise ConfigError(
            f"tracker {config.tracker.kind} can be opened",
            f"{type(error).__name__}: {error}",
            "mend that, or set tracker.kind=none",
        ) from error


def check_tracker(config: Config) -> None:
    """Raises ConfigError where the tracker's package is not installed."""
    kind = config.tracker.kind
    try:
        if kind != "none":
            importlib.import_module("torch.utils.tensorboard" if kind == "tensorboard" else kind)
    except ImportError as error:
        raise ConfigError(
            f"tracker {kind} is installed", str(error), f"pip install {kind}, or tracker.kind=none"
        ) from error


def _tensorboard(config: Config) -> Tracker:
    from torch.utils.tensorboard import SummaryWriter

    writer: Any = SummaryWriter(str(Path(config.run) / "tensorboard"))  # type: ignore[no-untyped-call]

    def log(step: int, metrics: dict[str, float]) -> None:
        for name, value in metrics.items():
            writer.add_scalar(name, value, step)

    def log_rows(step: int, rows: list[Row]) -> None:
        writer.add_text(COMPLETIONS, _markdown(rows), step)

    return Tracker(log, writer.close, "tensorboard", log_rows)


def _markdown(rows: list[Row]) -> str:
    """The rows as a table of Markdown, in which no text of theirs is markup."""
    lines = [COLUMNS, ("---",) * len(COLUMNS), *([_inert(str(cell)) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _inert(text: str) -> str:
    """Text that Markdown shows as it is: each of its marks as a character reference, each line's end as a break."""
    marks = {ord(mark): f"&#{ord(mark)};" for mark in "\\`*_{}[]()#+-.!|~:"}
    return "<br>".join(html.escape(line).translate(marks) for line in text.splitlines())


def _trackio(config: Config) -> Tracker:
    import trackio

    trackio.init(
        project=config.tracker.project,
        name=_kept(config, "trackio", f"{Path(config.run).name}-{uuid.uuid4().hex[:8]}"),
        config=config.model_dump(mode="json"),
        resume="allow",
    )

    def log_rows(step: int, rows: list[Row]) -> None:
        table = trackio.Table(columns=list(COLUMNS), data=[list(row) for row in rows])
        trackio.log({COMPLETIONS: table}, step=step)

    return Tracker(lambda step, metrics: trackio.log(metrics, step=step), trackio.finish, "trackio", log_rows)


def _wandb(config: Config) -> Tracker:
    import wandb

    wandb.init(
        project=config.tracker.project,
        id=_kept(config, "wandb", uuid.uuid4().hex[:8]),
        name=Path(config.run).name,
        dir=config.run,
        config=config.model_dump(mode="json"),
        resume="allow",
        allow_val_change=True,  # a run that is resumed may be prolonged
    )

    def log_rows(step: int, rows: list[Row]) -> None:
        wandb.log({COMPLETIONS: wandb.Table(columns=list(COLUMNS), data=[list(row) for row in rows])}, step=step)

    return Tracker(lambda step, metrics: wandb.log(metrics, step=step), wandb.finish, "wandb", log_rows)


def _kept(config: Config, kind: str, new: str) -> str:
    """The name by which the tracker knows this run, wherever its directory lies: kept in tracker.json."""
    file = Path(config.run) / "tracker.json"
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = {}
    key = f"{kind}/{config.tracker.project}"
    if key not in known:
        known[key] = new
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, dump_json(known))
    return str(known[key])
