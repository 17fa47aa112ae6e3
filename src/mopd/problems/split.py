"""Held-out problems: drawn by normalised prompt, from each domain in proportion."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from mopd.core.errors import ProblemError
from mopd.core.seeding import derive_rng
from mopd.core.types import Problem
from mopd.problems.order import apportion
from mopd.verifiers.code_tests import tests_object


@dataclass(frozen=True)
class SplitReport:
    """How clean a split is.

    `removed_count` training problems were removed, since their normalised prompt is held out. `near_duplicate_count`
    held-out problems have a near-duplicate in training; `near_duplicate` is one such pair, (held-out id, training id).
    `left_out` counts the records that a `record_schema` took for no problems, and problems that are too long, by
    reason. `trained_on_count` held-out problems are trained on with half of their tests: figures on them are then no
    held-out figures.
    """

    removed_count: int = 0
    near_duplicate_count: int = 0
    near_duplicate: tuple[str, str] | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)
    trained_on_count: int = 0


def normalise(text: str) -> str:
    """Text as copies of it agree: Unicode NFKC, case folded, white space collapsed."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.split())


def normalised_prompt(problem: Problem) -> str:
    """All turns of a problem, normalised, as one key; problems with the same one are never on both sides."""
    return json.dumps([(turn["role"], normalise(turn["content"])) for turn in problem.messages])


def hold_out(problems: Sequence[Problem], count: int, seed: int) -> list[Problem]:
    """Up to `count` problems, drawn by prompt: all problems of a prompt or none.

    Each domain gives its share of `count`, by its size, as far as its groups of equal prompts fit; what remains is
    drawn from all. A prompt in several domains counts for that of its first problem.
    """
    by_prompt: dict[str, list[Problem]] = {}
    for problem in problems:
        by_prompt.setdefault(normalised_prompt(problem), []).append(problem)
    together = list(by_prompt.values())
    sizes = Counter[str]()
    for alike in together:
        sizes[alike[0].domain] += len(alike)
    left = dict(zip(sizes, apportion(list(sizes.values()), count), strict=True)) if sizes else {}
    derive_rng(seed, "held-out split").shuffle(together)
    held_out: list[Problem] = []
    passed_over = []
    for alike in together:
        if len(alike) <= left[alike[0].domain]:
            left[alike[0].domain] -= len(alike)
            held_out += alike
        else:
            passed_over.append(alike)
    for alike in passed_over:
        if len(held_out) + len(alike) <= count:
            held_out += alike
    return held_out


def with_half_of_tests(problem: Problem, seed: int) -> Problem:
    """The problem to train on though it is held out: with a seeded half of its tests, rounded down, at least one.

    It has an id of its own. Raises ProblemError where its tests are not single cases.
    """
    tests = tests_object(problem.columns["tests"]) if problem.verifier == "code" else {}
    if tests.get("testtype") not in ("stdin", "functional"):
        raise ProblemError(
            "a problem of whose tests half is trained on has tests with inputs and outputs",
            f"problem {problem.id!r}: {tests.get('testtype', 'no')} tests",
            "remove problems.train_on_half_of_held_out_tests",
        )
    count = len(tests["inputs"])
    kept = sorted(derive_rng(seed, "half of the tests", problem.id).sample(range(count), max(1, count // 2)))
    half = {**tests} | {key: [tests[key][index] for index in kept] for key in ("inputs", "outputs")}
    return replace(problem, id=f"{problem.id}/half-of-tests", columns={**problem.columns, "tests": half})
