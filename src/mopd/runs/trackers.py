"""Trackers: metrics sent to tensorboard, trackio or wandb behind one call. None is needed: metrics.jsonl has all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mopd.config import Config
from mopd.core.errors import ConfigError


class Tracker:
    """Sends metrics somewhere. `log(step, metrics)` takes floats; `close()` flushes."""

    def __init__(
        self,
        log: Callable[[int, dict[str, float]], None] = lambda step, metrics: None,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self.log = log
        self.close = close


def open_tracker(config: Config) -> Tracker:
    """The configured tracker. Raises ConfigError where its package is not installed."""
    opener = {"none": lambda _: Tracker(), "tensorboard": _tensorboard, "trackio": _trackio, "wandb": _wandb}
    try:
        return opener[config.tracker.kind](config)
    except ImportError as error:
        raise ConfigError(
            f"tracker {config.tracker.kind} is installed",
            str(error),
            f"pip install {config.tracker.kind}, or tracker.kind=none",
        ) from error


def _tensorboard(config: Config) -> Tracker:
    from torch.utils.tensorboard import SummaryWriter

    writer: Any = SummaryWriter(str(Path(config.run) / "tensorboard"))  # type: ignore[no-untyped-call]

    def log(step: int, metrics: dict[str, float]) -> None:
        for name, value in metrics.items():
            writer.add_scalar(name, value, step)

    return Tracker(log, writer.close)


def _trackio(config: Config) -> Tracker:
    import trackio

    trackio.init(project=config.tracker.project, name=_run_name(config), config=config.model_dump(mode="json"))
    return Tracker(lambda step, metrics: trackio.log(metrics, step=step), trackio.finish)


def _wandb(config: Config) -> Tracker:
    import wandb

    wandb.init(
        project=config.tracker.project,
        name=_run_name(config),
        dir=config.run,
        config=config.model_dump(mode="json"),
        resume="allow",
    )
    return Tracker(lambda step, metrics: wandb.log(metrics, step=step), wandb.finish)


def _run_name(config: Config) -> str:
    return Path(config.run).name
