"""What servers answer, read with care: a number that is no log-probability must not reach a loss."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mopd.serving.client import Unanswered

ROUNDING = 1e-3
"""A log-probability may be so far above 0, by rounding."""


@dataclass(frozen=True, slots=True)
class Written:
    """One completion: its token ids, the end token included, and the log-probability of each."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Told:
    """What a server tells of the next token at one place: the most probable ones in order, their log-probabilities,
    and that of the token that stands there."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    own_id: int
    own: float


def prompt_body(ids: Sequence[int], k: int) -> dict[str, Any]:
    """What a server is asked to tell of each token of a text, and of the k most probable ones in its place."""
    return {"prompt": list(ids), "prompt_logprobs": k, "max_tokens": 1, "temperature": 1.0, "seed": 0}


def read_completions(answer: Any, count: int, most: int, end_ids: frozenset[int], size: int) -> list[Written]:
    """The `count` completions of an answer, in order: ids below `size`, at most `most`, ended by one of `end_ids` or as
    long as they may be. Raises Unanswered for anything else."""
    try:
        choices = sorted(answer["choices"], key=lambda choice: choice["index"])
        if [choice["index"] for choice in choices] != list(range(count)):
            raise Unanswered(f"{len(choices)} completions, {count} were asked for")
        return [_written(choice, most, end_ids, size) for choice in choices]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise Unanswered(f"an answer that cannot be read ({type(error).__name__}: {error})") from error


def _written(choice: Mapping[str, Any], most: int, end_ids: frozenset[int], size: int) -> Written:
    ids = tuple(_token(token, size) for token in choice["token_ids"])
    logprobs = tuple(_logprob(value) for value in choice["logprobs"]["token_logprobs"])
    if len(ids) != len(logprobs) or not 0 < len(ids) <= most:
        raise Unanswered(f"a completion of {len(ids)} tokens with {len(logprobs)} log-probabilities, of at most {most}")
    ends = [token in end_ids for token in ids]
    if any(ends[:-1]) or (len(ids) < most and not ends[-1]):
        raise Unanswered(f"a completion of {len(ids)} tokens that goes on behind its end, or ends without one")
    return Written(ids, logprobs)


def read_prompt(answer: Any, places: Sequence[int], ids: Sequence[int], k: int, known: Collection[int]) -> list[Told]:
    """What is told of the tokens at some `places` of the prompt `ids`; of each the k most probable tokens.

    Ids that are not `known` are left out: the student has no such token. Raises Unanswered for what is no such answer.
    """
    try:
        told = answer["choices"][0]["prompt_logprobs"]
        if len(told) != len(ids):
            raise Unanswered(f"log-probabilities of {len(told)} tokens, {len(ids)} were asked for")
        return [_told(told[place], ids[place], k, known) for place in places]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise Unanswered(f"an answer that cannot be read ({type(error).__name__}: {error})") from error


def _told(entries: Mapping[str, Mapping[str, Any]], own: int, k: int, known: Collection[int]) -> Told:
    ranked = sorted((int(entry["rank"]), int(token), _logprob(entry["logprob"])) for token, entry in entries.items())
    most = [(token, logprob) for rank, token, logprob in ranked if rank <= k and token in known]
    if not 0 < len(ranked) <= k + 1 or math.fsum(math.exp(logprob) for _, logprob in most) > 1 + 10 * ROUNDING:
        raise Unanswered(f"log-probabilities of {len(ranked)} tokens that are none, or of more than were asked for")
    return Told(
        tuple(token for token, _ in most),
        tuple(logprob for _, logprob in most),
        own,
        _logprob(entries[str(own)]["logprob"]),
    )


def _token(token: Any, size: int) -> int:
    if not isinstance(token, int) or not 0 <= token < size:
        raise Unanswered(f"a token id {token!r}, where they are below {size}")
    return token


def _logprob(value: Any) -> float:
    found = float(value)
    if not found <= ROUNDING:  # also where it is no number
        raise Unanswered(f"a log-probability of {value!r}")
    return found
