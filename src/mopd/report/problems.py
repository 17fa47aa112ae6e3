"""What a configuration trains on, as `mopd problems` prints it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mopd.report.showing import visible
from mopd.report.terminal import print_split

NAMED = 10
"""Problems that are named; the others are counted."""

BAR = 40
"""Characters of the longest bar of a histogram."""


def print_problems(found: Mapping[str, Any], console: Console) -> None:
    """The figures of `mopd problems --json`: counts, the split, lengths, one problem, and last what is amiss."""
    console.print(_counts_table(found["counts"]))
    print_split(found["split"], console)
    _print_lengths(found, console)
    _print_over_long(found["over_long"], console)
    _print_shown(found["shown"], console)
    for finding in found["findings"]:
        console.print(visible(finding), style="yellow", markup=False, highlight=False, soft_wrap=True)


def _counts_table(counts: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title="problems")
    for column in ("source", "domain", "verifier"):
        table.add_column(column, overflow="fold")
    for column in ("training", "held out"):
        table.add_column(column, justify="right")
    for row in counts:
        names = (escape(visible(row[column])) for column in ("source", "domain", "verifier"))
        table.add_row(*names, str(row["train"]), str(row["held_out"]))
    table.add_section()
    totals = (sum(row[part] for row in counts) for part in ("train", "held_out"))
    table.add_row("all", "", "", *map(str, totals))
    return table


def _print_lengths(found: Mapping[str, Any], console: Console) -> None:
    lengths = found["lengths"]
    if lengths is None:
        return
    console.print(
        f"\ntokens of {lengths['count']} prompts, as {found['student']} reads them: min {lengths['min']}, "
        f"median {lengths['median']}, 95th percentile {lengths['p95']}, max {lengths['max']}",
        **PLAIN,
    )
    most, width = max(count for *_, count in lengths["bins"]), len(str(lengths["bins"][-1][1]))
    for low, high, count in lengths["bins"]:
        bar = "#" * -(-BAR * count // most)
        label = f"{low:>{width}} to {high:>{width}}" if low < high else f"{low:>{width}}"
        console.print(f"  {label}  {bar}{' ' * bool(bar)}{count}", **PLAIN)
    console.print(
        f"window {found['window']}, sampling.completion_tokens {found['completion_tokens']}, "
        f"context.tokens {found['context_tokens']}",
        **PLAIN,
    )


def _print_over_long(over_long: Sequence[Mapping[str, str]], console: Console) -> None:
    console.print(f"problems that are too long: {len(over_long)}", **PLAIN)
    for row in over_long[:NAMED]:
        named = f"problem {row['problem']}" + (f" ({row['where']})" if row["where"] else "")
        console.print(visible(f"  {named}: {row['got']}; {row['law']}"), **PLAIN)
    if len(over_long) > NAMED:
        console.print(f"  and {len(over_long) - NAMED} more; --json OUT names all", **PLAIN)


def _print_shown(shown: Mapping[str, Any], console: Console) -> None:
    where = f" ({shown['where']})" if shown["where"] else ""
    console.rule("one problem, as the student reads it")
    console.print(visible(shown["prompt"] or "the student cannot read it"), **PLAIN)
    console.rule(f"judged by {escape(visible(shown['verifier']))}")
    tokens = "" if shown["tokens"] is None else f", {shown['tokens']} tokens"
    console.print(visible(f"problem {shown['problem']}{where}, {shown['part']}{tokens}"), **PLAIN)
    if shown["reference"] is not None:
        console.print(visible(f"reference: {shown['reference']}"), **PLAIN)
    if shown["solution"] not in (None, shown["reference"]):
        console.print(visible(f"a solution: {shown['solution']}"), **PLAIN)
    if shown["kind"] is None:
        console.print(f"not judged: {shown['unjudged']}", **PLAIN)
        return
    read = "" if shown["answer"] is None else f"; the verifier reads {shown['answer']!r}"
    said = f"; {shown['feedback']}" if shown["feedback"] else ""
    console.print(visible(f"this solution is judged {shown['kind']}{read}{said}"), **PLAIN)


PLAIN: dict[str, Any] = {"markup": False, "highlight": False, "soft_wrap": True}
"""How text of files is printed: as it is."""
