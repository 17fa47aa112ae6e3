"""What `mopd analyze` found, as it prints it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from mopd.report.showing import print_plain

Row = Mapping[str, Any]


def print_analysis(found: Row, console: Console) -> None:
    """The signal context by context, diversity part by part, and what is missing."""
    for told in found["read_as"]:
        print_plain(console, told)
    outcomes = ", ".join(f"{count} {kind}" for kind, count in found["outcomes"].items() if count)
    print_plain(console, f"{found['groups']} groups: {outcomes or 'none'}")
    if found["signal"] is not None:
        console.print(_signal_table(found["signal"]))
        print_plain(console, _scored_by(found["scored_by"]))
        for line in _unscored(found["signal"]["contexts"]):
            print_plain(console, line)
    if found["parts"]:
        console.print(_parts_table(found["parts"], found["changes"]))
    for told in found["missing"]:
        print_plain(console, f"missing: {told}")


def _signal_table(signal: Row) -> Table:
    table = Table(title="how well the teacher's scores tell successes from failures")
    for column in ("it reads", "AUC", "minus base", "pairs", "Spearman", "groups", "undefined"):
        table.add_column(column, justify="left" if column == "it reads" else "right")
    beside = {one["context"]: one["statistics"]["auc"] for one in signal["differences"] if one["minus"] == "base"}
    for context in signal["contexts"]:
        values = context["statistics"]
        table.add_row(
            context["name"],
            _with_interval(values["auc"], ".2f"),
            _with_interval(beside.get(context["name"]), "+.2f"),
            _number(values["pairwise_accuracy"], ".2f"),
            _number(values["spearman"], "+.2f"),
            str(values["auc"]["problems"]),
            f"{values['auc']['undefined']} / {values['spearman']['undefined']}",
        )
    table.caption = "means over problems with 95 % intervals; differences are paired; undefined: AUC / Spearman"
    return table


def _scored_by(found: Row) -> str:
    step = "" if found["step"] is None else f" after {found['step']} steps"
    who = f"the {found['teacher']} teacher of {found['model']}{step}" if found["teacher"] else f"{found['model']}{step}"
    return f"scored by {who}: {found['groups']} of {found['of_mixed']} mixed groups"


def _unscored(contexts: Sequence[Row]) -> list[str]:
    """A line for each context in which rollouts have no score, show fewer peers, or read their own text."""
    lines = []
    for context in contexts:
        told = [f"{count} without ({reason.replace('_', ' ')})" for reason, count in context["unscored"].items()]
        for key, words in (("fewer_peers_count", "with fewer peers"), ("own_text_count", "reading their own text")):
            told += [f"{context[key]} {words}"] if context[key] else []
        if told:
            lines.append(f"  {context['name']}: {context['rollouts']} rollouts scored, {', '.join(told)}")
    return lines


def _parts_table(parts: Sequence[Row], changes: Sequence[Row]) -> Table:
    table = Table(title="rewards and diversity, means over problems")
    table.add_column("")
    for part in parts:
        table.add_column(part["name"], justify="right")
    for change in changes:
        short = [change[side].removeprefix("evaluation ") for side in ("from", "to")]
        table.add_column(f"{short[0]} -> {short[1]}", justify="right")
    for name in parts[0]["measures"]:
        cells = [_number(part["measures"][name], ".3f") for part in parts]
        cells += [_with_interval(change["measures"][name], "+.2f") for change in changes]
        table.add_row(name.replace("_", " "), *cells)
    table.caption = "changes are paired on the problems that both have, with 95 % intervals"
    return table


def _number(value: Row | None, form: str) -> str:
    return "-" if value is None or value["mean"] is None else format(value["mean"], form)


def _with_interval(value: Row | None, form: str) -> str:
    if value is None or value["mean"] is None:
        return "-"
    low, high = (format(end, form) for end in value["interval"])
    return f"{value['mean']:{form}} [{low}, {high}]"
