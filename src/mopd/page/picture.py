"""`mopd picture`: a recorded group as a drawing: attempts, the context of one, and what the teacher says of it."""

from __future__ import annotations

from html import escape
from itertools import accumulate
from pathlib import Path
from typing import Any

from mopd.analysis.opened import Models
from mopd.page.credit import score_again
from mopd.report.contexts import ANY, ReadAgain, Wanted, read_again
from mopd.report.showing import visible

GREEN, RED, INK, PALE, MARKED = "#1a7f37", "#c62828", "#24292f", "#6e7781", "#fff3cd"
SANS, MONO = "DejaVu Sans, Helvetica, sans-serif", "DejaVu Sans Mono, Menlo, monospace"
CHARACTER = 8.5
"""Width of a character of a completion, in pixels at 14 pixels' height."""

ATTEMPT, SHOWN, TOKENS = 40, 60, 16
"""Characters shown of an attempt and of a line of a context; tokens with a bar."""

LINE, BAR = 24, 40
"""Height of a line and of the longest bar, in pixels."""


def picture_of(run: Path, step: int | None, problem_id: str | None, index: int | None) -> str:
    """An SVG of a recorded rollout with its group; unset: the first failed one whose teacher read a success.

    The models of the newest checkpoint score its tokens. Raises MopdError.
    """
    asked = read_again(run, step, problem_id, index, TELLING if index is None else ANY)
    models = Models.open(run, asked.config)
    return draw(asked, score_again(asked, models), models.step)


TELLING = Wanted(
    "a failed rollout whose teacher read a success",
    lambda rollout: not rollout["is_success"] and bool(rollout["peers"]["successes"]),
)


def draw(asked: ReadAgain, told: dict[str, Any], steps: int | None) -> str:
    """The drawing; `told` is what `score_again` says of the rollout."""
    attempts, right_of_attempts, height_of_attempts = _attempts(asked)
    left = max(330.0, right_of_attempts + 60)
    context, right_of_context, below = _context(asked, left)
    tokens, right, height = _tokens(asked, told, steps, left, below + 40)
    width = max(right, right_of_context, left + 480) + 20
    height = max(height, height_of_attempts) + 16
    body = "\n".join(attempts + context + tokens)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}">\n<rect width="{width:.0f}" height="{height:.0f}" fill="white"/>\n{body}\n</svg>\n'
    )


def _attempts(asked: ReadAgain) -> tuple[list[str], float, float]:
    """The first part, and where it ends on the right and below, as of the others."""
    prompt = _line(asked.recorded["prompt"][-1]["content"], ATTEMPT - 8)
    parts, y = [_text(20, 30, f"1  attempt: {prompt}", bold=True)], 58
    longest = max(len(_line(r["completion"], ATTEMPT)) for r in asked.recorded["rollouts"])
    for rollout in asked.recorded["rollouts"]:
        color = GREEN if rollout["is_success"] else RED
        if rollout["index"] == asked.index:
            parts.append(_box(14, y - 17, CHARACTER * longest + 150, 23, MARKED))
        parts.append(_text(24, y, f"{rollout['index']}  {_line(rollout['completion'], ATTEMPT)}", mono=True))
        parts.append(_text(24 + CHARACTER * (longest + 5), y, rollout["kind"].replace("_", " "), color, 13))
        y += LINE
    return parts, CHARACTER * longest + 164, y


def _context(asked: ReadAgain, left: float) -> tuple[list[str], float, float]:
    parts = [_text(left, 30, "2  show peers", bold=True)]
    who = f"the teacher of rollout {asked.index} reads"
    if asked.failure_text is not None:
        who = f"one teacher of rollout {asked.index} reads the success, another the failure"
    parts.append(_text(left, 58, who, PALE, 13))
    lines = [("problem", _line(asked.recorded["prompt"][-1]["content"], SHOWN), INK)]
    colors = {"success": GREEN, "failure": RED}
    lines += [(b.kind, _line(b.text, SHOWN), colors.get(b.kind, INK)) for b in asked.blocks]
    ys = range(84, 84 + LINE * len(lines), LINE)
    parts += [
        _text(left, y, f"{kind:8} {line}", color, mono=True) for y, (kind, line, color) in zip(ys, lines, strict=True)
    ]
    return parts, left + CHARACTER * (10 + max(len(line) for _, line, _ in lines)), ys[-1]


def _tokens(
    asked: ReadAgain, told: dict[str, Any], steps: int | None, left: float, y: float
) -> tuple[list[str], float, float]:
    parts = [_text(left, y, f"3  correct rollout {asked.index} token by token", bold=True)]
    shown = _around(told["here"] or 0, len(told["gain"]))
    gains, pieces = told["gain"][shown], [_piece(piece) for piece in told["pieces"][shown]]
    widths = [max(34.0, CHARACTER * len(piece) + 10) for piece in pieces]
    base, scale = y + 16 + BAR, BAR / max(0.1, *map(abs, gains))
    for x, width, piece, gain in zip(accumulate(widths, initial=left + 10), widths, pieces, gains, strict=False):
        height, color = max(1.0, abs(gain) * scale), GREEN if gain > 0 else RED
        top = base - height if gain > 0 else base
        parts.append(_box(x, top, width - 14, height, color))
        parts.append(_text(x + 5 if len(piece) == 1 else x, base + 66, piece, mono=True))
        parts.append(_text(x - 4, base + 84, f"{gain:+.1f}", PALE, 11))
    right = left + 10 + sum(widths)
    parts.append(f'<line x1="{left + 4:.1f}" y1="{base}" x2="{right:.1f}" y2="{base}" stroke="{PALE}"/>')
    part = (
        f"; tokens {shown.start + 1} to {shown.stop} of {len(told['gain'])}" if len(gains) < len(told["gain"]) else ""
    )
    told_by = f"log {_who(asked)} - log student, in nats, at each token it wrote; weights after step {steps}{part}"
    parts.append(_text(left, base + 106, told_by, PALE, 12))
    return parts, right, base + 106


def _who(asked: ReadAgain) -> str:
    """Whose probabilities the bars are of."""
    contrast = asked.config.contrast
    if asked.failure_text is None or contrast is None:
        return "teacher"
    return "the contrast's target" if contrast.form == "target" else "the teacher that reads the success"


def _around(here: int, count: int) -> slice:
    """The tokens that have a bar: all, or those around a place."""
    begin = max(0, min(here - TOKENS // 3, count - TOKENS))
    return slice(begin, min(count, begin + TOKENS))


def _piece(piece: str) -> str:
    return visible(piece).replace("\n", "\u23ce") or "\u00b7"


def _line(text: str, longest: int) -> str:
    """One line of a text, cut where it is longer, which is shown."""
    line = visible(text).replace("\n", "\u23ce")
    return line if len(line) <= longest else line[: longest - 1] + "\u2026"


def _box(x: float, y: float, width: float, height: float, fill: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{fill}"/>'


def _text(
    x: float, y: float, content: str, fill: str = INK, size: int = 14, mono: bool = False, bold: bool = False
) -> str:
    weight = ' font-weight="bold"' if bold else ""
    looks = f'fill="{fill}" font-size="{size}" font-family="{MONO if mono else SANS}"{weight}'
    return f'<text x="{x:.1f}" y="{y:.1f}" {looks} xml:space="preserve">{escape(content, quote=False)}</text>'
