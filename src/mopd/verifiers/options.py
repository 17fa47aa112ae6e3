"""The options that a prompt lists, and which of them a text means."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

Options = Mapping[str, tuple[str, ...]]
"""Label -> the texts by which an option may be called: all of it, and its first line."""

_LINE = re.compile(
    r"^[ \t]*(?:[-+*•][ \t]+)?(?:\*\*|__)?[(\[（]?([A-Za-z]|\d{1,2})[)\].:）：．、](?:\*\*|__)?", re.MULTILINE
)
_INLINE = re.compile(r"(?:^|(?<=\s))[(\[]?([A-Z])[)\].:](?=\s)")

_WRAPPED = tuple(
    re.compile(pattern, re.DOTALL)
    for pattern in (
        r"\*\*(.*)\*\*", r"__(.*)__", r"\*(.*)\*", r"_(.*)_", r"`(.*)`", r'"(.*)"', r"'(.*)'",
        r"[“„](.*)[”“]", r"‘(.*)’", r"<(b|i|strong|em)>(.*)</\1>",
        r"\$\$?([^$]*)\$\$?", r"\\\((.*)\\\)", r"\\\[(.*)\\\]",
        r"\\(?:text|textbf|textit|mathrm|mathbf|boxed)\s*\{(.*)\}",
        r"[(（]([^()（）]*)[)）]", r"\[([^\[\]]*)\]", r"\{([^{}]*)\}",
        r"(?i:option|choice|answer)(?:[ \t]+|[ \t]*:\s*)(.*)", r"(.*?)[.:,;!：．。]+", r"([^()\[\]]*)[)\]]",
    )
)  # fmt: skip
_LABEL_AND_TEXT = re.compile(r"[(\[（*_]*([A-Za-z]|\d{1,2})(?:[)\]*_.:）：．、]+\s*|\s+[-–—]?\s*)[*_]*(.+)", re.DOTALL)
_BETWEEN = re.compile(r"\s*(?:[,;&]\s*(?:and\b)?|\band\b)\s*|\s+")

MAX_CHARACTERS = 5000
"""A longer text means no option."""

MAX_WRAPPINGS = 8
"""What is wrapped in more than so many brackets, stars and commands means no option."""


def listed_options(prompt: str) -> Options:
    """The last run of options in a prompt, from A (or 1) on; none where it lists fewer than two.

    They stand line by line, `A: ...`, `(A) ...`, `A. ...`, `A) ...`, or all on one line. Numbers are labels only where
    there are no letters.
    """
    marks = list(_LINE.finditer(prompt))
    return (
        _last_run(prompt, [mark for mark in marks if mark[1].isalpha()])
        or _last_run(prompt, list(_INLINE.finditer(prompt)))
        or _last_run(prompt, [mark for mark in marks if mark[1].isdigit()])
    )


def _last_run(prompt: str, marks: list[re.Match[str]]) -> Options:
    run: list[re.Match[str]] = []
    for mark in marks:
        if mark[1] in ("A", "a", "1"):
            run = [mark]
        elif run and mark[1] == _successor(run[-1][1]):
            run.append(mark)
    if len(run) < 2:
        return {}
    ends = [mark.start() for mark in run[1:]] + [len(prompt)]
    texts = (prompt[mark.end() : end].strip() for mark, end in zip(run, ends, strict=True))
    return {
        mark[1].upper(): (_spaced(text), _spaced(text.partition("\n")[0]))
        for mark, text in zip(run, texts, strict=True)
    }


def _successor(label: str) -> str:
    return str(int(label) + 1) if label.isdigit() else chr(ord(label) + 1)


def _spaced(text: str) -> str:
    return " ".join(text.split()).removesuffix(".")


def chosen(text: str, options: Options) -> frozenset[str]:
    """The labels of the options that a text means; none where it means no option for certain.

    A label may be wrapped, `(B)`, `B.`, `**B**`, `\\text{B}`, be small, and have its option's own text behind it.
    Several labels, `A, C`, mean several options. The prompt's list is asked for texts; any letter is a label.
    """
    if len(text) > MAX_CHARACTERS:
        return frozenset()
    text = text.strip()
    for _ in range(MAX_WRAPPINGS):
        if label := _label_of(text, options):
            return frozenset({label})
        behind = _LABEL_AND_TEXT.fullmatch(text)
        if behind and {_spaced(behind[2].strip("*_ ")), _spaced(_bare(behind[2]))} & {
            *options.get(behind[1].upper(), ())
        }:
            return frozenset({behind[1].upper()})
        inner = _unwrapped(text)
        if inner == text:
            break
        text = inner
    parts = [part for part in _BETWEEN.split(text) if part]
    labels = [_label_of(_bare(part), options) for part in parts]
    if len(labels) > 1 and None not in labels and len({*labels}) == len(labels):
        return frozenset(label for label in labels if label)
    return frozenset(text) if _is_run_of_labels(text, options) else frozenset()


def _label_of(text: str, options: Options) -> str | None:
    if text.isascii() and ((len(text) == 1 and text.isalpha()) or (text.isdigit() and text in options)):
        return text.upper()
    return None


def _unwrapped(text: str) -> str:
    """The text without what is around it as a whole; itself where there is nothing."""
    for pattern in _WRAPPED:
        if match := pattern.fullmatch(text):
            return match[match.lastindex or 1].strip()
    return text


def _bare(text: str) -> str:
    for _ in range(MAX_WRAPPINGS):
        text = _unwrapped(text)
    return text


def _is_run_of_labels(text: str, options: Options) -> bool:
    """`ACD`: labels in their order. Without a list in the prompt it may be any word."""
    return len(text) > 1 and [*text] == sorted({*text}) and {*text} <= {*options} and text.isalpha()


def joined(labels: Iterable[str]) -> str:
    """Labels as a reference has them: `B`, or `A, C`."""
    return ", ".join(sorted(labels))


def reference_labels(answer: Any, options: Options) -> frozenset[str]:
    """The options that a record's answer means; none where it does not say for certain, or means none of the list.

    Besides what `chosen` reads: a list of answers, an option's own text where it is no number, and a number, which
    counts options from 0. A number in a text is refused unless it is a label: nothing says from where it counts.
    """
    labels = _meant(answer, options)
    is_lettered = any(label.isalpha() for label in options)
    return labels if labels <= {*options} or not is_lettered else frozenset()


def _meant(answer: Any, options: Options) -> frozenset[str]:
    if isinstance(answer, list):
        found = [_meant(one, options) for one in answer]
        return frozenset().union(*found) if all(found) else frozenset()
    if isinstance(answer, int | float) and not isinstance(answer, bool):
        return _counted(answer, options)
    if not isinstance(answer, str):
        return frozenset()
    if (labels := chosen(answer, options)) or not answer.strip():
        return labels
    by_text = [label for label, texts in options.items() if _spaced(answer) in texts]
    if len(by_text) == 1 and not answer.strip().isdigit():
        return frozenset(by_text)
    inner = _json_list(answer)
    return _meant(inner, options) if inner else frozenset()


def _counted(index: float, options: Options) -> frozenset[str]:
    """The option of a number: the one that has it for its label, else counted from 0 on."""
    labels = [*options] or [chr(ord("A") + number) for number in range(26)]
    if index != index or index not in range(100):
        return frozenset()
    if labels[0].isdigit():
        return frozenset({str(int(index))} & {*options})
    return frozenset(labels[int(index) : int(index) + 1])


def _json_list(text: str) -> list[Any] | None:
    if not text.lstrip().startswith("["):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, list) else None
