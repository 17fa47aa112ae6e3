"""Any lines of a log that may be long or damaged: seen one at a time, and found again by their place."""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Row = dict[str, Any]


@dataclass
class Lines:
    """The readable lines of a log: where each begins, so that any can be read again; and how many cannot be read."""

    path: Path
    offsets: array[int] = field(default_factory=lambda: array("q"))
    damaged: int = 0

    @classmethod
    def scan(cls, path: Path, see: Callable[[Row], object]) -> Lines:
        """Show `see` every line, one at a time. What is no object, or what `see` finds incomplete (KeyError, TypeError,
        ValueError), is damaged. A missing log has no lines. Raises OSError."""
        found = cls(path)
        if not path.exists():
            return found
        with open(path, "rb") as file:
            offset = 0
            for line in file:
                try:
                    row = json.loads(line)
                    see(row)
                    found.offsets.append(offset)
                except (KeyError, TypeError, ValueError, AttributeError):
                    found.damaged += 1
                offset += len(line)
        return found

    def read(self, index: int) -> Row:
        """One line again. Raises OSError."""
        with open(self.path, "rb") as file:
            file.seek(self.offsets[index])
            row: Row = json.loads(file.readline())
            return row
