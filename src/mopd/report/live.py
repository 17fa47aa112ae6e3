"""What a terminal shows of a run that is training: newest figures with their course, alarms, time that is left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from mopd.core.statistics import mean_or_zero
from mopd.report.steps import Row, duration, plain_line, written

BLOCKS = "▁▂▃▄▅▆▇█"

COURSE = 40
"""Steps, or means of several, of which a course is drawn at most."""

LINES = (
    ("success", "reward/success_share", "{:.2f}", "reward/mean", "reward {:.2f}"),
    ("tokens", "completion/tokens_mean", "{:.0f}", "completion/tokens_max", "longest {:.0f}"),
    ("cut", "completion/truncated_share", "{:.2f}", "completion/repeated_share", "repeated {:.2f}"),
    ("loss", "objective/loss", "{:.4f}", "student/entropy_nats", "entropy {:.2f} nats"),
    ("lessons", "lessons/count", "{:.0f}", "time/tokens_per_s", "{:.0f} tokens/s"),
)
"""Of each line its heading, the metric that it draws, and another one behind it."""

ALARMS = 3
"""Newest alarms that are shown."""

NEWEST = 8
"""Steps by which the time that is left is judged."""


def course(values: Sequence[float], width: int) -> str:
    """Values as blocks, from the least (or 0) to the largest; the newest is last. Of more than `width` values each
    block is the mean of several."""
    if not values or width < 1:
        return ""
    size = -(-len(values) // width)
    parts = [mean_or_zero(values[max(0, end - size) : end]) for end in range(len(values), 0, -size)][::-1]
    low, high = min(0.0, *parts), max(parts)
    scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(BLOCKS[round((part - low) * scale)] for part in parts)


@dataclass(frozen=True)
class _Seen:
    """What is shown behind a step."""

    rows: Sequence[Row]
    alarms: Sequence[Row]
    left: str


class LiveView:
    """The panel of a run of `steps` steps whose metrics so far are `rows`."""

    def __init__(self, steps: int, rows: Sequence[Row] = ()) -> None:
        self.steps = steps
        self.rows = list(rows)

    def after(self, row: Row, alarms: Sequence[Row], done: int) -> tuple[Callable[[int], str], str]:
        """Behind a step, of which `done` are done now: what makes a panel for a width, and a line for a log."""
        self.rows = [*(before for before in self.rows if before["step"] < row["step"]), row]
        left = duration(mean_or_zero([one["time/step_s"] for one in self.rows[-NEWEST:]]) * (self.steps - done))
        seen = _Seen(tuple(self.rows), tuple(alarms), left)
        return partial(_panel, seen, self.steps), f"{plain_line(row, self.steps)}  left {left}"


def _panel(seen: _Seen, steps: int, width: int) -> str:
    """Lines of `width` characters at most; a narrow terminal has shorter courses, and no second figures."""
    newest = seen.rows[-1]
    seconds = written(newest, "time/step_s", "{:.1f}")
    lines = [f"step {newest['step'] + 1}/{steps}  {seconds} s a step  left {seen.left}"]
    room = min(COURSE, width - 18)
    for heading, metric, form, other, other_form in LINES:
        values = [row[metric] for row in seen.rows if row.get(metric) is not None]
        drawn = course(values, room)
        line = f"{heading:>7} {written(newest, metric, form):>8}  {drawn:<{max(0, room)}}"
        more = f"  {written(newest, other, other_form)}"
        lines.append(line + more if len(line) + len(more) <= width and more != "  -" else line.rstrip())
    told = [f"step {one['step'] + 1}: {one['told']}" for one in seen.alarms[-ALARMS:]]
    lines += [" alarms     none" if not told else f" alarms {len(seen.alarms):>8}  {told[-1]}"]
    lines += [f"{'':>18}{one}" for one in reversed(told[:-1])]
    return "\n".join(line[:width] for line in lines)
