"""Held-out problems: drawn by normalised prompt, from each domain in proportion."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mopd.problems.order import apportion
from mopd.seeding import derive_rng
from mopd.types import Problem


@dataclass(frozen=True)
class SplitReport:
    """How clean a split is.

    `removed_count` training problems were removed, since their normalised prompt is held out. `near_duplicate_count`
    held-out problems have a near-duplicate in training; `near_duplicate` is one such pair, (held-out id, training id).
    `left_out` counts the records that a `record_schema` took for no problems, by reason.
    """

    removed_count: int = 0
    near_duplicate_count: int = 0
    near_duplicate: tuple[str, str] | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)


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
