"""A record's answer as the text that a problem has as its reference."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from mopd.core.types import Message
from mopd.verifiers import MULTIPLE_CHOICE
from mopd.verifiers.options import joined, listed_options, reference_labels


def reference_text(answer: Any, verifier: str, messages: tuple[Message, ...]) -> str:
    """The reference that an answer is. Raises TypeError for what JSON cannot hold, such as bytes.

    A text stays as it is. A number is written as people write it, 42.0 as 42; a list or an object as JSON, with every
    letter as it is. For multiple choice it is the letter of the option that is meant, where that is certain.
    """
    if verifier in MULTIPLE_CHOICE and (labels := reference_labels(answer, listed_options(messages[-1]["content"]))):
        return joined(labels)
    if isinstance(answer, str):
        return answer
    if isinstance(answer, float):
        return _digits(answer)
    return json.dumps(_with_whole_numbers(answer), ensure_ascii=False)


def _digits(number: float) -> str:
    """All digits of a number, without an exponent and without noughts that say nothing."""
    text = format(Decimal(repr(number)), "f")
    return text.rstrip("0").removesuffix(".") if "." in text else text


def _with_whole_numbers(value: Any) -> Any:
    """Whole floats as integers; a table gives its integers as floats where one is missing."""
    if isinstance(value, dict):
        return {key: _with_whole_numbers(held) for key, held in value.items()}
    if isinstance(value, list):
        return [_with_whole_numbers(held) for held in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
