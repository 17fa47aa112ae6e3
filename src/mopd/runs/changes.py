"""What of a run's configuration may change when it is resumed, and what of it makes another run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mopd.config import Config, flatten
from mopd.core.errors import RunError
from mopd.runs.paths import is_place

FREE = (
    "steps",
    "evaluation.",
    "checkpoint.",
    "tracker.",
    "alarms.",
    "parallel.",
    "compute.device",
    "compute.threads",
    "compute.microbatch_tokens",
    "compute.compile",
    "compute.sampling_rows",
    "verification.workers",
    "engine.",
    "teacher.servers",
    "teacher.timeout_s",
    "teacher.retries",
)
"""Keys that may change: how long a run is, what is measured beside it, where it is kept, and what it is computed with.

A key that nobody thought of is taken to shape the student, and may not."""

COMPARED = ("run", "rewards.folder", "compute.dtype")
"""Keys that say where things are, not what they are, or that mean one thing on one machine and another on the next
(`auto`); what they come to is compared by `inputs`."""

Changes = dict[str, tuple[Any, Any]]
"""Dotted keys with what they were and what they are now."""


def changed_settings(own: Config, asked: Config) -> Changes:
    """What changes where a run that was begun or last continued under `own` goes on under `asked`.

    Raises RunError naming the first key that may not change.
    """
    before, after = (flatten(config.model_dump(mode="json")) for config in (own, asked))
    changed: Changes = {}
    for key in [*before, *(key for key in after if key not in before)]:
        was, now = before.get(key), after.get(key)
        if was == now or key == "run":
            continue
        if not (key in COMPARED or key.startswith(FREE) or _are_places(key, was, now)):
            raise RunError(
                "a run is resumed under the configuration it began with",
                f"{key} = {json.dumps(now)}, but the run has {json.dumps(was)}",
                "give no configuration when resuming, or begin a new run; "
                f"only these keys may change: {', '.join(name.rstrip('.') for name in FREE)}",
            )
        changed[key] = (was, now)
    return changed


def _are_places(key: str, was: Any, now: Any) -> bool:
    """Whether two values differ in where files lie alone, of a source of problems or of an external teacher; what the
    files hold is compared by `inputs`."""
    if key == "problems.mix":
        return [_without_place(source) for source in was] == [_without_place(source) for source in now]
    if key not in ("problems.source", "problems.held_out_source", "teacher.model") or None in (was, now):
        return False
    return is_place(was) and is_place(now)


def _without_place(source: Mapping[str, Any]) -> dict[str, Any]:
    return {**source, "source": "" if is_place(source["source"]) else source["source"]}


def check_steps(asked: int, done: int) -> None:
    """Raises RunError where a run has done more steps than are asked for."""
    if asked < done:
        raise RunError(
            "a run that is resumed has at least the steps that it has done",
            f"steps = {asked}, but {done} are done",
            f"set steps to {done} or more, or begin a new run",
        )
