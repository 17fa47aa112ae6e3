"""What a run will need, as `mopd estimate` prints it."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from mopd.estimating.estimate import Estimate, Needs
from mopd.estimating.fitting import size
from mopd.report.problems import PLAIN


def print_estimate(found: Estimate, console: Console) -> None:
    """Bytes by part, seconds by phase, whether it fits, what helps, and which card holds it."""
    device = found.device
    console.print(
        f"{found.student}: {found.parameters / 1e6:,.1f} M parameters, {found.products} products, on {device.name}"
        + (f", one of {found.devices}" if found.devices > 1 else ""),
        **PLAIN,
    )
    console.print(_memory_table(found))
    console.print(_seconds_table(found))
    for assumption in found.assumptions:
        console.print(f"- {assumption}", **PLAIN)
    _print_verdict(found, console)


def _memory_table(found: Estimate) -> Table:
    table = Table(title="memory by part, and when it is held")
    for column in ("part", "held"):
        table.add_column(column, overflow="fold")
    for column in ("expected", "worst"):
        table.add_column(column, justify="right")
    worst = {part.name: part for part in found.worst.parts}
    expected = {part.name: part for part in found.expected.parts}
    for name, part in worst.items():
        held = "always" if len(part.phases) > 5 else ", ".join(sorted(part.phases))
        now = size(expected[name].bytes) if name in expected else "-"
        table.add_row(name, held, now, size(part.bytes))
        if part.host_bytes:
            table.add_row(f"{name}, in main memory", held, size(part.host_bytes), size(part.host_bytes))
    table.add_section()
    table.add_row("most at once", _phases(found), size(found.expected.peak), size(found.worst.peak))
    return table


def _phases(found: Estimate) -> str:
    return " / ".join(dict.fromkeys((found.expected.phase, found.worst.phase)))


def _seconds_table(found: Estimate) -> Table:
    table = Table(title="seconds of a step")
    table.add_column("phase")
    for column in ("expected", "worst"):
        table.add_column(column, justify="right")
    for phase in found.worst.seconds:
        table.add_row(phase, *(_seconds(needs.seconds.get(phase, 0.0)) for needs in (found.expected, found.worst)))
    table.add_row("verification", "not known", "not known")
    table.add_section()
    table.add_row("step", _total(found.expected), _total(found.worst))
    return table


def _total(needs: Needs) -> str:
    return _seconds(sum(needs.seconds.values()))


def _seconds(value: float) -> str:
    return f"{value:,.1f}" if value >= 1 else f"{value:.2g}"


def _print_verdict(found: Estimate, console: Console) -> None:
    device = found.device
    free = f"{size(device.free)} free of {size(device.memory)}" if device.free < device.memory else size(device.memory)
    fits = "fits" if found.fits else "does not fit"
    console.print(f"{fits}: {size(found.worst.peak)} at most, {device.name} has {free}", **PLAIN)
    for one in found.helps:
        console.print(f"  {one.setting} saves {size(one.bytes)}", **PLAIN)
    if not found.fits and not found.helps:
        console.print("  no setting helps: take a smaller model or another device", **PLAIN)
    holder = found.holder or "none of the table"
    console.print(f"which card holds it: {holder}", **PLAIN)
