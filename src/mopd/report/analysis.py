"""What `mopd analyze` found, as it prints it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from mopd.report.showing import print_plain

Row = Mapping[str, Any]

EVALUATION = "evaluation "
"""What the names of parts that are evaluations begin with."""


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
    for table in _parts_tables(found["parts"], found["changes"]):
        console.print(table)
    for told in found["missing"]:
        print_plain(console, f"missing: {told}")


def _table(title: str, caption: str, columns: Sequence[str]) -> Table:
    """A table of numbers that fits 80 characters, names in its first column."""
    table = Table(title=title, caption=caption, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    return table


def _signal_table(signal: Row) -> Table:
    table = _table(
        "how well the teacher's scores tell successes from failures",
        "means over problems, 95 % intervals; differences are paired; groups: where AUC is defined",
        ("it reads", "AUC", "minus base", "pairs", "groups"),
    )
    beside = {one["context"]: one["statistics"]["auc"] for one in signal["differences"] if one["minus"] == "base"}
    for context in signal["contexts"]:
        values = context["statistics"]
        groups = len(signal["groups"])
        table.add_row(
            context["name"],
            _with_interval(values["auc"], ".2f"),
            _with_interval(beside.get(context["name"]), "+.2f"),
            _number(values["pairwise_accuracy"], ".2f"),
            f"{groups - values['auc']['undefined']} of {groups}",
        )
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


def _parts_tables(parts: Sequence[Row], changes: Sequence[Row]) -> Iterator[Table]:
    """One table of training, one of evaluations."""
    evaluations = [part for part in parts if part["name"].startswith(EVALUATION)]
    training = [part for part in parts if part not in evaluations]
    for title, shown in (("rollouts in training", training), ("held-out problems", evaluations)):
        names = [part["name"] for part in shown]
        between = [change for change in changes if change["from"] in names]
        if not shown:
            continue
        columns = ["", *(name.removeprefix(EVALUATION) for name in names), *(["change, paired"] if between else [])]
        table = _table(f"rewards and diversity: {title}", "means over problems, 95 % intervals", columns)
        for name in shown[0]["measures"]:
            cells = [_number(part["measures"][name], ".3f") for part in shown]
            cells += [_with_interval(change["measures"][name], "+.3f") for change in between]
            if set(cells) != {"-"}:
                table.add_row(name.replace("_", " "), *cells)
        yield table


def _number(value: Row | None, form: str) -> str:
    return "-" if value is None or value["mean"] is None else format(value["mean"], form)


def _with_interval(value: Row | None, form: str) -> str:
    if value is None or value["mean"] is None:
        return "-"
    low, high = (format(end, form) for end in value["interval"])
    return f"{value['mean']:{form}} [{low}, {high}]"
