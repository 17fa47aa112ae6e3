"""Junk: answers that solve nothing, and how often each kind may score all the same.

Three kinds, with three rules. What is no answer (nothing, the prompt, nan, brackets) may never score, unless it
happens to be the reference. A guess (a number or a formula of the prompt, yes, 0) may be right now and then: on no
more than `GUESS_SHARE` of the problems. The letter of an option is right by chance on one of as many problems as there
are options: it is flagged where the same letter is right significantly more often.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from mopd import verifiers
from mopd.core.types import Problem
from mopd.verifiers import tool_use
from mopd.verifiers.multiple_choice import labels_of, options_of

WORD = "banana"
"""A word that answers nothing that is not about fruit."""

NO_ANSWERS = (
    *("nan", "NaN", "-nan", "nanj", "1e999", "1e-999", "0/0", "[null]", '""', "{}", "()"),
    *(".", ",", "-", "?", "#", "_", "*", "\0", "\u200b", "É", "A B C D", "LRUD", "0 days, 00:00"),
    *("[" * 500, "(" * 500, "9" * 5000, "a" * 5000, "1," * 2000),
)
"""Texts that answer no question, or next to none."""

GUESSES = (
    *("yes", "no", "true", "false", "True", "False", "None", "null", "unknown", "impossible", "infeasible"),
    *("0", "1", "-1", "2", "10", "100", "0.0", "1.0", "0.5", "1/2", "1/1", "-0", "inf", "-inf", "Infinity"),
    *("i", "j", "x", "a", "A", "B", "up", "[]", "[0]", "[1]", "0:0", "1 2 3 4", "[[0]]", "x=1", "0\n0"),
)
"""Texts that answer some questions."""

NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
FORMULA = re.compile(r"\$\$(.+?)\$\$|\\\[(.+?)\\\]|\\\((.+?)\\\)|(?<!\\)\$([^$]+)\$", re.DOTALL)
"""A formula between the marks of mathematics."""

BARE_FORMULA = re.compile(r"(?<!\S)[^\sA-Za-z\\]*\\[A-Za-z]+[^?!;\n]*")
"""LaTeX that no marks are around, to the end of its line."""

BLANKS = ("", "?", "_", r"\square", r"\ldots", r"\dots", "...")
"""What stands behind an equals sign for the answer."""

CALCULATION = re.compile(r"[\d(][\d\s.()+\-*/^×÷·]*[\d)!]")
"""Numbers and signs in plain text; a calculation where one of the signs is an operator."""

OPERATOR = re.compile(r"[+*/^×÷·]|[\d)]\s*-")

_CALL = json.dumps([{"name": WORD, "arguments": {}}])

Rule = Literal["never", "rarely", "by chance", "always"]
"""How often a kind of junk may score; `always` is for what should: one of all options."""


@dataclass(frozen=True, slots=True)
class Junk:
    """A kind of junk: the answer that it gives to a problem, None where it gives none, and how often it may score.

    It is written in the verifier's format unless it `is_bare`. Of those that are a mere text, only hits are told.
    """

    name: str
    rule: Rule
    answer: Callable[[Problem], str | None]
    is_bare: bool = False
    is_text: bool = False

    def completion(self, problem: Problem) -> str | None:
        """The completion that it is for a problem."""
        answer = self.answer(problem)
        return answer if self.is_bare or answer is None else verifiers.in_format(problem.verifier, answer)


ANY_OPTION = Junk("every option in its turn", "always", lambda _: None)
"""No junk: all options together, of which one should score on each problem."""


# --- junk -----------------------------------------------------------------------------------------------------------


def junk_for(options: Mapping[str, tuple[str, ...]]) -> list[Junk]:
    """All kinds of junk; `options` are the letters of each problem's options, by its id."""

    def option(letter: str) -> Junk:
        return Junk(f"option {letter}", "by chance", lambda p: letter if letter in options[p.id] else None)

    return [
        Junk("nothing", "never", lambda _: "", is_bare=True),
        Junk("an empty answer", "never", lambda _: ""),
        Junk(f"a word ({WORD})", "never", lambda _: WORD),
        Junk("the prompt", "never", _prompt, is_bare=True),
        Junk("the prompt's longest number", "rarely", _longest_number),
        Junk("the prompt's longest formula", "rarely", _longest_formula),
        *(option(letter) for letter in sorted({letter for letters in options.values() for letter in letters})),
        Junk("all options", "never", lambda p: ", ".join(options[p.id]) or None),
        Junk(f"a call of a tool {WORD}", "never", lambda p: _CALL if p.verifier == "tool_use" else None),
        *(text_junk(text, "never", options) for text in NO_ANSWERS),
        *(text_junk(text, "rarely", options) for text in GUESSES),
    ]


def text_junk(text: str, rule: Rule, options: Mapping[str, tuple[str, ...]]) -> Junk:
    """One text for all problems but those that have options: with them its letters are the guesses."""
    is_guess = rule == "rarely"
    return Junk(repr(text[:20]), rule, lambda p: None if is_guess and options[p.id] else text, is_text=True)


def _prompt(problem: Problem) -> str:
    return problem.messages[-1]["content"]


def _longest_number(problem: Problem) -> str | None:
    return max(NUMBER.findall(_prompt(problem)), key=len, default=None)


def _longest_formula(problem: Problem) -> str | None:
    """The question itself, as a formula: whoever boxes it has calculated nothing."""
    prompt = _prompt(problem)
    marked = [next(filter(None, found)).strip() for found in FORMULA.findall(prompt)]
    bare = [re.split(r"[.,]\s", found)[0].rstrip(" .,") for found in BARE_FORMULA.findall(prompt)]
    calculations = [found for found in CALCULATION.findall(prompt) if OPERATOR.search(found)]
    found: list[str] = marked or bare or calculations
    longest = max(found, key=len, default=None)
    if longest is None:
        return None
    question, _, blank = longest.rpartition("=")
    return question.strip() if question and blank.strip().replace("__", "").rstrip(" .?") in BLANKS else longest


def is_same_answer(junk: str, reference: str) -> bool:
    """Whether junk is the reference itself: the same number, or the same text but for case and white space."""
    try:
        return float(junk) == float(reference)
    except ValueError:
        return junk.strip().lower() == reference.strip().lower()


def is_right_answer(junk: str, problem: Problem) -> bool:
    """Whether junk happens to be a problem's right answer: its reference, or no call where no call is right."""
    reference = problem.reference or ""
    if problem.verifier == "tool_use" and not tool_use.has_calls(reference):
        return True
    return is_same_answer(junk, reference)


def options_of_problems(problems: Sequence[Problem]) -> dict[str, tuple[str, ...]]:
    """The letters of the options of each problem of multiple choice, by id; none for any other problem.

    Where a prompt lists none, they are A to D, and all letters that are references of the domain. Where several
    options together are right, none is right alone, and none is asked for.
    """
    right = {p.id: labels_of(p) for p in problems if p.verifier in verifiers.MULTIPLE_CHOICE}
    references: dict[str, set[str]] = {}
    for problem in problems:
        references.setdefault(problem.domain, {*"ABCD"}).update(right.get(problem.id, ()))
    return {
        problem.id: (tuple(options_of(problem)) or tuple(sorted(references[problem.domain])))
        if problem.id in right and len(right[problem.id]) < 2
        else ()
        for problem in problems
    }
