"""What stands behind an answer and says what a letter in it may be: `k\\pi, k \\in \\mathbb{Z}`; and congruences.

The letter is a parameter: its name says nothing. May import: nothing.
"""

from __future__ import annotations

import re
from typing import NamedTuple

PARAMETER = r"\kappa"
"""The letter that every parameter becomes, so that two answers may name it as they like."""

INTEGERS = "integers"

_TEXT = r"(?:\\(?:text[a-z]*|mathrm|mbox)\s*\{\s*)?"
_DOTS = r"(?:\\[lc]?dots[a-z]?|\.\.\.)(?![A-Za-z])"
_NAMED = r"[A-Za-df-hj-z]"
_PLUS = r"\s*[\^_]\s*\{?\s*(?:\+|>\s*0)\s*\}?"
_DOMAINS = {
    INTEGERS: (rf"(?:\\mathbb\{{Z\}}|Z)(?!{_PLUS})", rf"=\s*0,\s*\\pm\s*1(?:,\s*\\pm\s*2)?,\s*{_DOTS}"),
    "natural": (rf"(?:\\mathbb\{{N\}}|N)(?!{_PLUS})", rf"=\s*0,\s*1(?:,\s*2)?(?:,\s*3)?,\s*{_DOTS}"),
    "positive": (rf"(?:\\mathbb\{{[ZN]\}}|[ZN]){_PLUS}", rf"=\s*1,\s*2(?:,\s*3)?(?:,\s*4)?,\s*{_DOTS}"),
    "real": (r"(?:\\mathbb\{R\}|R)", r"(?!)"),
}
_SETS = "|".join(f"(?P<{name}>{sign})" for name, (sign, _) in _DOMAINS.items())
_COUNTS = "|".join(f"(?P<{name}_counted>{count})" for name, (_, count) in _DOMAINS.items())
_KIND = r"(?:(?:(positive|natural|real) )?(?:integers?|numbers?)|(real)(?= ))"
_LEAD = rf"[\s,;]*(?P<open>[(\[])?\s*{_TEXT},?\s*(?:(?:for|where|with)\s)?\s*"
_EVERY = r"(?:all|any|every|each|some)(?![a-z])"
_TAIL = re.compile(
    rf"{_LEAD}(?P<every>{_EVERY})?\s*\}}?\s*(?:"
    rf"(?P<in>{_NAMED})\s*(?:{_TEXT}\s*(?:\\in(?![A-Za-z])|in(?=\s*\\))\s*\}}?\s*(?:{_SETS})|(?:{_COUNTS}))"
    rf"|(?P<is>{_NAMED})\s*{_TEXT}\s*(?:is |are )?(?:an? |any )?{_KIND}\s*\}}?"
    rf"|{_TEXT}(?:an? )?{_KIND}\s*\}}?\s*(?P<behind>{_NAMED})"
    rf"|(?P<alone>{_NAMED})"
    r")\s*\}?\s*(?P<close>[)\]])?\s*"
)
_COMMAND_OR_LETTER = re.compile(r"\\[A-Za-z]+|[A-Za-z]")
_MODULUS = r"(?:\{\s*([^{}]+?)\s*\}|(\d+|[A-Za-z](?![A-Za-z])))"
_PLAIN = r"(?:(?!\\(?:equiv|[pb]?mod)(?![A-Za-z]))[^=])*?"
_CONGRUENCE = re.compile(
    rf"(?:(?P<name>{_PLAIN}[^=,\s])\s*\\equiv\s*)?(?P<residues>{_PLAIN}[^=\s(])\s*"
    rf"(?:\\pmod\s*{_MODULUS}|\(?\s*\\(?:bmod|mod|text\s*\{{\s*mod\s*\}}|operatorname\s*\{{\s*mod\s*\}})\s*{_MODULUS}\s*\)?)"
)


class Declared(NamedTuple):
    """An answer without its declaration: as it was written, with its letter renamed, and what the letter may be."""

    written: str
    renamed: str
    domain: str


def declared(latex: str) -> Declared | None:
    """The answer in front of a declaration of a letter that it has; None where there is none."""
    for place in _starts(latex):
        found = _TAIL.fullmatch(latex, place)
        if found is None or bool(found["open"]) != bool(found["close"]) or (found["alone"] and not found["every"]):
            continue
        letter = found["in"] or found["is"] or found["behind"] or found["alone"]
        written = latex[:place].strip()
        letters = [each[0] for each in _COMMAND_OR_LETTER.finditer(written)]
        if letter in letters:
            return Declared(written, _renamed(written, letter), _domain(found))
    return None


def _starts(latex: str) -> list[int]:
    """Where a declaration may begin: at a comma, a bracket, a space, a text."""
    return [found.start() for found in re.finditer(r"[,;(\[\s]|\\(?:text|mathrm|mbox)", latex)][-24:]


def _domain(found: re.Match[str]) -> str:
    """What the letter may be; "" where the text does not say."""
    for name in _DOMAINS:
        if found[name] or found[f"{name}_counted"]:
            return name
    if found["alone"]:
        return ""
    kinds = [group for group in found.groups() if group in _DOMAINS]
    return kinds[0] if kinds else INTEGERS


def _renamed(latex: str, letter: str) -> str:
    return _COMMAND_OR_LETTER.sub(lambda found: f"{PARAMETER} " if found[0] == letter else found[0], latex)


class Congruence(NamedTuple):
    """The texts of `name \\equiv residues \\pmod{modulus}`; `name` is "" where there is none."""

    name: str
    residues: str
    modulus: str


def congruence(latex: str) -> Congruence | None:
    """The congruence that a text is."""
    found = _CONGRUENCE.fullmatch(latex)
    if found is None or any(mark in latex for mark in (r"\mathbb", r"\in ")):
        return None
    modulus = next(group for group in found.groups()[2:] if group)
    return Congruence((found["name"] or "").strip(), found["residues"], modulus)
