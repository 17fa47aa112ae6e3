"""Any context of a recorded run, rendered again as the teacher read it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from rich.console import Console

from mopd.config import Config
from mopd.core.errors import RunError
from mopd.core.types import Block, Context, Group
from mopd.method.lessons import LessonMaker
from mopd.method.recipes import in_force
from mopd.models.student import Reader, load_reader
from mopd.report.showing import print_plain, print_titled
from mopd.runs.checkpoint import latest_checkpoint
from mopd.runs.inputs import freeze_day
from mopd.runs.reading import moment_of, read_config, read_preflight
from mopd.runs.records import iterate_jsonl, rebuild_group


@dataclass(frozen=True)
class Wanted:
    """Which rollouts, of those with a context, may be found where none is named: in words, and of a recorded one."""

    told: str
    is_it: Callable[[dict[str, Any]], bool]


ANY = Wanted("a context for the rollout asked for", lambda rollout: True)


def find_rollout(
    run: Path, step: int | None, problem_id: str | None, index: int | None, wanted: Wanted = ANY
) -> tuple[dict[str, Any], int, Sequence[dict[str, Any]]]:
    """The recorded group and rollout asked for (unset: the first with a context), and all groups of its step.

    Raises RunError where the run holds none.
    """
    count = 0
    for number, lines in groupby(iterate_jsonl(run / "groups.jsonl"), itemgetter("step")):
        groups = list(lines)  # of one step: a log may be larger than memory
        count += len(groups)
        if step is not None and number != step:
            continue
        for group in groups:
            if problem_id is not None and group["problem_id"] != problem_id:
                continue
            for rollout in group["rollouts"]:
                has_context = rollout["context_tokens"] is not None and index in (None, rollout["index"])
                if has_context and wanted.is_it(rollout):
                    return group, rollout["index"], groups
    raise RunError(
        f"the run recorded {wanted.told}",
        f"no such context for step {step}, problem {problem_id}, rollout {index} among {count} groups of {run}",
        f"see {run / 'groups.jsonl'} for what there is",
    )


@dataclass(frozen=True)
class ReadAgain:
    """A recorded rollout and the context that its teacher read.

    `recorded` is its group as groups.jsonl has it, `groups` are those of its step, `text` is the context as the
    tokenizer's template writes it, `config` is in force. `failure_text` is the context of a contrast's second teacher;
    `blocks` are those of both.
    """

    run: Path
    config: Config
    recorded: dict[str, Any]
    groups: Sequence[Group]
    index: int
    context: Context
    text: str
    blocks: Sequence[Block]
    failure_text: str | None = None

    @property
    def rollout(self) -> dict[str, Any]:
        """The rollout as it is recorded."""
        found: dict[str, Any] = next(r for r in self.recorded["rollouts"] if r["index"] == self.index)
        return found


def read_again(
    run: Path, step: int | None, problem_id: str | None, index: int | None, wanted: Wanted = ANY
) -> ReadAgain:
    """A recorded rollout with its context, rendered again. Opens the tokenizer and no weights. Raises RunError."""
    config = in_force(read_config(run), read_preflight(run))
    recorded, rollout_index, step_groups = find_rollout(run, step, problem_id, index, wanted)
    reader = reader_of(run, config)
    maker = LessonMaker(config, reader.tokenizer.encode_prompt, reader.template)
    groups = [rebuild_group(group, config.success_reward) for group in step_groups]
    group = next(g for g in groups if g.problem.id == recorded["problem_id"])
    record = maker.make_one(group, rollout_index, groups)
    if record.context is None:
        raise RunError(
            "a recorded context can be rendered again", f"{recorded['problem_id']}: {record.reason}", "report this"
        )
    rendered = reader.tokenizer.render(record.context.messages)
    failing = None if record.failure_context is None else reader.tokenizer.render(record.failure_context.messages)
    return ReadAgain(run, config, recorded, groups, rollout_index, record.context, rendered, record.shown, failing)


def print_context(asked: ReadAgain, console: Console) -> None:
    """Which rollout it is, how it was judged, what its teacher read, and what the student wrote."""
    row, context, reference = asked.rollout, asked.context, asked.recorded.get("reference")
    print_plain(
        console, f"step {asked.recorded['step']}, problem {asked.recorded['problem_id']}, rollout {asked.index}"
    )
    answer = "" if row.get("answer") is None else f"; the verifier reads {row['answer']!r}"
    said = f"; {row['feedback']}" if row.get("feedback") else ""
    success = "a success" if row["is_success"] else "no success"
    print_plain(console, f"verdict: {row['kind']}, reward {row['reward']:g}, {success}{answer}{said}")
    print_plain(console, "no reference is recorded" if reference is None else f"reference: {reference}")
    cut = f", {context.shortened_count} peers shortened, {context.dropped_count} dropped"
    print_titled(console, f"what the teacher reads ({context.token_count} tokens{cut})", asked.text)
    if asked.failure_text is not None:
        print_titled(console, "what the other teacher reads, of a failure", asked.failure_text)
    print_titled(console, f"the student's own completion ({row['token_count']} tokens)", row["completion"])


def reader_of(run: Path, config: Config) -> Reader:
    """How the student of a run reads, on the day on which the run began. Raises StudentError."""
    reader = load_reader(str(latest_checkpoint(run / "checkpoints") or config.student), config.chat.options)
    freeze_day(reader.tokenizer, moment_of(run))
    return reader
