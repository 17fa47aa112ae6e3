"""What an answer is: a value, words, a time, a list, brackets, a union, named values, an equation, an inequality.

The text is taken apart from outside to inside. Only single values are left to the parser of LaTeX, when they are
compared. May import: `math_answers`, `math_declarations`, `math_notation`, `math_numbers`, `math_splitting`,
`math_units`.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from mopd.verifiers.math_answers import (
    Bracketed,
    Chain,
    Common,
    Congruent,
    Either,
    Family,
    Inequality,
    Listed,
    Named,
    Ratio,
    Reading,
    Union,
    Value,
    Words,
)
from mopd.verifiers.math_declarations import congruence, declared
from mopd.verifiers.math_notation import KNOWN_WORDS
from mopd.verifiers.math_numbers import based, clock
from mopd.verifiers.math_splitting import inside_of, split
from mopd.verifiers.math_units import compound, quantity

MAX_ITEMS = 200
"""A longer list cannot be read: all of its items may have to be compared with each other."""


class Unread(Exception):
    """The text is nothing that can be read."""


_AND_OR = re.compile(
    r",?\s*(?:\\(?:text[a-z]*|mathrm|mbox)\s*\{\s*,?\s*(and|or)\s*\}|(?<![A-Za-z\\])(and|or)(?![a-z])(?![^{}]*\})"
    r"|\\(lor|vee)(?![a-z])|\\(?:land|wedge)(?![a-z]))\s*,?"
)
_RELATION = {
    **dict.fromkeys((r"\le", r"\leq", r"\leqslant", "<="), "<="),
    **dict.fromkeys((r"\ge", r"\geq", r"\geqslant", ">="), ">="),
    **{r"\lt": "<", r"\gt": ">", "<": "<", ">": ">", r"\ne": "!=", r"\neq": "!=", "!=": "!="},
}
_RELATIONS = re.compile(r"\\(?:leqslant|geqslant|leq|geq|le|ge|lt|gt|neq|ne)(?![A-Za-z])|<=|>=|!=|<|>")
_THOUSANDS = re.compile(r"(?<![\w.,])-?[1-9]\d{0,2}(?:,\d{3})+(?!\d|,\d)")
_WITH_PLACES = re.compile(r"-?\d+\.\d+")
_DECIMAL_COMMA = re.compile(r"-?\d+,\d+")
_SUBSCRIPT = re.compile(r"_\s*(?:\{[^{}]*\}|\w)|\^\s*\{?\s*(?:\*|\\prime)\s*\}?")
_ARGUMENTS = re.compile(r"(?<=[A-Za-z}')])\s*\([^()=]*\)")
_FIRST_SIGN = re.compile(r"^(?:=|\\(?:approx|simeq|sim)(?![A-Za-z]))\s*")
_NO_NAMES = ("e", "i", r"\pi", r"\infty")
_NAME = re.compile(r"[A-Za-z\\{}'|:/\s]*[A-Za-z][A-Za-z\\{}'|:/\s]*")
_POINT = re.compile(r"([A-Z](?:_\d|')?)\s*\(([^()]*)\)")
_TEXT = re.compile(r"\\(?:text[a-z]*|mathrm|mathsf|mathit|mathbf|mbox|operatorname)\s*\{([^{}]*)\}")
_RUN = re.compile(r"(?<![A-Za-z\\])[A-Za-z]{2,}")
_LETTERS = re.compile(r"[A-Za-z][A-Za-z\s'.,!?-]*")
_UNIT_INSIDE = re.compile(r"\d\s*\\(?:text[a-z]*|mathrm|mbox)\s*\{")
_LIMIT = re.compile(r"\\lim\s*_\s*\{[^{}]*\}")
_ARTICLE = re.compile(r"^(?:an?|the|all) (?=[a-z]{2})")
_FIGURE = re.compile(r"\\(angle|triangle|overline|overrightarrow)\s*\{?\s*([A-Z]{2,})\s*\}?")
_OPTION = re.compile(
    r"(?:\\(?:text[a-z]*|mathbf|mathrm)\s*\{\s*\(?([A-J])\)?[\s.:]*\}|\(([A-J])\)(?=\s)|([A-J])[.:)](?=\s))\s*(\S.*)"
    r"|\\(?:text[a-z]*|mathbf|mathrm)\s*\{\s*\(([A-J])\)\s*(\S[^{}]*)\}"
)
_PLAIN_PRODUCT = re.compile(r"[xyz]{2,3}")


class Text(NamedTuple):
    """A text to read, and whether a single letter behind a gap is a unit in it."""

    latex: str
    with_lone_letters: bool

    def part(self, latex: str) -> Text:
        """A part of it."""
        return Text(latex, self.with_lone_letters)


def read(text: Text) -> Reading:
    """What a text is. Raises Unread."""
    latex = text.latex.strip().rstrip(",;").strip() if not text.latex.rstrip().endswith(r"\,") else text.latex.strip()
    if not latex:
        raise Unread
    found = clock(latex) or _words(latex) or _option(text.part(latex)) or _of_integers(text.part(latex))
    if found is not None:
        return found
    is_or = any(groups[0] == "or" or groups[1] == "or" or groups[2] for groups in _AND_OR.findall(latex))
    parts = _AND_OR.split(latex)[:: _AND_OR.groups + 1]
    are_groups = is_or and all("=" in part and len(split(part, (",",))) > 1 for part in parts)
    latex = (" ; " if are_groups else " , ").join(parts)
    items = split(latex, (",", ";"))
    if len(items) > 1:
        return _list(text.part(latex), latex, items, is_or)
    return _item(text.part(latex))


def _option(text: Text) -> Either | None:
    """The letter of an option and its value, as keys of contests have them: either is the answer."""
    found = _OPTION.fullmatch(text.latex)
    if found is None:
        return None
    letter, value = next(group for group in found.groups()[:-1] if group), found[found.lastindex or 0]
    try:
        return Either((Value(letter), read(text.part(value))))
    except Unread:
        return Either((Value(letter),))


def _of_integers(text: Text) -> Reading | None:
    """What has a declaration of a letter behind it, or is a congruence."""
    said = declared(text.latex)
    if said is not None:
        return Family(read(text.part(said.written)), read(text.part(said.renamed)), said.domain)
    known = congruence(text.latex)
    if known is None:
        return None
    parts = [read(text.part(part)) for part in split(_AND_OR.sub(",", known.residues), (",",))]
    residues = [each for part in parts for each in (part.items if isinstance(part, Listed) else (part,))]
    if not all(isinstance(residue, Value) for residue in residues):
        raise Unread
    found = [Congruent(known.name, residue, Value(known.modulus)) for residue in residues if isinstance(residue, Value)]
    return found[0] if len(found) == 1 else Listed(tuple(found))


def _list(text: Text, latex: str, items: list[str], is_or: bool) -> Reading:
    """A list; or a number, where its commas may as well be those of thousands or of a decimal."""
    number = _THOUSANDS.sub(lambda found: _joined(found, latex), latex)
    if number != latex and _WITH_PLACES.fullmatch(number):
        return read(text.part(number))
    if number != latex and not name_of(split(latex, ("=",))[0]):
        return Either((read(text.part(number)), _items(text, items, is_or)))
    if number != latex:
        return read(text.part(number))
    value = split(latex, ("=",))[-1].strip()
    if _DECIMAL_COMMA.fullmatch(value):
        return Either((read(text.part(latex.replace(",", "."))), _items(text, items, is_or)))
    return _items(text, items, is_or)


def _items(text: Text, items: list[str], is_or: bool) -> Reading:
    if len(items) > MAX_ITEMS:
        raise Unread
    groups = split(text.latex, (";",))
    if len(groups) > 1 and all("=" in group and "," in group for group in groups):
        return Listed(tuple(read(text.part(group)) for group in groups))
    if len(groups) > 1 and all(_DECIMAL_COMMA.fullmatch(group.strip()) for group in groups):
        return Listed(tuple(read(text.part(group.replace(",", "."))) for group in groups))
    readings = [read(text.part(item)) for item in items]
    first = readings[0]
    if isinstance(first, Inequality) and first.relations == ("!=",):
        values = [each for one in readings for each in (one.items if isinstance(one, Listed) else (one,))]
        readings = [
            Inequality((first.sides[0], each.latex), ("!=",)) if isinstance(each, Value) else each for each in values
        ]
    if isinstance(first, Named) and not any(isinstance(each, (Named, Inequality, Chain)) for each in readings[1:]):
        return Named(first.name, Listed((first.value, *readings[1:]), is_or))
    return Listed(tuple(readings), is_or)


def _item(text: Text) -> Reading:
    """What a text without commas outside of brackets is."""
    latex = _FIRST_SIGN.sub("", text.latex.strip())
    text = text.part(latex)
    for mark in (r"\Rightarrow", r"\implies", r"\iff", r"\to", r"\equiv", r"\mapsto", r"\forall", r"\exists", r"\pmod"):
        if re.search(re.escape(mark) + r"(?![A-Za-z])", _LIMIT.sub("", latex)):
            raise Unread
    is_in_braces = inside_of(latex, r"\{", r"\}") is not None
    if _RELATIONS.search(latex) and r"\begin" not in latex and not is_in_braces:
        parts = split(latex, (r"\cup",))
        return _inequality(text) if len(parts) == 1 else Union(tuple(read(text.part(part)) for part in parts))
    for sign, belongs in (("=", False), (r"\approx", False), (r"\in", True)):
        sides = split(latex, (sign,))
        if len(sides) > 1:
            return _equation(text, sides, sign) if not belongs else Named(name_of(sides[0]), read(text.part(sides[-1])))
    found = based(latex)
    if found is not None:
        return found if found.base != 10 else Value(found.digits)
    return _set(text) or _bracketed(text) or _value(text)


def _equation(text: Text, sides: list[str], sign: str) -> Reading:
    if sign == "=":
        sides[-1] = split(sides[-1], (r"\approx",))[0]
    elif not name_of(sides[0]):
        return read(text.part(sides[0]))
    if any(not side.strip() for side in sides):
        raise Unread
    named = [side for side in sides if name_of(side)]
    values = [side for side in sides if not name_of(side)]
    if named and (values or name_of(sides[0])):
        written = sides[0] if name_of(sides[0]) else named[-1]
        return _named(text, written.strip(), name_of(written), read(text.part(values[-1] if values else sides[-1])))
    return Chain(tuple(read(text.part(side)) for side in sides))


def _named(text: Text, written: str, name: str, value: Reading) -> Reading:
    """A named value; a tuple of names and a tuple of values are values with names each."""
    inside = inside_of(written, "(", ")")
    if inside is None or "," not in inside:
        return Named(name, value)
    names = [name_of(part) for part in split(inside, (",",))]
    if isinstance(value, Bracketed) and len(value.items) == len(names) and all(names):
        return Listed(tuple(map(Named, names, value.items)))
    return value


def name_of(text: str) -> str:
    """The name that a side of an equation is; "" where it is none. A tuple of names is one."""
    written = re.sub(r"\\(?:overline|angle|text[a-z]*|mathrm|displaystyle|vec|overrightarrow)(?![A-Za-z])", "", text)
    bare = _SUBSCRIPT.sub("", written)
    inside = inside_of(bare.strip(), "(", ")")
    if inside is not None and "," in inside:
        return re.sub(r"\s", "", written) if all(map(name_of, split(inside, (",",)))) else ""
    if not _NAME.fullmatch(_ARGUMENTS.sub("", bare)) or bare.strip() in _NO_NAMES:
        return ""
    return re.sub(r"[\s{}|]|\\quad", "", written)


def _inequality(text: Text) -> Reading:
    sides = _RELATIONS.split(text.latex)
    relations = tuple(_RELATION[sign] for sign in _RELATIONS.findall(text.latex))
    if any(not side.strip() for side in sides) or "=" in "".join(sides):
        raise Unread
    if relations == ("!=",) and sides[1].strip().startswith(r"\pm"):
        number = sides[1].strip().removeprefix(r"\pm").strip()
        return Listed(tuple(Inequality((sides[0].strip(), bound), relations) for bound in (number, f"-{number}")))
    return Inequality(tuple(side.strip() for side in sides), relations)


def _set(text: Text) -> Reading | None:
    """A union, a difference, a set in braces."""
    parts = split(text.latex, (r"\setminus", r"\backslash"))
    if len(parts) == 2:
        return Union((read(text.part(parts[0])),), (read(text.part(parts[1])),))
    parts = split(text.latex, (r"\cup",))
    if len(parts) > 1:
        return Union(tuple(read(text.part(part)) for part in parts))
    parts = split(text.latex, (r"\cap",))
    if len(parts) > 1:
        return Common(tuple(read(text.part(part)) for part in parts))
    parts = split(text.latex, (":",))
    if len(parts) > 2:
        return Ratio(tuple(read(text.part(part)) for part in parts))
    for opening, closing in ((r"\{", r"\}"), (r"\lbrace", r"\rbrace"), ("{", "}")):
        inside = inside_of(text.latex, opening, closing)
        if inside is not None:
            return read(text.part(inside)) if opening == "{" else _in_braces(text.part(inside))
    return None


def _in_braces(text: Text) -> Reading:
    """The set whose members, or whose condition, stand in braces."""
    if not text.latex.strip():
        return Value(r"\emptyset")
    parts = split(text.latex, (":", r"\mid", r"\vert", "|"))
    if len(parts) == 2 and name_of(split(parts[0], (r"\in",))[0]):
        return read(text.part(parts[1]))
    if len(parts) == 2 and declared(", ".join(parts)):
        return read(text.part(", ".join(parts)))
    items = split(text.latex, (",", ";"))
    found = _items(text, items, False) if len(items) > 1 else read(text)
    return found if isinstance(found, (Listed, Either, Inequality)) else Listed((found,))


def _bracketed(text: Text) -> Reading | None:
    """A tuple or an interval; what is in the brackets where there is no comma."""
    named = _POINT.fullmatch(text.latex)
    if named and len(split(named[2], (",",))) > 1:
        return Named(named[1], read(text.part(f"({named[2]})")))
    for opening in "([":
        for closing in ")]":
            inside = inside_of(text.latex, opening, closing)
            items = split(inside, (",", ";")) if inside is not None else []
            groups = split(inside or "", (";",))
            if len(groups) > 1 and all(_DECIMAL_COMMA.fullmatch(group.strip()) for group in groups):
                items = [group.replace(",", ".") for group in groups]
            if len(items) > 1 and len(items) <= MAX_ITEMS:
                return Bracketed(opening, tuple(read(text.part(item)) for item in items), closing)
            if inside is not None and len(items) == 1 and opening + closing == "()":
                return read(text.part(inside))
    return None


def _value(text: Text) -> Reading:
    """A single value; two of them where it has a sign for plus or minus."""
    found = compound(text.latex) or quantity(text.latex, text.with_lone_letters)
    if found.unit and _UNIT_INSIDE.search(found.value):  # 2 ft 6 in is two values
        raise Unread
    if r"\pm" in found.value or r"\mp" in found.value:
        plus = found.value.replace(r"\pm", "+").replace(r"\mp", "-")
        minus = found.value.replace(r"\pm", "-").replace(r"\mp", "+")
        return Listed((Value(plus.lstrip(" +"), found.unit), Value(minus, found.unit)))
    inside = inside_of(found.value, "(", ")")
    if found.unit and inside is not None:
        return Value(inside, found.unit)
    words = _TEXT.fullmatch(found.value)
    return Value(words[1].strip() if words and words[1].strip() else found.value, found.unit)


def _words(latex: str) -> Words | None:
    """The words that a text is: all letters, of which at least two are side by side and no known function or letter."""
    figure = _FIGURE.fullmatch(latex)
    if figure:
        return Words(f"{figure[1]} {_ordered_corners(*figure.groups())}", is_marked=True)
    bare = " ".join(_TEXT.sub(r" \1 ", latex).replace(r"\ ", " ").split()).strip(" .!?,")
    while bare.startswith("(") and bare.endswith(")"):
        bare = bare[1:-1].strip()
    if not _LETTERS.fullmatch(bare) or _PLAIN_PRODUCT.fullmatch(bare):
        return None
    is_marked = bool(_TEXT.search(latex))
    runs = [run for run in _RUN.findall(bare) if run not in KNOWN_WORDS]
    if not runs or ("," in bare and not is_marked) or (re.search(r"\b(?:and|or)\b|,", bare) and len(runs) < 3):
        return None
    words = " ".join(re.sub(r"[^\w\s]", " ", bare).lower().split())
    return Words(_ARTICLE.sub("", words) if is_marked or " " in words[2:] else words, is_marked)


def _joined(number: re.Match[str], text: str) -> str:
    """A number without its commas, unless it is in brackets, where they part values."""
    before = text[: number.start()]
    is_inside = sum(map(before.count, "([{")) > sum(map(before.count, ")]}"))
    return number[0] if is_inside else number[0].replace(",", "")


def _ordered_corners(figure: str, corners: str) -> str:
    """The corners of a figure in the one order that all names of it have: the angle ABC is CBA, the vector AB no BA."""
    if figure == "triangle":
        return "".join(sorted(corners))
    return corners if figure == "overrightarrow" else min(corners, corners[::-1])
