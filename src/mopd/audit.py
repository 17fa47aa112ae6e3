"""An audit of verifiers: answers that solve nothing go through each problem's verifier, and what scores is flagged.

Three kinds of junk, with three rules. What is no answer (nothing, the prompt, nan, brackets) may never score, unless it
happens to be the reference. A guess (a number of the prompt, yes, 0) may be right now and then: on no more than
`GUESS_SHARE` of the problems. The letter of an option is right by chance on one of as many problems as there are
options: it is flagged where the same letter is right significantly more often.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rich.table import Table

from mopd import verifiers
from mopd.completions import line_writer, prepare_judges, printable, source_of, writable
from mopd.config import Config, ProblemsConfig
from mopd.problems import all_problems, read_problems
from mopd.progress import Phase, ProgressDisplay
from mopd.statistics import chance_of_at_least, mean_or_zero
from mopd.types import Problem, Verdict
from mopd.verification import judge_all

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

GUESS_SHARE = 0.1
"""A guess that is right more often than this is worth more than guessing should be."""

SIGNIFICANCE = 0.01
"""The letters of a domain together may be flagged by mere luck with this probability."""

NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_OPTION = re.compile(r"^[ \t]*\(?([A-Z])[:.)]", re.MULTILINE)
_CALL = json.dumps([{"name": WORD, "arguments": {}}])

EXAMPLES = 3
"""Problems named for each finding."""

Rule = Literal["never", "rarely", "by chance"]
"""How often a kind of junk may score."""


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


@dataclass(slots=True)
class Finding:
    """How one kind of junk fared on the problems of one domain.

    `unearned` are hits whose junk is not the reference itself; `errors` are verdicts of that kind; `chances` are those
    of a hit by luck, a problem each, where `rule` asks for them.
    """

    domain: str
    junk: Junk
    options: int = 1
    problems: int = 0
    hits: int = 0
    unearned: int = 0
    errors: int = 0
    chances: list[float] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)

    def count(self, problem: Problem, verdict: Verdict, chance: float) -> None:
        """One more verdict. Any reward is a hit, whatever it takes to be a success."""
        self.problems += 1
        self.errors += verdict.kind == "error"
        self.chances.append(chance)
        if verdict.kind != "error" and verdict.reward > 0:
            self.hits += 1
            self.unearned += not is_same_answer(self.junk.answer(problem) or "", problem.reference or "")
            if len(self.examples) < EXAMPLES:
                self.examples.append(problem.id)

    @property
    def share(self) -> float:
        """The share of problems on which the junk scores."""
        return self.hits / self.problems

    @property
    def allowed(self) -> float:
        """The share on which it may score."""
        return {"never": 0.0, "rarely": GUESS_SHARE, "by chance": mean_or_zero(self.chances)}[self.junk.rule]

    @property
    def is_flagged(self) -> bool:
        """Whether it scores more often than it may."""
        if self.junk.rule == "by chance":
            return chance_of_at_least(self.hits, self.chances) < SIGNIFICANCE / self.options
        return self.share > GUESS_SHARE or (self.junk.rule == "never" and self.unearned > 0)

    @property
    def text(self) -> str:
        """What was found, in a line."""
        scores = f"{self.junk.name} scores on {self.hits} of {self.problems} problems of {writable(self.domain)}"
        return f"{scores}, such as {', '.join(self.examples)}" if self.hits else scores


def audit(path: str | None, config: Config, out: Path | None = None, quiet: bool = False) -> list[Finding]:
    """How every kind of junk fares on the problems of a file or, without one, of the configuration, domain by domain.

    `out` gets the findings as one JSON object a line. Raises MopdError.
    """
    problems = read_problems(source_of(path, config), config.problems.seed) if path else all_problems(config.problems)
    prepare_judges({problem.verifier for problem in problems}, config)
    options = options_of_problems(problems)
    kinds = junk_for(options)
    found: list[Finding] = []
    with (
        line_writer(out, [path] if path else _sources(config.problems)) as write,
        ProgressDisplay(quiet).phase("audit", len(kinds) * len(problems)) as phase,
    ):
        for junk in kinds:
            of_kind = _fare(junk, problems, options, phase)
            found += of_kind
            for finding in of_kind:
                write(_described(finding))
    return found


def _sources(problems: ProblemsConfig) -> list[str | None]:
    return [problems.source, problems.held_out_source, *(source.source for source in problems.mix)]


def _fare(
    junk: Junk, problems: Sequence[Problem], options: Mapping[str, tuple[str, ...]], phase: Phase
) -> list[Finding]:
    """The findings on one kind of junk."""
    asked = [(problem, text) for problem in problems if (text := junk.completion(problem)) is not None]
    phase.advance(len(problems) - len(asked), note=junk.name)
    letters: dict[str, set[str]] = {}
    for problem in problems:
        letters.setdefault(problem.domain, set()).update(options[problem.id])
    findings: dict[str, Finding] = {}
    with closing(judge_all(asked)) as verdicts:
        for (problem, _), verdict in zip(asked, verdicts, strict=True):
            finding = findings.setdefault(
                problem.domain, Finding(problem.domain, junk, max(1, len(letters[problem.domain])))
            )
            finding.count(problem, verdict, 1 / max(1, len(options[problem.id])))
            phase.advance()
    return list(findings.values())


def _described(finding: Finding) -> dict[str, Any]:
    return {
        "domain": finding.domain,
        "junk": finding.junk.name,
        "problems": finding.problems,
        "hits": finding.hits,
        "share": finding.share,
        "allowed": finding.allowed,
        "is_flagged": finding.is_flagged,
        "errors": finding.errors,
        "examples": finding.examples,
    }


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
        *(option(letter) for letter in sorted({letter for letters in options.values() for letter in letters})),
        Junk("all options", "never", lambda p: ", ".join(options[p.id]) or None),
        Junk(f"a call of a tool {WORD}", "never", lambda p: _CALL if p.verifier == "tool_use" else None),
        *(_text(text, "never", options) for text in NO_ANSWERS),
        *(_text(text, "rarely", options) for text in GUESSES),
    ]


def _text(text: str, rule: Rule, options: Mapping[str, tuple[str, ...]]) -> Junk:
    """One text for all problems but those that have options: with them its letters are the guesses."""
    is_guess = rule == "rarely"
    return Junk(repr(text[:20]), rule, lambda p: None if is_guess and options[p.id] else text, is_text=True)


def _prompt(problem: Problem) -> str:
    return problem.messages[-1]["content"]


def _longest_number(problem: Problem) -> str | None:
    return max(NUMBER.findall(_prompt(problem)), key=len, default=None)


def is_same_answer(junk: str, reference: str) -> bool:
    """Whether junk is the reference itself: the same number, or the same text but for case and white space."""
    try:
        return float(junk) == float(reference)
    except ValueError:
        return junk.strip().lower() == reference.strip().lower()


def options_of_problems(problems: Sequence[Problem]) -> dict[str, tuple[str, ...]]:
    """The letters of the options of each problem of multiple choice, by id; none for any other problem.

    A prompt lists them line by line, `A: ...` or `(A) ...` or `A. ...`. Where it does not, they are A to D, and all
    references of the domain.
    """
    references: dict[str, set[str]] = {}
    for problem in problems:
        if problem.verifier == "multiple_choice":
            references.setdefault(problem.domain, {*"ABCD"}).add((problem.reference or "").strip())
    return {
        problem.id: (_listed_options(_prompt(problem)) or tuple(sorted(references[problem.domain])))
        if problem.verifier == "multiple_choice"
        else ()
        for problem in problems
    }


def _listed_options(prompt: str) -> tuple[str, ...]:
    """The last run of options in a prompt, from A on; none where it lists fewer than two."""
    run: list[str] = []
    for letter in _OPTION.findall(prompt):
        if letter == "A":
            run = ["A"]
        elif run and letter == chr(ord(run[-1]) + 1):
            run.append(letter)
    return tuple(run) if len(run) > 1 else ()


# --- telling --------------------------------------------------------------------------------------------------------


def audit_table(findings: Sequence[Finding]) -> Table:
    """Each kind of junk, domain by domain, with how often it scores and how often it may; silent texts in one row."""
    errors = sum(finding.errors for finding in findings)
    table = Table(title="junk through verifiers", caption=f"{errors} verdicts of kind error" if errors else None)
    table.add_column("domain", no_wrap=True)
    table.add_column("junk")
    for column in ("problems", "scores on", "may score on"):
        table.add_column(column, justify="right")
    table.add_column()
    for domain in dict.fromkeys(finding.domain for finding in findings):
        of_domain = [finding for finding in findings if finding.domain == domain]
        silent = [finding for finding in of_domain if finding.junk.is_text and not finding.hits]
        for finding in of_domain:
            if finding not in silent:
                _add_row(table, finding)
        if silent:
            problems = max(finding.problems for finding in silent)
            table.add_row(printable(domain), f"other texts: {len(silent)}", str(problems), "0.000")
        table.add_section()
    return table


def _add_row(table: Table, finding: Finding) -> None:
    by_chance = " (chance)" if finding.junk.rule == "by chance" else ""
    table.add_row(
        printable(finding.domain),
        printable(finding.junk.name),
        str(finding.problems),
        f"{finding.share:.3f}",
        f"{finding.allowed:.3f}{by_chance}",
        "[red]flagged[/]" if finding.is_flagged else "",
    )
