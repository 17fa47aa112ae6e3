"""How much the completions of one problem differ from one another. Pure: lists of texts to numbers.

Tokens are words (runs of letters, digits and underscores) and other visible characters one by one: white space alone
would take `f(x)` for one word, and a model's own tokens would make models incomparable. Every measure is None where
there are too few texts for it, never 0.
"""

from __future__ import annotations

import ast
import math
import re
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

from mopd.core.statistics import mean_or_zero
from mopd.verifiers.code_blocks import last_block

Gram = tuple[str, ...]

_TOKEN = re.compile(r"\w+|[^\w\s]")

BLEU_ORDER = 4
SMOOTHED = 0.1
"""What an n-gram precision without a match counts as matches, so that its logarithm exists (Chen and Cherry 2014,
method 1)."""


def tokens_of(text: str) -> tuple[str, ...]:
    """Words, and other visible characters one by one."""
    return tuple(_TOKEN.findall(text))


def distinct(texts: Sequence[str], n: int) -> float | None:
    """Distinct-n (Li et al. 2016, arXiv 1510.03055): different n-grams over all n-grams of all texts together.

    0 to 1, higher is more diverse. None where no text has n tokens.
    """
    grams = [gram for text in texts for gram in _grams(tokens_of(text), n)]
    return len(set(grams)) / len(grams) if grams else None


def self_bleu(texts: Sequence[str]) -> float | None:
    """Self-BLEU-4 (Zhu et al. 2018, arXiv 1802.01886): the mean BLEU of each text with the others as references.

    0 to 1, higher is less diverse. BLEU is Papineni et al.'s (2002): clipped n-gram precisions up to 4, their geometric
    mean, and a penalty for texts shorter than the reference of the nearest length (of two, the shorter). Of a text with
    fewer than 4 tokens its own length is the highest order: equal texts have 1 however short they are. None for fewer
    than two texts with a token.
    """
    tokens = [found for text in texts if (found := tokens_of(text))]
    if len(tokens) < 2:
        return None
    tables = [[Counter(_grams(one, n)) for one in tokens] for n in range(1, BLEU_ORDER + 1)]
    most = [_two_most(of_order) for of_order in tables]
    lengths = sorted(map(len, tokens))
    return mean_or_zero([_bleu(i, len(one), tables, most, lengths) for i, one in enumerate(tokens)])


def _two_most(tables: Sequence[Counter[Gram]]) -> dict[Gram, tuple[int, int, int]]:
    """Of each n-gram: the text that has it most often, how often, and how often the next one has it."""
    found: dict[Gram, tuple[int, int, int]] = {}
    for index, table in enumerate(tables):
        for gram, count in table.items():
            whose, first, second = found.get(gram, (-1, 0, 0))
            found[gram] = (index, count, first) if count > first else (whose, first, max(second, count))
    return found


def _bleu(
    index: int,
    length: int,
    tables: Sequence[Sequence[Counter[Gram]]],
    most: Sequence[Mapping[Gram, tuple[int, int, int]]],
    lengths: Sequence[int],
) -> float:
    """BLEU of one text against all others, from counts of all: the others' most is the second where it has the most."""
    orders = range(min(BLEU_ORDER, length))
    logs = 0.0
    for order in orders:
        matched = 0
        for gram, count in tables[order][index].items():
            whose, first, second = most[order][gram]
            matched += min(count, second if whose == index else first)
        logs += math.log((matched or SMOOTHED) / (length - order))
    others = list(lengths)
    others.remove(length)
    nearest = min(others, key=lambda other: (abs(other - length), other))
    penalty = 1.0 if length > nearest else math.exp(1 - nearest / length)
    return penalty * math.exp(logs / len(orders))


def text_distance(texts: Sequence[str]) -> float | None:
    """The mean over pairs of texts of their edit distance in tokens (Levenshtein 1966), over the longer one's tokens.

    0 (all equal) to 1 (nothing in common), higher is more diverse. Two texts without a token are equal. None for fewer
    than two texts.
    """
    counted = Counter(tokens_of(text) for text in texts)
    total = len(texts) * (len(texts) - 1) // 2
    if not total:
        return None
    apart = sum(
        counted[a] * counted[b] * edit_distance(a, b) / max(len(a), len(b)) for a, b in combinations(counted, 2)
    )
    return apart / total


def edit_distance(first: Sequence[str], second: Sequence[str]) -> int:
    """Levenshtein's distance: insertions, deletions and substitutions of one token each.

    A column of the table of distances is held as the bits of an integer (Myers 1999; Hyyro 2003), so that a step over
    one token of `second` is a few operations on whole integers.
    """
    if not first or not second:
        return max(len(first), len(second))
    places: dict[str, int] = {}
    for index, token in enumerate(first):
        places[token] = places.get(token, 0) | 1 << index
    every, last = (1 << len(first)) - 1, 1 << (len(first) - 1)
    up, down, distance = every, 0, len(first)
    for token in second:
        equal = places.get(token, 0)
        straight = equal | down
        across = (((equal & up) + up) ^ up) | equal
        right_up, right_down = down | ~(across | up) & every, up & across
        distance += bool(right_up & last) - bool(right_down & last)
        right_up = right_up << 1 | 1
        right_down <<= 1
        up, down = (right_down | ~(straight | right_up)) & every, right_up & straight & every
    return distance


def unique_ratio(texts: Sequence[str]) -> float | None:
    """Different texts over texts, white space at their ends aside: 1/n (all equal) to 1. None for no text."""
    return len({text.strip() for text in texts}) / len(texts) if texts else None


def ast_jaccard(texts: Sequence[str]) -> float | None:
    """Of completions with a Python program in a fenced block, which parses: how alike the programs are.

    The mean over pairs of the Jaccard index of their multisets of kinds of nodes of the abstract syntax tree (sum of
    the smaller counts over sum of the larger): 0 to 1, higher is less diverse; names and values do not count. None for
    fewer than two such completions.
    """
    kinds = [found for text in texts if (found := _node_kinds(text)) is not None]
    if len(kinds) < 2:
        return None
    return mean_or_zero([(a & b).total() / (a | b).total() for a, b in combinations(kinds, 2)])


def _node_kinds(text: str) -> Counter[str] | None:
    """How often the program of a completion has each kind of node; None where there is no program that parses."""
    program = last_block(text)
    if program is None or not program.strip():
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in strings that a model wrote
            tree = ast.parse(program)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return Counter(type(node).__name__ for node in ast.walk(tree))


def _grams(tokens: Sequence[str], n: int) -> list[Gram]:
    return [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]


DIVERSITY: Mapping[str, Callable[[Sequence[str]], float | None]] = {
    "self_bleu_4": self_bleu,
    "distinct_1": lambda texts: distinct(texts, 1),
    "distinct_2": lambda texts: distinct(texts, 2),
    "text_distance": text_distance,
    "unique_ratio": unique_ratio,
    "ast_jaccard": ast_jaccard,
}
"""The measures under the names that files call them by. Self-BLEU and the Jaccard index fall as diversity rises."""


def diversity_of(texts: Sequence[str]) -> dict[str, float | None]:
    """All measures of the completions of one problem."""
    return {name: measure(texts) for name, measure in DIVERSITY.items()}
