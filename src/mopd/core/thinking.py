"""Thinking spans, `<think>...</think>`: what a model writes for itself is neither shown to peers nor judged."""

from __future__ import annotations

import re

_TAG = re.compile(r"</?think>")


def strip_thinking(text: str) -> str:
    """`text` without its thinking spans, nested ones included. Linear time.

    An unclosed span runs to the end. Where the template opened the span in the prompt, the completion holds only
    its closing tag, and all up to that tag is thinking.
    """
    kept: list[str] = []
    depth = begin = 0
    for tag in _TAG.finditer(text):
        if tag[0] == "<think>":
            if depth == 0:
                kept.append(text[begin : tag.start()])
            depth += 1
        elif depth == 0:
            kept.clear()
            begin = tag.end()
        else:
            depth -= 1
            begin = tag.end()
    return "".join(kept if depth else [*kept, text[begin:]]).strip()
