"""Generated problems: sort-digits, tool-calls, and every task of reasoning-gym."""

from __future__ import annotations

from collections.abc import Callable

from mopd.config import SourceConfig
from mopd.core.errors import ConfigError
from mopd.core.seeding import derive_rng, derive_seed
from mopd.core.types import Message, Problem
from mopd.problems.tool_calls import TOOLS, make_request
from mopd.verifiers import reasoning_gym_tasks

Generator = Callable[[SourceConfig, int], list[Problem]]
"""Makes `size` problems from a source's options and the seed of the problems."""

REASONING_GYM_PREFIX = "reasoning_gym:"

TOOL_CALLS_LIMIT = 10_000
"""Requests are drawn until enough are distinct; this many are had without drawing long."""


def find(source: str) -> Generator | None:
    """The generator that a source names; None for a file or data set."""
    return _reasoning_gym if source.startswith(REASONING_GYM_PREFIX) else GENERATED.get(source)


def _sort_digits(source: SourceConfig, seed: int) -> list[Problem]:
    """Distinct strings of `length` digits (option, default 8); the answer is the same digits in ascending order."""
    options = dict(source.options)
    length = options.pop("length", 8)
    if options or type(length) is not int or not 1 <= length <= 32:
        raise ConfigError(
            "sort-digits has one option, length, from 1 to 32", f"options = {source.options!r}", "mend problems.options"
        )
    if source.size > 10**length // 2:
        raise ConfigError(
            "there are at least twice as many digit strings as problems asked for",
            f"size {source.size} with {length} digits",
            "lower problems.size or raise the length",
        )
    rng = derive_rng(seed, "sort-digits", length)
    prompts: dict[str, None] = {}
    while len(prompts) < source.size:
        prompts["".join(rng.choice("0123456789") for _ in range(length))] = None
    verifier = "exact" if source.verifier == "auto" else source.verifier
    return [
        Problem(f"sort-digits-{p}", (Message(role="user", content=p),), "".join(sorted(p)), verifier, "sort-digits")
        for p in prompts
    ]


def _tool_calls(source: SourceConfig, seed: int) -> list[Problem]:
    """Distinct requests, each to be written as one call of a tool.

    The option `tools` says where the tools are listed: `prompt` (default), or `template`, which leaves it to the chat
    template and `chat.options.tools`.
    """
    listed = source.options.get("tools", "prompt")
    if source.options.keys() - {"tools"} or listed not in ("prompt", "template"):
        raise ConfigError(
            'tool-calls has one option, tools, "prompt" or "template"',
            f"options = {source.options!r}",
            "mend problems.options",
        )
    if source.size > TOOL_CALLS_LIMIT:
        raise ConfigError(
            f"tool-calls makes at most {TOOL_CALLS_LIMIT} problems",
            f"tool-calls with size {source.size}",
            "lower problems.size",
        )
    rng = derive_rng(seed, "tool-calls")
    made: dict[str, str] = {}
    while len(made) < source.size:
        request, reference = make_request(rng)
        made.setdefault(request if listed == "template" else f"{TOOLS}\n\n{request}", reference)
    verifier = "tool_use" if source.verifier == "auto" else source.verifier
    return [
        Problem(f"tool-calls-{seed}-{i}", (Message(role="user", content=p),), r, verifier, "tool-calls")
        for i, (p, r) in enumerate(made.items())
    ]


def _reasoning_gym(source: SourceConfig, seed: int) -> list[Problem]:
    name = source.source.removeprefix(REASONING_GYM_PREFIX)
    if source.verifier not in ("auto", "reasoning_gym"):
        raise ConfigError(
            "reasoning-gym problems are judged by their own scorer",
            f"reasoning-gym problems with the verifier {source.verifier}",
            "use auto",
        )
    # Entry i is made from seed + i: derived seeds lie so far apart that sets of seeds 0 and 1 share no problems by it.
    gym_seed = derive_seed(seed, "reasoning-gym", name) % 2**31
    entries = reasoning_gym_tasks.generate(name, gym_seed, source.size, source.options)
    made_from = {"task": name, "seed": gym_seed, "size": source.size, "options": source.options}
    problems: dict[str, Problem] = {}
    for entry in entries:  # small tasks repeat themselves; one question is one problem
        problems.setdefault(
            entry["question"],
            Problem(
                id=f"{name}-{seed}-{entry['index']}",
                messages=(Message(role="user", content=entry["question"]),),
                reference=entry["answer"],
                verifier="reasoning_gym",
                domain=name,
                columns=made_from | {"index": entry["index"]},
            ),
        )
    return list(problems.values())


GENERATED: dict[str, Generator] = {"sort-digits": _sort_digits, "tool-calls": _tool_calls}
"""The generated sources by name; another is one more entry."""
