"""What a run shows a person at its end: figures with intervals, and one group with its peers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mopd.core.errors import RunError
from mopd.runs.records import read_jsonl


def print_summary(summary: dict[str, Any], console: Console) -> None:
    """The table of a run's end: figures before and after with 95 % intervals, one group, and where the run is.

    A run that learnt nothing is told so last, with why.
    """
    if "before" in summary:
        console.print(_figures_table(summary))
        gain = summary["gain"]
        low, high = gain["interval"]
        console.print(f"gain in mean {gain['mean']:+.3f}, paired 95 % interval [{low:+.3f}, {high:+.3f}]\n")
    elif "after" in summary:
        console.print("[evaluation] was changed, and one evaluation made since: there is no gain to tell", markup=False)
    if warmup := summary.get("warmup"):
        _print_warmup(warmup, console)
    if found := summary.get("preflight"):
        print_preflight(found, console)
    print_split(summary.get("split", {}), console)
    groups = _recorded_groups(Path(summary["run"]), console)
    print_group(groups, console)
    seconds = "  ".join(f"{name} {value:.0f} s" for name, value in summary["seconds"].items())
    cached = " (warm-up from the cache)" if summary.get("warmup", {}).get("is_cached") else ""
    console.print(f"seconds: {seconds}{cached}")
    console.print(f"run: {escape(summary['run'])}/", soft_wrap=True)
    if best := summary.get("best_checkpoint"):
        console.print(f"best on held-out problems: {escape(summary['run'])}/{best}", soft_wrap=True)
    if any(rollout["context_tokens"] is not None for group in groups for rollout in group["rollouts"]):
        console.print(f"what its teacher read: mopd show-context {escape(summary['run'])}", soft_wrap=True)
    for alarm in summary.get("alarms", ()):
        line = f"alarm in step {alarm['step'] + 1}, {alarm['action']}: {alarm['told']}"
        console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)
    for warning in summary.get("warnings", ()):
        console.print(f"warning: {warning}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    if told := summary.get("nothing_learnt"):
        console.print(told, style="yellow", markup=False, highlight=False, soft_wrap=True)


def _recorded_groups(run: Path, console: Console) -> list[dict[str, Any]]:
    """The run is finished all the same where they cannot be read; another process may have moved it aside."""
    try:
        return read_jsonl(run / "groups.jsonl")
    except RunError as error:
        console.print(f"no group is shown: {error.got}", markup=False)
        return []


def _print_warmup(warmup: dict[str, Any], console: Console) -> None:
    """What the student could do before its warm-up, and solutions that were no help."""
    if before := warmup.get("before"):
        console.print(f"before its warm-up the student solved {before['mean_at_1']:.3f} (one attempt a problem)")
    if rejected := warmup.get("solutions_rejected_count"):
        console.print(f"[yellow]{rejected} solutions shown in the warm-up are rejected by their verifier[/yellow]")


def print_preflight(found: Mapping[str, Any], console: Console) -> None:
    """How the student's attempts went, how it reads each recipe of peers, and the recipe taken."""
    print_attempts(found["attempts"], console)
    if found["readings"]:
        table = Table(title="the student as its own teacher: it writes from contexts of its attempts")
        for column in ("it reads", "right", "95 % interval", "contexts", "copies a success", "copies a failure"):
            table.add_column(column, justify="left" if column == "it reads" else "right")
        for row in found["readings"]:
            low, high = row["accuracy_interval"]
            recipe, mark = row["recipe"], " <- taken" if row["name"] == found["name"] else ""
            shares = ["-", "-"]
            if recipe is not None:
                shares[0] = f"{row['copied_success_share']:.2f}"
                shares[1] = f"{row['copied_failure_share']:.2f}" if recipe["failures"] else "-"
            cells = (f"{row['accuracy']:.2f}", f"[{low:.2f}, {high:.2f}]", str(row["contexts"]), *shares)
            table.add_row(row["name"] + mark, *cells)
        console.print(table)
    if found["name"]:
        console.print(f"recipe of peers: {found['name']}; {found['reason']}", soft_wrap=True)
    if found["gain"] is not None:
        low, high = found["gain_interval"]
        console.print(
            f"gain over the problem alone {found['gain']:+.2f}, paired 95 % interval [{low:+.2f}, {high:+.2f}]",
            markup=False,
        )
    if found["finding"]:
        console.print(found["finding"], style="yellow", markup=False, highlight=False, soft_wrap=True)


def print_attempts(attempts: Mapping[str, int], console: Console) -> None:
    """How many training problems were solved in some attempts, in all, in none."""
    console.print(
        f"{attempts['attempted']} training problems attempted: {attempts['mixed']} solved in some attempts, "
        f"{attempts['solved']} in all, {attempts['failed']} in none"
    )


def print_split(split: Mapping[str, Any], console: Console) -> None:
    """What was not taken, and whatever makes held-out figures less than independent of training."""
    for reason, count in split.get("left_out", {}).items():
        console.print(f"{count} records were left out: {reason}", markup=False, soft_wrap=True)
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


BESIDE = 44
"""Characters of a line of a group's table that are not its completions'."""


def print_group(groups: Sequence[Mapping[str, Any]], console: Console) -> None:
    """The first group with both outcomes: each rollout, its verdict, and the peers its teacher was shown."""
    mixed = [group for group in groups if len({rollout["is_success"] for rollout in group["rollouts"]}) == 2]
    if not groups:
        return
    group = (mixed or groups)[0]
    prompt = group["prompt"][-1]["content"]
    room = max(20, console.width - BESIDE)  # of a line of a completion; three lines of it are shown
    table = Table(
        title=f"one group: step {group['step']}, problem {escape(_short(prompt, room))}",
        caption="peers that its teacher was shown, by their numbers: + successes, - failures",
    )
    for column in ("", "completion", "verdict", "peers", "lesson"):
        table.add_column(column, overflow="fold")
    for rollout in group["rollouts"]:
        shown = rollout["peers"]
        table.add_row(
            str(rollout["index"]),
            escape(_short(rollout["completion"], 3 * room)),
            f"[green]{rollout['kind']}[/]" if rollout["is_success"] else f"[red]{rollout['kind']}[/]",
            " ".join([f"+{index}" for index in shown["successes"]] + [f"-{index}" for index in shown["failures"]]),
            _lesson(rollout),
        )
    console.print(table)


def _lesson(rollout: Mapping[str, Any]) -> str:
    if not rollout["is_lesson"]:
        return f"no: {rollout['no_lesson_reason']}".replace("_", " ")
    return "GRPO alone" if rollout.get("no_teacher_reason") else "yes"


def _short(text: str, width: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 3] + "..."
