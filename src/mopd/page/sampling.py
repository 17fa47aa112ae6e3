"""Some of many things, evenly over them and within a budget; and text of models as a page shows it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mopd.core.files import finite
from mopd.report.showing import visible

Row = dict[str, Any]

LONGEST_TEXT = 20_000
"""Characters of one text that are shown; of longer ones the middle is left out, which is said."""


def spread(count: int) -> Iterator[int]:
    """0 to count - 1 in an order of which every beginning lies evenly over them (van der Corput's)."""
    bits = max(count - 1, 0).bit_length()
    for number in range(1 << bits):
        index = int(f"{number:0{bits}b}"[::-1], 2) if bits else 0
        if index < count:
            yield index


@dataclass
class Budget:
    """What may still be shown: rollouts, and bytes of JSON."""

    rollouts: int
    bytes: int

    def takes(self, value: Any, rollouts: int) -> bool:
        """Whether there is room for a value with so many rollouts, which is then taken off."""
        size = len(dumped(value))
        if size > self.bytes or rollouts > self.rollouts:
            return False
        self.bytes -= size
        self.rollouts -= rollouts
        return True


def dumped(value: Any) -> bytes:
    """JSON as the page holds it: null for numbers that JSON has not, no text that ends a script."""
    text = json.dumps(finite(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").encode("utf-8", "backslashreplace")


def shown(text: object, longest: int = LONGEST_TEXT) -> str:
    """Text of a model or of a file: characters that a browser would obey or hide as escapes, the middle of a long one
    left out."""
    whole = text if isinstance(text, str) else str(text)
    if len(whole) <= longest:
        return visible(whole)
    half = longest // 2
    left_out = f"\n[... {len(whole) - 2 * half:,} characters are left out here ...]\n"
    return visible(whole[:half]) + left_out + visible(whole[-half:])
