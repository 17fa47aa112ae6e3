"""Blocks of code in a completion: the last one is what is judged."""

from __future__ import annotations

import re

_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})(.*)")


def last_block(completion: str) -> str | None:
    """The content of the last closed fenced block of Markdown; None where there is none. Linear in its length."""
    found: str | None = None
    fence, lines = "", list[str]()
    for line in completion.split("\n"):
        match = _FENCE.fullmatch(line.rstrip("\r"))
        if not fence and match:
            fence, lines = match[1], []
        elif fence and match and match[1].startswith(fence) and not match[2].strip():
            found, fence = "\n".join(lines), ""
        else:
            lines.append(line)
    return found


def demonstrate(program: str) -> str:
    """A program as a completion gives it."""
    return f"```python\n{program}\n```"
