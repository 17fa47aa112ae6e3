"""Draw the rooms of the package into docs/design.md, from the imports as they are.

    python scripts/draw_rooms.py [--check]

An arrow says that a room imports from another. Arrows that follow from others are left out: where training imports from
evaluation and evaluation from rollouts, training may import from rollouts too. With `--check` nothing is written, and a
drawing that is not true any more is an error.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import grimp

PAGE = Path(__file__).parents[1] / "docs" / "design.md"
BEGIN, END = "<!-- rooms: written by `make docs` -->", "<!-- end of rooms -->"
SOURCE = Path(__file__).parents[1] / "src" / "mopd"

Arrows = dict[str, set[str]]


def room_imports() -> Arrows:
    """For each room the rooms that its modules import from."""
    graph = grimp.build_graph("mopd")
    rooms = [*sorted(path.parent.name for path in SOURCE.glob("*/__init__.py")), "cli"]
    arrows: Arrows = {room: set() for room in rooms}
    for importer in graph.modules:
        for imported in graph.find_modules_directly_imported_by(importer):
            here, there = (name.split(".")[1] if "." in name else "" for name in (importer, imported))
            if here != there and here in arrows and there in arrows:
                arrows[here].add(there)
    return arrows


def without_implied(arrows: Arrows) -> Arrows:
    """The arrows that do not follow from others."""

    def reached(room: str) -> set[str]:
        return arrows[room] | {far for near in arrows[room] for far in reached(near)}

    return {
        room: {there for there in near if not any(there in reached(other) for other in near - {there})}
        for room, near in arrows.items()
    }


def drawing() -> str:
    """The diagram as Mermaid text, which the usual Markdown viewers draw."""
    arrows = without_implied(room_imports())
    lines = [f"    {here} --> {there}" for here in sorted(arrows) for there in sorted(arrows[here])]
    return "\n".join(["```mermaid", "flowchart TD", *lines, "```"])


def main() -> None:
    """Write the drawing, or check it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    drawn = f"{before}{BEGIN}\n{drawing()}\n{END}{after}"
    if options.check and drawn != text:
        sys.exit(f"{PAGE.name} does not draw the imports as they are: run `make docs`")
    if not options.check:
        PAGE.write_text(drawn, encoding="utf-8")


if __name__ == "__main__":
    main()
