"""Given completions: read from a file, judged by verifiers or reward functions, recorded line by line, told by kind."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from mopd.auditing.functions import (
    FunctionFigures,
    check_functions,
    function_figures,
    has_values_of,
    judge_by_functions,
)
from mopd.config import HUB_PREFIX, Config, SourceConfig
from mopd.core.errors import ConfigError
from mopd.core.statistics import mean_or_zero
from mopd.core.types import VERDICT_KINDS, Verdict, VerdictKind
from mopd.judging.choosing import make_judge
from mopd.judging.reward_functions import RewardFunctions
from mopd.judging.verdicts import judge_all, prepare_verifiers
from mopd.problems import GivenCompletion, ProblemSet, generated, read_completions
from mopd.runs.progress import ProgressDisplay

Rewards = Mapping[tuple[str, VerdictKind], list[float]]
"""(domain, kind) -> the rewards of the completions that got it."""


@dataclass(frozen=True)
class Judged:
    """The rewards of given completions and, where reward functions judged, the figures of each."""

    rewards: Rewards
    functions: tuple[FunctionFigures, ...] = ()


def verify_completions(
    path: str, config: Config, out: Path | None = None, quiet: bool = False, resume: bool = False
) -> Judged:
    """The rewards of the completions in a file, judged by reward functions where there are any, else by verifiers.

    `out` gets one JSON object a line for each record, in order, each written as soon as it and those before it are
    judged: `idx`, `reward`, `kind`, `answer`, `feedback`, and `details` from reward functions. A record at fault gets
    kind `error`, with why. With `resume` the lines that are there already are kept, and judging goes on behind them.
    Raises MopdError.
    """
    given = read_completions(source_of(path, config), needs_answer=not config.rewards.functions)
    functions = _functions(given, config)
    lines, kept_bytes = _judged_before(out, given, functions) if resume else ([], 0)
    left = given[len(lines) :]
    with (
        line_writer(out, [path], kept_bytes) as write,
        ProgressDisplay(quiet).phase("verify", len(left)) as phase,
        closing(_verdicts(left, functions, config.success_reward)) as verdicts,
    ):
        for one, verdict in zip(left, verdicts, strict=True):
            lines.append(_described(one, verdict, functions is not None))
            write(lines[-1])
            phase.advance()
    rewards: dict[tuple[str, VerdictKind], list[float]] = {}
    for one, line in zip(given, lines, strict=True):
        rewards.setdefault((_domain(one), line["kind"]), []).append(line["reward"])
    return Judged(rewards, function_figures(functions, [line["details"] for line in lines]) if functions else ())


def _functions(given: Sequence[GivenCompletion], config: Config) -> RewardFunctions | None:
    """The reward functions that judge; None where verifiers do, which are then set up."""
    problems = [one.problem for one in given if one.problem]
    judge = make_judge(config, ProblemSet(tuple(problems), ()))
    if isinstance(judge, RewardFunctions):
        check_functions(judge)
        return judge
    prepare_verifiers({problem.verifier for problem in problems}, config)
    return None


def _verdicts(
    given: Sequence[GivenCompletion], functions: RewardFunctions | None, success_reward: float
) -> Generator[Verdict, None, None]:
    if functions is not None:
        return judge_by_functions(given, functions, success_reward)
    return judge_all((one.problem or Verdict(0.0, "error", None, one.fault), one.text) for one in given)


def _domain(one: GivenCompletion) -> str:
    return one.problem.domain if one.problem else "records at fault"


def _judged_before(
    out: Path | None, given: Sequence[GivenCompletion], functions: RewardFunctions | None
) -> tuple[list[dict[str, Any]], int]:
    """The whole lines that `out` has, and their length in bytes. A last line without its end is no whole one.

    Raises ConfigError where they are not the verdicts on the first of `given`.
    """
    if out is None:
        raise ConfigError("--resume goes on with a file of verdicts", "no --json OUT", "name it")
    data = out.read_bytes() if out.exists() else b""
    whole = data[: data.rfind(b"\n") + 1]
    try:
        lines = [json.loads(line) for line in whole.splitlines()]
        same = [
            line["idx"] == one.id and line["kind"] in VERDICT_KINDS and _is_of(line, one, functions)
            for line, one in zip(lines, given, strict=False)
        ]
        is_theirs = len(lines) <= len(given) and all(same)
    except (ValueError, KeyError, TypeError, AttributeError):
        is_theirs = False
    if not is_theirs:
        must = "--resume goes on with the verdicts on this file, in its order"
        raise ConfigError(must, f"{out}, which has others", "name the right file, or leave out --resume")
    return lines, len(whole)


def _is_of(line: Mapping[str, Any], one: GivenCompletion, functions: RewardFunctions | None) -> bool:
    """Whether a line's verdict came of these reward functions, or of verifiers where there are none."""
    if functions is None:
        return "details" not in line
    return has_values_of(line["details"], functions) if one.problem else not line["details"]


def source_of(path: str, config: Config) -> SourceConfig:
    """A file or other source, read as `config` says, in place of `problems.source`. Raises ConfigError for a mix."""
    problems = config.problems
    if problems.mix:
        raise ConfigError(
            "one file is read in one way",
            f"{path}, and several ways in problems.mix",
            "set problems.mix=[] or leave it out",
        )
    keys = ["verifier", "columns", "domain"]
    keys += ["subset", "split"] if path.startswith(HUB_PREFIX) else []
    keys += ["size", "options"] if generated.find(path) is not None else []
    return SourceConfig(source=path, **{key: getattr(problems, key) for key in keys})


def prepare_judges(names: Collection[str], config: Config) -> None:
    """Set up the verifiers of this process. Raises VerifierError as they do; ConfigError for reward functions."""
    if config.rewards.functions:
        raise ConfigError(
            "junk is judged by verifiers",
            f"rewards.functions = {config.rewards.functions}",
            "set rewards.functions=[] to ask the verifiers that the problems name",
        )
    prepare_verifiers(names, config)


def _described(one: GivenCompletion, verdict: Verdict, with_details: bool) -> dict[str, Any]:
    """One verdict as a line of `--json`; `details` have each reward function's value."""
    line = {
        "idx": one.id,
        "reward": float(verdict.reward),
        "kind": verdict.kind,
        "answer": verdict.answer,
        "feedback": verdict.feedback,
    }
    return line | ({"details": dict(verdict.details)} if with_details else {})


@contextmanager
def line_writer(
    out: Path | None, sources: Sequence[str | None], kept_bytes: int = 0
) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A function that appends one line of JSON to `out` and hands it to the system at once.

    Of what `out` held, the first `kept_bytes` stay. Raises ConfigError where `out` is one of the `sources`, or where it
    cannot be written.
    """
    if out is None:
        yield lambda value: None
        return
    if out.exists() and any(source and os.path.exists(source) and os.path.samefile(out, source) for source in sources):
        raise ConfigError(
            "what is found is written to a file of its own", f"--json {out}, which is read", "name another"
        )
    try:
        with open(out, "r+" if kept_bytes else "w", encoding="ascii", buffering=1) as file:
            file.seek(kept_bytes)
            file.truncate()
            yield lambda value: print(json.dumps(value, allow_nan=False), file=file)
    except OSError as error:
        raise ConfigError(
            "--json names a file that can be written", f"{out}: {error.strerror}", "check the path"
        ) from error


def count_of(rewards: Rewards, kind: VerdictKind) -> int:
    """How many completions got a kind."""
    return sum(len(values) for (_, of_kind), values in rewards.items() if of_kind == kind)


def verdicts_table(rewards: Rewards) -> Table:
    """Counts, shares and mean rewards by kind, for each domain and for all. Grader failures are in no mean."""
    table = Table(title="verdicts", caption="mean rewards leave out rows of kind error")
    for column in ("domain", "kind", "count", "share", "mean reward"):
        table.add_column(column, justify="left" if column in ("domain", "kind") else "right")
    for domain in (*dict.fromkeys(domain for domain, _ in rewards), None):
        by_kind = {
            kind: [
                reward for (of, k), values in rewards.items() if k == kind and domain in (None, of) for reward in values
            ]
            for kind in VERDICT_KINDS
        }
        _add_section(table, "all" if domain is None else printable(domain), by_kind)
    return table


def _add_section(table: Table, title: str, by_kind: Mapping[VerdictKind, list[float]]) -> None:
    total = sum(map(len, by_kind.values()))
    for kind, values in by_kind.items():
        if values:
            mean = "-" if kind == "error" else f"{mean_or_zero(values):.3f}"
            table.add_row(title, kind, str(len(values)), f"{len(values) / total:.3f}", mean)
    judged = [reward for kind, values in by_kind.items() if kind != "error" for reward in values]
    mean = f"{mean_or_zero(judged):.3f}" if judged else "-"
    table.add_row(title, "[bold]any[/]", str(total), "1.000", f"[bold]{mean}[/]", end_section=True)


def printable(text: str) -> str:
    """Text of a file as a table shows it: no markup, and nothing that a terminal cannot write."""
    return escape(writable(text))


def writable(text: str) -> str:
    """Text with a question mark for each half of a surrogate pair, which UTF-8 cannot write."""
    return text.encode("utf-8", "replace").decode()
