"""Any context of a recorded run, rendered again as the teacher read it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mopd.config import Config
from mopd.core.errors import RunError
from mopd.core.types import Context
from mopd.method.lessons import LessonMaker
from mopd.method.recipes import in_force
from mopd.models.student import Reader, load_reader
from mopd.runs.checkpoint import latest_checkpoint
from mopd.runs.inputs import freeze_day
from mopd.runs.reading import moment_of, read_config, read_preflight
from mopd.runs.records import read_jsonl, rebuild_group


def find_rollout(
    run: Path, step: int | None, problem_id: str | None, index: int | None
) -> tuple[dict[str, Any], int, Sequence[dict[str, Any]]]:
    """The recorded group and rollout asked for (unset: the first with a context), and all groups of its step.

    Raises RunError where the run holds none.
    """
    groups = read_jsonl(run / "groups.jsonl")
    for group in groups:
        if (step is not None and group["step"] != step) or (
            problem_id is not None and group["problem_id"] != problem_id
        ):
            continue
        for rollout in group["rollouts"]:
            if rollout["context_tokens"] is not None and index in (None, rollout["index"]):
                return group, rollout["index"], [g for g in groups if g["step"] == group["step"]]
    raise RunError(
        "the run recorded a context for the rollout asked for",
        f"no context for step {step}, problem {problem_id}, rollout {index} among {len(groups)} groups of {run}",
        f"see {run / 'groups.jsonl'} for what there is",
    )


def rendered_context(
    run: Path, step: int | None, problem_id: str | None, index: int | None
) -> tuple[Context, str, str]:
    """(context, its rendered text, the completion it is put before) of a recorded rollout, as the teacher read it."""
    config = read_config(run)
    recorded, rollout_index, step_groups = find_rollout(run, step, problem_id, index)
    reader = reader_of(run, config)
    maker = LessonMaker(in_force(config, read_preflight(run)), reader.tokenizer.encode_prompt, reader.template)
    groups = [rebuild_group(group, config.success_reward) for group in step_groups]
    group = next(g for g in groups if g.problem.id == recorded["problem_id"])
    record = maker.make_one(group, rollout_index, groups)
    if record.context is None:
        raise RunError(
            "a recorded context can be rendered again", f"{recorded['problem_id']}: {record.reason}", "report this"
        )
    rendered = reader.tokenizer.render(record.context.messages)
    return record.context, rendered, group.rollouts[rollout_index].text


def reader_of(run: Path, config: Config) -> Reader:
    """How the student of a run reads, on the day on which the run began. Raises StudentError."""
    reader = load_reader(str(latest_checkpoint(run / "checkpoints") or config.student), config.chat.options)
    freeze_day(reader.tokenizer, moment_of(run))
    return reader
