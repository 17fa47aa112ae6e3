"""What an answer may be once it is read: a value, words, a list, brackets, a set, an equation, and so on.

May import: `math_numbers`.
"""

from __future__ import annotations

from dataclasses import dataclass

from mopd.verifiers.math_numbers import Based, Clock


@dataclass(frozen=True, slots=True)
class Value:
    """One value: its LaTeX, and its unit, "" without one."""

    latex: str
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Words:
    """Words, in small letters. `is_marked` if the text itself says that they are no product of letters."""

    text: str
    is_marked: bool


@dataclass(frozen=True, slots=True)
class Listed:
    """Values without an order; `is_or` where the text says that one of them holds."""

    items: tuple[Reading, ...]
    is_or: bool = False


@dataclass(frozen=True, slots=True)
class Bracketed:
    """Values in an order: a tuple, or with two of them an interval."""

    opening: str
    items: tuple[Reading, ...]
    closing: str


@dataclass(frozen=True, slots=True)
class Union:
    """A union of sets, without those of `but`."""

    parts: tuple[Reading, ...]
    but: tuple[Reading, ...] = ()


@dataclass(frozen=True, slots=True)
class Common:
    """What is in all of some sets."""

    parts: tuple[Reading, ...]


@dataclass(frozen=True, slots=True)
class Ratio:
    """Three or more values as a ratio; two of them are a division."""

    items: tuple[Reading, ...]


@dataclass(frozen=True, slots=True)
class Named:
    """A value with its name: `x = 5`, `f(x) = x^2`, `|AB| = 1`."""

    name: str
    value: Reading


@dataclass(frozen=True, slots=True)
class Chain:
    """An equation of values without a name, `3 + 4 = 7`, or with unknowns, `2x + y = 1`."""

    sides: tuple[Reading, ...]


@dataclass(frozen=True, slots=True)
class Inequality:
    """A chain of sides with the relations between them."""

    sides: tuple[str, ...]
    relations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Family:
    """Values for every number of a domain: as they are written, and with the letter renamed that stands for it."""

    written: Reading
    renamed: Reading
    domain: str


@dataclass(frozen=True, slots=True)
class Congruent:
    """A residue to a modulus, with the name of what has it, "" where there is none."""

    name: str
    residue: Value
    modulus: Value


@dataclass(frozen=True, slots=True)
class Either:
    """Two readings of a text that may mean either."""

    readings: tuple[Reading, ...]


Reading = (
    Value
    | Words
    | Based
    | Clock
    | Listed
    | Bracketed
    | Union
    | Common
    | Ratio
    | Named
    | Chain
    | Inequality
    | Family
    | Congruent
    | Either
)
