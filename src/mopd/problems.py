"""Problems: from a JSONL file, from reasoning-gym, or generated; split by problem; taken in a seeded order."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mopd.config import ProblemsConfig
from mopd.errors import ConfigError, ProblemError
from mopd.seeding import derive_rng
from mopd.types import Message, Problem
from mopd.verifiers import reasoning_gym_tasks

GENERATED = "sort-digits"
REASONING_GYM_PREFIX = "reasoning_gym:"

VERIFIER_OF_KIND = {"math": "math", "mcq": "multiple_choice", "exact": "exact"}
"""The verifier that `auto` takes for a record's `kind`."""


@dataclass(frozen=True)
class ProblemSet:
    """Training and held-out problems, no problem in both."""

    train: tuple[Problem, ...]
    held_out: tuple[Problem, ...]

    def take(self, step: int, count: int, seed: int) -> list[Problem]:
        """The `count` training problems of a step: seeded passes over all problems, without state.

        A step that spans the end of a pass may not hold one problem twice; the second is left for a later pass,
        and the next problem of the order takes its place.
        """
        chosen: dict[str, Problem] = {}
        position = step * count
        while len(chosen) < count:
            problem = self._at(position, seed)
            chosen.setdefault(problem.id, problem)
            position += 1
        return list(chosen.values())

    def _at(self, position: int, seed: int) -> Problem:
        epoch, index = divmod(position, len(self.train))
        order = list(range(len(self.train)))
        derive_rng(seed, "problem order", epoch).shuffle(order)
        return self.train[order[index]]


def load_problems(config: ProblemsConfig) -> ProblemSet:
    """The configured problems, split. Raises ProblemError or ConfigError naming file, line and field."""
    problems = _read(config)
    _refuse_duplicates(problems, config.source)
    if len(problems) <= config.held_out:
        raise ProblemError(
            f"problems remain for training after {config.held_out} are held out",
            f"{len(problems)} problems in {config.source}",
            "lower problems.held_out or add problems",
        )
    order = list(range(len(problems)))
    derive_rng(config.seed, "held-out split").shuffle(order)
    held = set(order[: config.held_out])
    return ProblemSet(
        train=tuple(p for i, p in enumerate(problems) if i not in held),
        held_out=tuple(problems[i] for i in order[: config.held_out]),
    )


def _read(config: ProblemsConfig) -> list[Problem]:
    if config.source == GENERATED:
        return _sort_digits(config)
    if config.source.startswith(REASONING_GYM_PREFIX):
        return _reasoning_gym(config)
    if config.options:
        raise ConfigError("problems.options belong to a generated source", f"a file, {config.source}", "remove them")
    return list(read_jsonl(Path(config.source), config.verifier))


def _refuse_duplicates(problems: Sequence[Problem], source: str) -> None:
    seen: dict[str, int] = {}
    for number, problem in enumerate(problems, start=1):
        if problem.id in seen:
            raise ProblemError(
                "every problem has an id of its own",
                f"id {problem.id!r} for problems {seen[problem.id]} and {number} of {source}",
                "rename or remove one of them",
            )
        seen[problem.id] = number


# --- generated problems ---------------------------------------------------------------------------------------------


def _sort_digits(config: ProblemsConfig) -> list[Problem]:
    """Distinct strings of `length` digits (option, default 8); the answer is the same digits in ascending order."""
    options = dict(config.options)
    length = options.pop("length", 8)
    if options or not isinstance(length, int) or not 1 <= length <= 32:
        raise ConfigError(
            "sort-digits has one option, length, from 1 to 32", json.dumps(config.options), "mend problems.options"
        )
    if config.size > 10**length // 2:
        raise ConfigError(
            "there are at least twice as many digit strings as problems asked for",
            f"size {config.size} with {length} digits",
            "lower problems.size or raise the length",
        )
    rng = derive_rng(config.seed, "sort-digits", length)
    prompts: dict[str, None] = {}
    while len(prompts) < config.size:
        prompts["".join(rng.choice("0123456789") for _ in range(length))] = None
    verifier = "exact" if config.verifier == "auto" else config.verifier
    return [
        Problem(f"sort-digits-{p}", (Message(role="user", content=p),), "".join(sorted(p)), verifier, "sort-digits")
        for p in prompts
    ]


def _reasoning_gym(config: ProblemsConfig) -> list[Problem]:
    name = config.source.removeprefix(REASONING_GYM_PREFIX)
    if config.verifier not in ("auto", "reasoning_gym"):
        raise ConfigError(
            "reasoning-gym problems are judged by their own scorer", f"verifier {config.verifier}", "use auto"
        )
    entries = reasoning_gym_tasks.generate(name, config.seed, config.size, config.options)
    problems: dict[str, Problem] = {}
    for entry in entries:  # small tasks repeat themselves; one question is one problem
        problems.setdefault(
            entry["question"],
            Problem(
                id=f"{name}-{config.seed}-{entry['metadata'].get('source_index', len(problems))}",
                messages=(Message(role="user", content=entry["question"]),),
                reference=entry["answer"],
                verifier="reasoning_gym",
                domain=name,
                columns={"task": name, "options": config.options, "entry": entry},
            ),
        )
    return list(problems.values())


# --- problem files --------------------------------------------------------------------------------------------------


def read_jsonl(path: Path, verifier: str = "auto") -> Iterator[Problem]:
    """Problems of a JSONL file, one object a line.

    Fields: `prompt` (text or list of messages), `answer`, and optionally `id` (or `idx`; else the line number),
    `system` (text), `kind` (names the verifier under `auto`), `domain` (or `dataset`). All other fields are kept as
    columns. Raises ProblemError naming file, line and field.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProblemError(
            "a problem file exists and is UTF-8 text",
            f"{path}: {error.strerror if isinstance(error, OSError) else error}",
            "check problems.source",
        ) from error
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield _parse_line(line, f"{path}, line {number}", number, verifier)


def _parse_line(line: str, where: str, number: int, verifier: str) -> Problem:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise ProblemError(
            "every line of a problem file is one JSON object", f"{where}: {error}", "mend the line"
        ) from error
    if not isinstance(record, dict):
        raise ProblemError(
            "every line of a problem file is one JSON object", f"{where}: {type(record).__name__}", "mend the line"
        )
    known = {"id", "idx", "prompt", "system", "answer", "kind", "domain", "dataset"}
    return Problem(
        id=str(record.get("id", record.get("idx", number))),
        messages=_messages(record, where),
        reference=_reference(record, where),
        verifier=_verifier_name(record, where) if verifier == "auto" else verifier,
        domain=str(record.get("domain") or record.get("dataset") or "default"),
        columns={key: value for key, value in record.items() if key not in known},
    )


def _messages(record: dict[str, Any], where: str) -> tuple[Message, ...]:
    prompt = record.get("prompt")
    system = record.get("system")
    turns = [Message(role="system", content=system)] if isinstance(system, str) and system.strip() else []
    if isinstance(prompt, str) and prompt.strip():
        return (*turns, Message(role="user", content=prompt))
    if (
        isinstance(prompt, list)
        and prompt
        and all(_is_message(turn) for turn in prompt)
        and prompt[-1]["role"] == "user"
    ):
        return (*turns, *(Message(role=turn["role"], content=turn["content"]) for turn in prompt))
    raise _field_error(where, "prompt", "text, or a list of {role, content} that ends with a user turn", prompt)


def _is_message(turn: Any) -> bool:
    return isinstance(turn, dict) and isinstance(turn.get("role"), str) and isinstance(turn.get("content"), str)


def _reference(record: dict[str, Any], where: str) -> str | None:
    answer = record.get("answer")
    if answer is None:
        raise _field_error(where, "answer", "the problem's gold answer", None)
    return answer if isinstance(answer, str) else json.dumps(answer)


def _verifier_name(record: dict[str, Any], where: str) -> str:
    kind = record.get("kind", "exact")
    if kind not in VERIFIER_OF_KIND:
        raise _field_error(where, "kind", f"one of {', '.join(VERIFIER_OF_KIND)} (or set problems.verifier)", kind)
    return VERIFIER_OF_KIND[kind]


def _field_error(where: str, field: str, must: str, got: Any) -> ProblemError:
    shown = "nothing" if got is None else repr(got)[:120]
    return ProblemError(f"field {field!r} is {must}", f"{shown} in {where}", "mend the record")
