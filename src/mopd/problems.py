"""Problems: from a JSONL file, from reasoning-gym, or generated; split by problem; taken in a seeded order."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from math import gcd
from pathlib import Path
from typing import Any

from mopd.config import ProblemsConfig
from mopd.errors import ConfigError, ProblemError
from mopd.seeding import derive_rng, derive_seed
from mopd.tool_calls import make_request
from mopd.types import Message, Problem
from mopd.verifiers import reasoning_gym_tasks

GENERATED = "sort-digits"
REASONING_GYM_PREFIX = "reasoning_gym:"

VERIFIER_OF_KIND = {"math": "math", "mcq": "multiple_choice", "exact": "exact"}
"""The verifier that `auto` takes for a record's `kind`."""

ROLES = ("system", "user", "assistant")
"""The turns a prompt may have."""


@dataclass(frozen=True)
class ProblemSet:
    """Training and held-out problems: no problem in both, and no prompt in both."""

    train: tuple[Problem, ...]
    held_out: tuple[Problem, ...]

    def take(self, step: int, count: int, seed: int) -> list[Problem]:
        """The `count` training problems of a step, all different: seeded passes over all problems, without state.

        Every pass holds every problem once, in an order of its own. Raises ProblemError where there are fewer than
        `count` training problems.
        """
        if count > len(self.train):
            raise ProblemError(
                "a step's problems are all different",
                f"{count} problems a step, {len(self.train)} training problems",
                "lower problems_per_step or add problems",
            )
        positions = (divmod(position, len(self.train)) for position in range(step * count, (step + 1) * count))
        return [self.train[_pass_order(len(self.train), count, seed, which)[index]] for which, index in positions]


@lru_cache(maxsize=4)
def _pass_order(size: int, count: int, seed: int, which: int) -> tuple[int, ...]:
    """The order of one pass over `size` problems, of which steps take `count` at a time.

    It is a seeded shuffle, changed only where a step spans two passes: the problems that this step has from the pass
    before come later in the new pass. Passes that begin with a step begin anew, so an order depends on those after
    the last such pass alone.
    """
    aligned = which - which % (count // gcd(size, count))
    order: list[int] = []
    for number in range(aligned, which + 1):
        begun = number * size % count  # problems that the step in progress has from the pass before
        taken = set(order[size - begun :]) if begun else set()
        order = list(range(size))
        derive_rng(seed, "problem order", number).shuffle(order)
        first = dict.fromkeys(islice((i for i in order if i not in taken), count - begun if begun else 0))
        order = [*first, *(i for i in order if i not in first)]
    return tuple(order)


def load_problems(config: ProblemsConfig) -> ProblemSet:
    """The configured problems, split. Raises ProblemError or ConfigError naming file, line and field.

    Problems with the same prompt stay together, whatever their references: what is trained on is never held out.
    Then fewer than `held_out` problems may be held out, where no group of them fits what remains.
    """
    problems = _read(config)
    if len(problems) <= config.held_out:
        raise ProblemError(
            f"problems remain for training after {config.held_out} are held out",
            f"{len(problems)} problems in {config.source}",
            "lower problems.held_out or add problems",
        )
    held_out = _held_out(problems, config.held_out, config.seed)
    if config.held_out and not held_out:
        raise ProblemError(
            "some problems can be held out whose prompts are not trained on",
            f"{len(problems)} problems in {config.source}, all with prompts that more than {config.held_out} share",
            "raise problems.held_out or remove repeated problems",
        )
    held = {problem.id for problem in held_out}
    return ProblemSet(train=tuple(p for p in problems if p.id not in held), held_out=tuple(held_out))


def _held_out(problems: Sequence[Problem], count: int, seed: int) -> list[Problem]:
    """Up to `count` problems, drawn by prompt: all problems of a prompt or none."""
    by_prompt: dict[str, list[Problem]] = {}
    for problem in problems:
        by_prompt.setdefault(json.dumps(problem.messages), []).append(problem)
    together = list(by_prompt.values())
    derive_rng(seed, "held-out split").shuffle(together)
    held_out: list[Problem] = []
    for alike in together:
        if len(held_out) + len(alike) <= count:
            held_out += alike
    return held_out


def _read(config: ProblemsConfig) -> list[Problem]:
    if config.source == GENERATED:
        return _sort_digits(config)
    if config.source.startswith(REASONING_GYM_PREFIX):
        return _reasoning_gym(config)
    if config.source == "tool-calls":
        return _tool_calls(config)
    if config.options:
        raise ConfigError("problems.options belong to a generated source", f"a file, {config.source}", "remove them")
    return list(read_jsonl(Path(config.source), config.verifier))


# --- generated problems ---------------------------------------------------------------------------------------------


def _sort_digits(config: ProblemsConfig) -> list[Problem]:
    """Distinct strings of `length` digits (option, default 8); the answer is the same digits in ascending order."""
    options = dict(config.options)
    length = options.pop("length", 8)
    if options or type(length) is not int or not 1 <= length <= 32:
        raise ConfigError(
            "sort-digits has one option, length, from 1 to 32", repr(config.options), "mend problems.options"
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
    # Entry i is made from seed + i: derived seeds lie so far apart that sets of seeds 0 and 1 share no problems by it.
    seed = derive_seed(config.seed, "reasoning-gym", name) % 2**31
    entries = reasoning_gym_tasks.generate(name, seed, config.size, config.options)
    made_from = {"task": name, "seed": seed, "size": config.size, "options": config.options}
    problems: dict[str, Problem] = {}
    for entry in entries:  # small tasks repeat themselves; one question is one problem
        problems.setdefault(
            entry["question"],
            Problem(
                id=f"{name}-{config.seed}-{entry['index']}",
                messages=(Message(role="user", content=entry["question"]),),
                reference=entry["answer"],
                verifier="reasoning_gym",
                domain=name,
                columns=made_from | {"index": entry["index"]},
            ),
        )
    return list(problems.values())


def _tool_calls(config: ProblemsConfig) -> list[Problem]:
    rng = derive_rng(config.seed, "tool-calls")
    made: dict[str, str] = {}
    while len(made) < config.size:
        prompt, reference = make_request(rng)
        made.setdefault(prompt, reference)
    return [
        Problem(f"tool-calls-{config.seed}-{i}", (Message(role="user", content=p),), r, "tool_use", "tool-calls")
        for i, (p, r) in enumerate(made.items())
    ]


# --- problem files --------------------------------------------------------------------------------------------------


def read_jsonl(path: Path, verifier: str = "auto") -> Iterator[Problem]:
    """Problems of a JSONL file, one object a line.

    Fields: `prompt` (text or list of messages), `answer`, and optionally `id` (or `idx`; else the line number),
    `system` (text), `kind` (names the verifier under `auto`), `domain` (or `dataset`). All other fields are kept as
    columns. Raises ProblemError naming file, line and field.
    """
    line_of_id: dict[str, int] = {}
    for number, line in enumerate(_read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        problem = _parse_line(line, f"{path}, line {number}", number, verifier)
        if problem.id in line_of_id:
            raise ProblemError(
                "every problem has an id of its own",
                f"id {problem.id!r} in lines {line_of_id[problem.id]} and {number} of {path}",
                "rename or remove one of them",
            )
        line_of_id[problem.id] = number
        yield problem
    if not line_of_id:
        raise ProblemError("a problem file holds at least one problem", f"{path} is empty", "check problems.source")


def _read_text(path: Path) -> str:
    must = "a problem file exists and is UTF-8 text"
    try:
        data = path.read_bytes()
        return data.decode("utf-8-sig")  # a byte order mark, as some editors write it, is no part of the text
    except OSError as error:
        raise ProblemError(must, f"{path}: {error.strerror}", "check problems.source") from error
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        where = f"{path}, line {number}"
        raise ProblemError(must, f"{where}: {error.reason}", "save the file as UTF-8") from error


def _parse_line(line: str, where: str, number: int, verifier: str) -> Problem:
    must = "every line of a problem file is one JSON object"
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ProblemError(must, f"{where}: {error}", "mend the line") from error
    if not isinstance(record, dict):
        raise ProblemError(must, f"{where}: {type(record).__name__}", "mend the line")
    known = {"id", "idx", "prompt", "system", "answer", "kind", "domain", "dataset"}
    return Problem(
        id=_id(record, where, number),
        messages=_messages(record, where),
        reference=_reference(record, where),
        verifier=_verifier_name(record, where) if verifier == "auto" else verifier,
        domain=str(record.get("domain") or record.get("dataset") or "default"),
        columns={key: value for key, value in record.items() if key not in known},
    )


def _id(record: dict[str, Any], where: str, number: int) -> str:
    field = next((name for name in ("id", "idx") if record.get(name) is not None), None)
    if field is None:
        return str(number)
    given = record[field]
    if _is_text(given) or (isinstance(given, int | float) and not isinstance(given, bool)):
        return str(given)
    raise _field_error(where, field, "text or a number", given)


def _messages(record: dict[str, Any], where: str) -> tuple[Message, ...]:
    prompt, system = record.get("prompt"), record.get("system")
    if not (system is None or isinstance(system, str)) or (isinstance(system, str) and not _is_unicode(system)):
        raise _field_error(where, "system", "text or null", system)
    turns = [Message(role="system", content=system)] if system and system.strip() else []
    if isinstance(prompt, str) and _is_text(prompt):
        return (*turns, Message(role="user", content=prompt))
    if not isinstance(prompt, list) or not prompt or not all(_is_message(turn) for turn in prompt):
        roles = ", ".join(ROLES)
        raise _field_error(where, "prompt", f"text, or a list of {{role, content}} with roles {roles}", prompt)
    if prompt[-1]["role"] != "user":
        raise _field_error(where, "prompt", "a list that ends with a user turn", f"last turn: {prompt[-1]['role']}")
    if turns and any(turn["role"] == "system" for turn in prompt):
        raise _field_error(where, "system", "absent where the prompt has a system turn of its own", system)
    return (*turns, *(Message(role=turn["role"], content=turn["content"]) for turn in prompt))


def _is_message(turn: Any) -> bool:
    return isinstance(turn, dict) and turn.get("role") in ROLES and _is_text(turn.get("content"))


def _is_text(value: Any) -> bool:
    """True for text that holds more than white space and that UTF-8 can write."""
    return isinstance(value, str) and bool(value.strip()) and _is_unicode(value)


def _is_unicode(text: str) -> bool:
    """False for half of a surrogate pair, which JSON can spell and no tokenizer can read."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _reference(record: dict[str, Any], where: str) -> str:
    answer = record.get("answer")
    text = answer if isinstance(answer, str) else json.dumps(answer)
    if answer is None or not _is_text(text):
        raise _field_error(where, "answer", "the problem's gold answer", answer)
    return text


def _verifier_name(record: dict[str, Any], where: str) -> str:
    kind = "exact" if record.get("kind") is None else record["kind"]
    if not isinstance(kind, str) or kind not in VERIFIER_OF_KIND:
        raise _field_error(where, "kind", f"one of {', '.join(VERIFIER_OF_KIND)} (or set problems.verifier)", kind)
    return VERIFIER_OF_KIND[kind]


def _field_error(where: str, field: str, must: str, got: Any) -> ProblemError:
    shown = "nothing" if got is None else repr(got)[:120]
    return ProblemError(f"field {field!r} is {must}", f"{shown} in {where}", "mend the record")
