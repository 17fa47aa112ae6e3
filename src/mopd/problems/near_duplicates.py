"""Near-duplicates of held-out problems among training problems: MinHash finds candidates, exact counting decides."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from mopd.core.types import Problem
from mopd.problems.split import normalise

JACCARD = 0.8
"""Two problems are near-duplicates where their shingles overlap at least so: |A and B| / |A or B|."""

SHINGLE = 5
"""Characters of a shingle of normalised text; they need no words, so every script works."""

BANDS, ROWS = 16, 4
"""Candidates agree in all rows of a band. At a Jaccard of .8 a pair is missed once in 4,600; more alike ones, less."""

CHUNK_CHARACTERS, CHUNK_PAIRS = 2**18, 256
"""Characters hashed and pairs compared at once: they bound memory and change no result."""

TABLE_BITS = 18
"""Bits of a hash that a table of one text's shingles is looked up by; more make fewer false hits."""

Hashes = npt.NDArray[np.uint64]
Shingles = tuple[Hashes, npt.NDArray[np.intp]]
"""The set of a text's shingles as sorted hashes, and their low bits."""


def near_duplicates(held_out: Sequence[Problem], train: Sequence[Problem]) -> tuple[int, tuple[str, str] | None]:
    """How many held-out problems have a near-duplicate in training, and the ids of the first such pair.

    The turns are compared without system turns, which whole data sets share. The result is a function of the problems
    alone; each pair counted has the overlap, and of problems that have one about one in 4,600 is missed at worst.
    """
    if not held_out or not train:
        return 0, None
    held_texts, train_texts = [_text(p) for p in held_out], [_text(p) for p in train]
    shingles_of = lru_cache(maxsize=20_000)(lambda index: _shingles(train_texts[index]))
    pairs = []
    for index, candidates in enumerate(_candidates(_signatures(held_texts), _signatures(train_texts))):
        match = _first_match(_shingles(held_texts[index]), candidates, shingles_of)
        if match is not None:
            pairs.append((held_out[index].id, train[match].id))
    return len(pairs), pairs[0] if pairs else None


def _text(problem: Problem) -> str:
    return "\n".join(normalise(turn["content"]) for turn in problem.messages if turn["role"] != "system")


def _mixed(values: Hashes) -> Hashes:
    """Well-spread 64-bit hashes of 64-bit numbers (the finaliser of MurmurHash3)."""
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return values ^ (values >> np.uint64(33))


def _windows(texts: Sequence[str]) -> tuple[Hashes, npt.NDArray[np.intp]]:
    """Hashes of the shingles of some texts, and where each text's begin and end (begin, end, begin, end, ...).

    A text shorter than a shingle is one, filled up with zeros.
    """
    padding = "\0" * SHINGLE
    codes = np.frombuffer((padding.join(texts) + padding).encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    hashes = np.zeros(len(codes) - SHINGLE + 1, dtype=np.uint64)
    for offset in range(SHINGLE):
        hashes = hashes * np.uint64(0x9E3779B97F4A7C15) + codes[offset : len(codes) - SHINGLE + 1 + offset]
    lengths = np.array([len(text) for text in texts])
    begins = np.cumsum(lengths + SHINGLE) - SHINGLE - lengths
    return _mixed(hashes), np.stack([begins, begins + np.maximum(1, lengths - SHINGLE + 1)], axis=1).ravel()


def _shingles(text: str) -> Shingles:
    hashes, (begin, end) = _windows([text])
    own = np.unique(hashes[begin:end])
    return own, (own & np.uint64(2**TABLE_BITS - 1)).astype(np.intp)


def _signatures(texts: Sequence[str]) -> Hashes:
    """One key a band for each text, shape (texts, BANDS): equal where the minima of the band's hashes agree."""
    drawn = _mixed(np.arange(1, 2 * BANDS * ROWS + 1, dtype=np.uint64))
    factors, terms = drawn[: BANDS * ROWS] | np.uint64(1), drawn[BANDS * ROWS :]
    parts = []
    for chunk in _chunks(texts):
        hashes, bounds = _windows(chunk)
        minima = [
            np.minimum.reduceat(hashes * factor + term, bounds)[::2]
            for factor, term in zip(factors, terms, strict=True)
        ]
        parts.append(np.stack(minima, axis=1))
    rows = np.concatenate(parts).reshape(len(texts), BANDS, ROWS)
    keys = np.zeros((len(texts), BANDS), dtype=np.uint64)
    for row in range(ROWS):
        keys = _mixed(keys + rows[:, :, row])
    return keys


def _chunks(texts: Sequence[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    characters = 0
    for text in texts:
        chunk.append(text)
        characters += len(text)
        if characters >= CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def _candidates(held: Hashes, train: Hashes) -> Iterator[npt.NDArray[np.intp]]:
    """For each held-out text the training texts, in order, that agree with it in a band."""
    orders = [np.argsort(train[:, band], kind="stable") for band in range(BANDS)]
    columns = [train[order, band] for band, order in enumerate(orders)]
    begins = [np.searchsorted(column, held[:, band], "left") for band, column in enumerate(columns)]
    ends = [np.searchsorted(column, held[:, band], "right") for band, column in enumerate(columns)]
    for index in range(len(held)):
        found = [order[begin[index] : end[index]] for order, begin, end in zip(orders, begins, ends, strict=True)]
        yield np.unique(np.concatenate(found))


def _first_match(
    shingles: Shingles, candidates: npt.NDArray[np.intp], shingles_of: Callable[[int], Shingles]
) -> int | None:
    """The first candidate with the overlap.

    A table of the own shingles' low bits bounds the overlap from above in little time; only what passes is counted.
    """
    own, low_bits = shingles
    table = np.zeros(2**TABLE_BITS, dtype=np.uint8)
    table[low_bits] = 1
    for start in range(0, len(candidates), CHUNK_PAIRS):
        chunk = [int(candidate) for candidate in candidates[start : start + CHUNK_PAIRS]]
        sets = [shingles_of(candidate) for candidate in chunk]
        lengths = np.array([len(one) for one, _ in sets])
        is_hit = table.take(np.concatenate([low for _, low in sets]))
        hits = np.add.reduceat(is_hit, np.cumsum(lengths) - lengths, dtype=np.uint32)
        may_match = hits * (1 + JACCARD) >= JACCARD * (lengths + len(own)) - 1e-6
        for at in np.flatnonzero(may_match):
            shared = len(np.intersect1d(own, sets[at][0], assume_unique=True))
            if shared >= JACCARD * (len(own) + lengths[at] - shared) - 1e-6:
                return chunk[at]
    return None
