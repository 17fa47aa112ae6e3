"""An audit of verifiers: junk goes through each problem's verifier, and what scores too often is flagged."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table

from mopd.auditing.completions import line_writer, prepare_judges, printable, source_of, writable
from mopd.auditing.junk import ANY_OPTION, Junk, is_right_answer, junk_for, options_of_problems
from mopd.config import Config, ProblemsConfig
from mopd.core.statistics import chance_of_at_least, mean_or_zero
from mopd.core.types import Problem, Verdict
from mopd.judging.verdicts import judge_all
from mopd.problems import all_problems, read_problems
from mopd.runs.progress import Phase, ProgressDisplay
from mopd.verifiers.multiple_choice import options_of

GUESS_SHARE = 0.1
"""A guess that is right more often than this is worth more than guessing should be."""

SIGNIFICANCE = 0.01
"""The letters of a domain together may be flagged by mere luck with this probability."""

EXAMPLES = 3
"""Problems named for each finding."""


@dataclass(slots=True)
class Finding:
    """How one kind of junk fared on the problems of one domain.

    `unearned` are hits whose junk is not the right answer itself; `errors` are verdicts of that kind; `chances` are
    those of a hit by luck, a problem each, where `rule` asks for them. `listed` are those of problems whose prompt
    lists the option.
    """

    domain: str
    junk: Junk
    options: int = 1
    problems: int = 0
    hits: int = 0
    unearned: int = 0
    errors: int = 0
    chances: list[float] = field(default_factory=list)
    listed: list[float] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)

    def count(self, problem: Problem, verdict: Verdict, chance: float) -> None:
        """One more verdict. Any reward is a hit, whatever it takes to be a success."""
        self.problems += 1
        self.errors += verdict.kind == "error"
        self.chances.append(chance)
        if self.junk.rule == "by chance" and verdict.kind != "error" and options_of(problem):
            self.listed.append(chance)
        if verdict.kind != "error" and verdict.reward > 0:
            self.hits += 1
            self.unearned += not is_right_answer(self.junk.answer(problem) or "", problem)
            self.name(problem)

    def name(self, problem: Problem) -> None:
        """A problem that shows what was found; the first few are told."""
        if len(self.examples) < EXAMPLES:
            self.examples.append(problem.id)

    @property
    def share(self) -> float:
        """The share of problems on which the junk scores."""
        return self.hits / self.problems

    @property
    def allowed(self) -> float:
        """The share on which it may score."""
        by_rule = {"never": 0.0, "rarely": GUESS_SHARE, "by chance": mean_or_zero(self.chances), "always": 1.0}
        return by_rule[self.junk.rule]

    @property
    def is_flagged(self) -> bool:
        """Whether it scores more often than it may; an option, also where it never does against all luck."""
        if self.junk.rule == "always":
            return self.hits < self.problems
        if self.junk.rule == "by chance":
            luck = chance_of_at_least(self.hits, self.chances)
            return min(luck, 1.0 if self.hits else self._chance_of_none) < SIGNIFICANCE / self.options
        return self.share > GUESS_SHARE or (self.junk.rule == "never" and self.unearned > 0)

    @property
    def _chance_of_none(self) -> float:
        return math.prod(1 - chance for chance in self.listed)

    @property
    def text(self) -> str:
        """What was found, in a line."""
        if self.junk.rule == "always":
            missed = self.problems - self.hits
            what = f"no option is right on {missed} of {self.problems} problems of {writable(self.domain)}"
            return f"{what}, such as {', '.join(self.examples)}: their references name none" if missed else what
        if self.junk.rule == "by chance" and not self.hits:
            never = f"{self.junk.name} is never right on {self.problems} problems of {writable(self.domain)}"
            return f"{never}: are references read as they were meant?"
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
    right: set[str] = set()
    with (
        line_writer(out, [path] if path else _sources(config.problems)) as write,
        ProgressDisplay(quiet).phase("audit", len(kinds) * len(problems)) as phase,
    ):
        for junk in kinds:
            of_kind = _fare(junk, problems, options, phase, right)
            found += of_kind
            for finding in of_kind:
                write(_described(finding))
        for finding in (of_options := _without_a_right_option(problems, options, right)):
            write(_described(finding))
    return found + of_options


def _sources(problems: ProblemsConfig) -> list[str | None]:
    return [problems.source, problems.held_out_source, *(source.source for source in problems.mix)]


def _fare(
    junk: Junk, problems: Sequence[Problem], options: Mapping[str, tuple[str, ...]], phase: Phase, right: set[str]
) -> list[Finding]:
    """The findings on one kind of junk. Where it is an option, the problems on which it is right are put in `right`."""
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
            if junk.rule == "by chance" and verdict.kind != "error" and verdict.reward > 0:
                right.add(problem.id)
            phase.advance()
    return list(findings.values())


def _without_a_right_option(
    problems: Sequence[Problem], options: Mapping[str, tuple[str, ...]], right: set[str]
) -> list[Finding]:
    """For each domain with multiple choice how many problems have an option that is right; all should."""
    findings: dict[str, Finding] = {}
    for problem in problems:
        if options[problem.id]:
            finding = findings.setdefault(problem.domain, Finding(problem.domain, ANY_OPTION))
            finding.problems += 1
            finding.hits += problem.id in right
            if problem.id not in right:
                finding.name(problem)
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
