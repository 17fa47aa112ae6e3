"""How text that a model read or wrote is shown: as it is, with control characters made visible, without markup."""

from __future__ import annotations

import unicodedata

from rich.console import Console

_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Categories of Unicode whose characters a terminal obeys or hides instead of showing them."""

_SHOWN_AS_THEY_ARE = "\n\t\u200c\u200d"
"""Of these categories: what parts lines and columns, and what joins letters or parts them."""


def visible(text: str) -> str:
    """`text` with an escape, as in `\\x1b`, for each character that a terminal would obey or hide."""
    if text.replace("\n", "").isprintable():  # nearly all text
        return text
    return "".join(
        char.encode("unicode_escape").decode()
        if unicodedata.category(char) in _HIDDEN and char not in _SHOWN_AS_THEY_ARE
        else char
        for char in text
    )


def print_plain(console: Console, text: str) -> None:
    """Text of a model or of a file, without markup, colours and wrapping."""
    console.print(visible(text), markup=False, highlight=False, soft_wrap=True)


def print_titled(console: Console, title: str, text: str) -> None:
    """A rule with a short title that mopd itself writes, and a text below it."""
    console.rule(title)
    print_plain(console, text)
