"""What a run shows a person: its figures, one group with its peers, and any context as the teacher read it.

Reads run directories; contexts are rendered again by the renderer that training used.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mopd.config import Config
from mopd.errors import RunError
from mopd.lessons import LessonMaker
from mopd.run import read_config, read_jsonl
from mopd.students import load_student
from mopd.types import Context, Group, Message, Problem, Rollout, Verdict


def print_summary(summary: dict[str, Any], console: Console) -> None:
    """The table of a run's end: figures before and after with 95 % intervals, one group, and where the run is."""
    if "before" in summary:
        console.print(_figures_table(summary))
        gain = summary["gain"]
        low, high = gain["interval"]
        console.print(f"gain in mean {gain['mean']:+.3f}, paired 95 % interval [{low:+.3f}, {high:+.3f}]\n")
    if warmup := summary.get("warmup"):
        _print_warmup(warmup, console)
    _print_split(summary.get("split", {}), console)
    print_group(Path(summary["run"]), console)
    seconds = "  ".join(f"{name} {value:.0f} s" for name, value in summary["seconds"].items())
    cached = " (warm-up from the cache)" if summary.get("warmup", {}).get("is_cached") else ""
    console.print(f"seconds: {seconds}{cached}")
    console.print(f"run: {escape(summary['run'])}/", soft_wrap=True)
    console.print(f"what its teacher read: mopd show-context {escape(summary['run'])}", soft_wrap=True)


def _print_warmup(warmup: dict[str, Any], console: Console) -> None:
    """What the student could do before its warm-up, and how well it reads peers after it."""
    if before := warmup.get("before"):
        console.print(f"before its warm-up the student solved {before['mean_at_1']:.3f} (one attempt a problem)")
    if rejected := warmup.get("solutions_rejected_count"):
        console.print(f"[yellow]{rejected} solutions shown in the warm-up are rejected by their verifier[/yellow]")
    for recipe, figures in warmup.get("reading", {}).items():
        console.print(
            f"generating from {recipe} contexts it is right in {figures['accuracy_from_contexts_share']:.2f} of "
            f"{figures['contexts_count']:.0f}, and copies a failed peer in {figures['copied_failure_share']:.2f}"
        )


def _print_split(split: dict[str, Any], console: Console) -> None:
    """What was not taken, and whatever makes held-out figures less than independent of training."""
    for reason, count in split.get("left_out", {}).items():
        console.print(f"{count} records were left out: {reason}", markup=False)
    if count := split.get("trained_on_count"):
        console.print(
            f"[yellow]{count} held-out problems were trained on, with half of their tests: "
            "whoever quotes these figures must say so[/yellow]"
        )
    if split.get("removed_count"):
        console.print(f"{split['removed_count']} training problems were removed: their prompts are held out")
    if split.get("near_duplicate_count"):
        held_out, trained = split["near_duplicate"]
        console.print(
            f"{split['near_duplicate_count']} held-out problems have a near-duplicate in training, such as "
            f"{held_out} ({trained})",
            markup=False,
        )


def _figures_table(summary: dict[str, Any]) -> Table:
    table = Table(title=f"held-out problems: {summary['before']['problems']:.0f}")
    for column in ("", "before", "95 % interval", "after", "95 % interval"):
        table.add_column(column, justify="left" if not column else "right")
    for key in [name for name in summary["before"] if name.startswith(("mean_at_", "pass_at_"))]:
        if key.endswith("_interval"):
            continue
        cells = []
        for when in ("before", "after"):
            low, high = summary[when][f"{key}_interval"]
            cells += [f"{summary[when][key]:.3f}", f"[{low:.3f}, {high:.3f}]"]
        table.add_row(key.replace("_at_", "@"), *cells)
    return table


def print_group(run: Path, console: Console) -> None:
    """The first group with both outcomes: each rollout, its verdict, and the peers its teacher was shown."""
    groups = read_jsonl(run / "groups.jsonl")
    mixed = [group for group in groups if len({rollout["is_success"] for rollout in group["rollouts"]}) == 2]
    if not groups:
        return
    group = (mixed or groups)[0]
    prompt = group["prompt"][-1]["content"]
    table = Table(title=f"one group: step {group['step']}, problem {escape(_short(prompt, 60))}")
    for column in ("rollout", "completion", "verdict", "successes shown", "failures shown", "lesson"):
        table.add_column(column)
    for rollout in group["rollouts"]:
        shown = rollout["peers"]
        table.add_row(
            str(rollout["index"]),
            escape(_short(rollout["completion"], 40)),
            f"[green]{rollout['kind']}[/]" if rollout["is_success"] else f"[red]{rollout['kind']}[/]",
            " ".join(map(str, shown["successes"])) or "-",
            " ".join(map(str, shown["failures"])) or "-",
            "yes" if rollout["is_lesson"] else f"no: {rollout['no_lesson_reason']}",
        )
    console.print(table)


def _short(text: str, width: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 3] + "..."


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
        f"none for step {step}, problem {problem_id}, rollout {index} among {len(groups)} groups of {run}",
        f"see {run / 'groups.jsonl'} for what there is",
    )


def read_context(run: Path, step: int | None, problem_id: str | None, index: int | None) -> tuple[Context, str, str]:
    """(context, its rendered text, the completion it is put before) of a recorded rollout, as the teacher read it."""
    config = read_config(run)
    recorded, rollout_index, step_groups = find_rollout(run, step, problem_id, index)
    student = load_student(str(_tokenizer_home(run, config)), config.seed, chat_options=config.chat.options)
    maker = LessonMaker(config, student.tokenizer, student.template)
    groups = [rebuild_group(group, config) for group in step_groups]
    group = next(g for g in groups if g.problem.id == recorded["problem_id"])
    record = maker.make_one(group, rollout_index, groups)
    if record.context is None:
        raise RunError(
            "a recorded context can be rendered again", f"{recorded['problem_id']}: {record.reason}", "report this"
        )
    rendered = student.tokenizer.render(record.context.messages)
    return record.context, rendered, group.rollouts[rollout_index].text


def _tokenizer_home(run: Path, config: Config) -> Path | str:
    checkpoints = sorted((run / "checkpoints").glob("step-*"))
    return checkpoints[-1] if checkpoints else config.student


def rebuild_group(recorded: dict[str, Any], config: Config) -> Group:
    """A group as recorded in groups.jsonl; token ids are not recorded and stay empty."""
    rollouts, verdicts = [], []
    for row in recorded["rollouts"]:
        ids = (0,) * row["token_count"]
        rollouts.append(
            Rollout(
                row["index"], ids, (True,) * len(ids), (0.0,) * len(ids), row["completion"], row["kind"] == "truncated"
            )
        )
        verdicts.append(Verdict(row["reward"], row["kind"], row["answer"], row["feedback"]))
    messages = tuple(Message(role=turn["role"], content=turn["content"]) for turn in recorded["prompt"])
    problem = Problem(recorded["problem_id"], messages, None, "recorded", recorded["domain"])
    return Group(recorded["step"], problem, (), tuple(rollouts), tuple(verdicts), config.success_reward)
