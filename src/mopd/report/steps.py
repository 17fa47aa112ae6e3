"""A step in one line: its figures in one order, on a terminal as many of them as its width holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]
"""A line of metrics.jsonl."""


@dataclass(frozen=True)
class Figure:
    """One figure of a step: its heading, how it is written, and how much it matters (0: shown at any width)."""

    heading: str
    written: Callable[[Row], str]
    rank: int

    @property
    def width(self) -> int:
        """Characters of its column."""
        return max(len(self.heading), 6)


def _number(key: str, form: str) -> Callable[[Row], str]:
    return lambda row: form.format(row[key]) if row.get(key) is not None else "-"


def _share(key: str) -> Callable[[Row], str]:
    """A share of judged rollouts; "-" where nothing was judged."""
    return lambda row: _number(key, "{:.2f}")(row) if _judged(row) else "-"


def _judged(row: Row) -> float:
    counts = {key: float(value) for key, value in row.items() if key.startswith("verdicts/")}
    return sum(counts.values()) - counts.get("verdicts/error_count", 0.0)


FIGURES: Sequence[Figure] = (
    Figure("step", _number("step", "{}"), 0),
    Figure("success", _share("reward/success_share"), 0),
    Figure("reward", _share("reward/mean"), 4),
    Figure("loss", _number("objective/loss", "{:.4f}"), 0),
    Figure("tokens", _number("completion/tokens_mean", "{:.0f}"), 1),
    Figure("longest", _number("completion/tokens_max", "{:.0f}"), 5),
    Figure("cut", _number("completion/truncated_share", "{:.2f}"), 2),
    Figure("lessons", _number("lessons/count", "{:.0f}"), 3),
    Figure("tokens/s", _number("time/tokens_per_s", "{:.0f}"), 6),
    Figure("seconds", _number("time/step_s", "{:.1f}"), 2),
)
"""In the order shown. `loss` is the divergence from the teacher, in nats, or the loss of another objective; `cut` the
share of completions that reached the limit of tokens."""

SHOWN = 8
"""Steps that a terminal shows at a time."""


def figures_within(width: int) -> list[Figure]:
    """The figures whose columns, two blanks between them, fit `width` characters: those that matter most."""
    chosen = list(FIGURES)
    while sum(figure.width + 2 for figure in chosen) - 2 > width and any(figure.rank for figure in chosen):
        chosen.remove(max(chosen, key=lambda figure: figure.rank))
    return chosen


def plain_line(row: Row, steps: int) -> str:
    """All figures with their headings, for a log."""
    said = [f"{figure.heading} {figure.written(row)}" for figure in FIGURES[1:]]
    return "  ".join((f"step {row['step'] + 1}/{steps}", *said))


def panel(rows: Sequence[Row], width: int) -> str:
    """The newest steps as a table of `width` characters at most, headings first."""
    figures = figures_within(width)
    lines = [[figure.heading for figure in figures]]
    for row in rows[-SHOWN:]:
        shown = {**row, "step": row["step"] + 1}
        lines.append([figure.written(shown) for figure in figures])
    return "\n".join(
        "  ".join(cell.rjust(figure.width) for cell, figure in zip(line, figures, strict=True))[:width]
        for line in lines
    )


def duration(seconds: float) -> str:
    """For people: "40 s", "12 min", "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
