"""What a student makes of its peers, as `mopd preflight` prints it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from mopd.report.problems import PLAIN
from mopd.report.terminal import print_attempts

NO_PROMISE = "The gap is what was measured on these problems before training. It is no promise of a gain."


def print_report(found: Mapping[str, Any], console: Console) -> None:
    """The figures of `mopd preflight --json`: attempts, recipes, scores, what a step costs, and last the verdict."""
    print_attempts(found["attempts"], console)
    kinds = ", ".join(f"{count} {kind}" for kind, count in found["verdicts"].items())
    console.print(f"verdicts on the attempts: {kinds}", **PLAIN)
    if found["readings"]:
        console.print(_written(found))
        console.print(_scores(found["readings"]))
    for told in found["left_out"]:
        console.print(f"not measured: {told}", **PLAIN)
    _print_cost(found["cost"], console)
    _print_verdict(found["verdict"], bool(found["readings"]), console)


def _written(found: Mapping[str, Any]) -> Table:
    table = Table(title="what is written from contexts of the student's own attempts at mixed problems")
    table.add_column("read", overflow="fold")
    for column in ("right", "gap", "95 % interval", "cases", "repeats a\nsuccess", "repeats a\nfailure"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in found["readings"]:
        mark = " <- the run's" if row["recipe"] is not None and row["recipe"] == found["recipe"] else ""
        gap = ("", "") if row["gap"] is None else (f"{row['gap']:+.2f}", _interval(row["gap_interval"], "+.2f"))
        shown = {kind: any(o and o[f"is_copied_{kind}"] is not None for o in row["outcomes"]) for kind in SHOWN}
        copies = (f"{row[f'copied_{kind}_share']:.2f}" if shown[kind] else "-" for kind in SHOWN)
        table.add_row(row["name"] + mark, f"{row['accuracy']:.2f}", *gap, str(row["contexts"]), *copies)
    return table


SHOWN = ("success", "failure")


def _scores(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title="what scores of the attempts tell of them, and the contexts that they are behind")
    table.add_column("read", overflow="fold")
    for column in ("AUC", "95 % interval", "pairs", "Spearman", "groups", "taught", "tokens\n(most)", "cut"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        scores, signals = row["scores"], row["scores"]["signals"]
        taught = "" if row["taught_groups_share"] is None else f"{row['taught_groups_share']:.2f}"
        table.add_row(
            row["name"],
            _number(signals["auc"]["mean"], ".2f"),
            "-" if signals["auc"]["interval"] is None else _interval(signals["auc"]["interval"], ".2f"),
            _number(signals["pairwise_accuracy"]["mean"], ".2f"),
            _number(signals["spearman"]["mean"], "+.2f"),
            str(signals["auc"]["problems"]),
            taught,
            f"{scores['read_tokens_mean']:.0f} ({scores['read_tokens_most']})",
            str(scores["over_budget"]),
        )
    return table


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _interval(ends: Sequence[float], form: str) -> str:
    return f"[{ends[0]:{form}}, {ends[1]:{form}}]"


def _print_cost(cost: Mapping[str, Any] | None, console: Console) -> None:
    if cost is None:
        return
    seconds = f"{cost['step_s']:,.1f}" if cost["step_s"] >= 1 else f"{cost['step_s']:.2g}"
    console.print(
        f"a step as advised: about {seconds} s without verification, for completions of "
        f"{round(100 * cost['completion_share'])} % of sampling.completion_tokens; the attempts had "
        f"{cost['measured_tokens']:.0f} tokens (more: `mopd estimate`)",
        **PLAIN,
    )


def _print_verdict(verdict: Mapping[str, Any], has_gap: bool, console: Console) -> None:
    console.print(f"\nverdict: {verdict['said']}", style="bold", **PLAIN)
    for reason in verdict["reasons"]:
        console.print(f"- {reason}", **PLAIN)
    if has_gap:
        console.print(NO_PROMISE, **PLAIN)
    if verdict["toml"]:
        console.print(f"\nas settings, in the place of what the configuration has:\n\n{verdict['toml']}", **PLAIN)
