"""The teacher's signal as a picture: an SVG of dots with 95 % intervals, one row a context."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

ROW, TOP, LEFT, WIDE, GAP = 26, 70, 150, 260, 60
"""Height of a row, room above the rows, room for names, width of a panel, and between panels; in pixels."""

STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#222}.small{font-size:11px;fill:#666}.title{font-weight:600}"
    ".mark{text-anchor:middle}"
    ".axis{stroke:#ccc}.zero{stroke:#888;stroke-dasharray:3 3}.bar{stroke:#2563a8;stroke-width:2}.dot{fill:#2563a8}"
    "@media(prefers-color-scheme:dark){text{fill:#ddd}.small{fill:#999}.ground{fill:#161616}.axis{stroke:#444}"
    ".bar{stroke:#6fb1f2}.dot{fill:#6fb1f2}}"
)


@dataclass(frozen=True)
class Panel:
    """One column of dots: its title, its scale from `low` to `high`, where a dashed line stands, and its values."""

    title: str
    low: float
    high: float
    zero: float
    values: Sequence[Mapping[str, Any] | None]

    def place(self, value: float, left: float) -> float:
        """Where a value is, in pixels; what is beyond the scale is at its end."""
        share = (value - self.low) / (self.high - self.low)
        return left + WIDE * min(1.0, max(0.0, share))


def draw(signal: Mapping[str, Any] | None, title: str, why: str) -> str:
    """AUC of each context, and its difference from `base`, paired; where there is no signal, why."""
    if signal is None:
        return _document(520, 60, [_text(16, 24, title, "title"), _text(16, 46, why, "small")])
    names = [context["name"] for context in signal["contexts"]]
    beside = {one["context"]: one["statistics"]["auc"] for one in signal["differences"] if one["minus"] == "base"}
    panels = [
        Panel("AUC", 0.0, 1.0, 0.5, [context["statistics"]["auc"] for context in signal["contexts"]]),
        Panel("AUC minus that of base", -1.0, 1.0, 0.0, [beside.get(name) for name in names]),
    ]
    if not beside:
        panels = panels[:1]
    parts = [_text(16, 24, title, "title")]
    for row, name in enumerate(names):
        parts.append(_text(16, TOP + ROW * row + 4, name))
    for number, panel in enumerate(panels):
        parts += _panel(panel, LEFT + number * (WIDE + GAP), len(names))
    height = TOP + ROW * len(names) + 40
    parts.append(_text(16, height - 10, "dots are means over problems, bars 95 % intervals over problems", "small"))
    return _document(LEFT + len(panels) * (WIDE + GAP), height, parts)


def _panel(panel: Panel, left: float, rows: int) -> list[str]:
    bottom = TOP + ROW * rows - ROW / 2
    parts = [_text(left, TOP - 26, panel.title, "small")]
    for mark in (panel.low, (panel.low + panel.high) / 2, panel.high):
        x = panel.place(mark, left)
        kind = "zero" if mark == panel.zero else "axis"
        parts.append(f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 14}" y2="{bottom:.1f}"/>')
        parts.append(_text(x, bottom + 16, f"{mark:g}", "small mark"))
    for row, value in enumerate(panel.values):
        y = TOP + ROW * row
        if value is None or value["mean"] is None:
            parts.append(_text(panel.place(panel.zero, left) + 6, y + 4, "undefined" if value else "", "small"))
            continue
        low, high = (panel.place(end, left) for end in value["interval"])
        parts.append(f'<line class="bar" x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}"/>')
        parts.append(f'<circle class="dot" cx="{panel.place(value["mean"], left):.1f}" cy="{y}" r="4.5"/>')
    return parts


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}"{f" class={chr(34)}{kind}{chr(34)}" if kind else ""}>{escape(text)}</text>'


def _document(width: float, height: float, parts: Sequence[str]) -> str:
    size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
    ground = '<rect class="ground" width="100%" height="100%" fill="#fff"/>'
    return "\n".join(
        [f'<svg xmlns="http://www.w3.org/2000/svg" {size}>', f"<style>{STYLE}</style>", ground, *parts, "</svg>", ""]
    )
