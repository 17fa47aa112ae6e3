"""The reward function of the starter `reward`: an example to copy and change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def keeps_to_the_order(
    completions: Sequence[Sequence[dict[str, str]]],
    word: Sequence[str],
    most_words: Sequence[int],
    **columns: Any,
) -> list[float]:
    """For each completion the share of three wishes that it fulfils, from 0 to 1.

    It has the wished `word`, it has at most `most_words` words, and it is one sentence that ends in a full stop.
    `word` and `most_words` are columns of the problem file; a function is given each column that it names.
    """
    texts = [completion[-1]["content"].strip() for completion in completions]
    return [_share(*wishes) for wishes in zip(texts, word, most_words, strict=True)]


def _share(text: str, word: str, most_words: int) -> float:
    words = [each.strip(".,;:!?\"'()").lower() for each in text.split()]
    wishes = (
        word.lower() in words,
        0 < len(words) <= most_words,
        text.endswith(".") and text.count(".") == 1 and "\n" not in text,
    )
    return sum(wishes) / len(wishes)
