"""Operations of a forward pass, from shapes and a trie.

A matrix product of n tokens with a matrix of w numbers takes 2 n w operations, a multiplication and an addition each;
its backward pass takes twice as many, to its inputs and to its weights. Attention multiplies each token's queries with
the keys that it sees, and weighs their values: 4 x heads x head size for each pair of a token and one that it sees.
"""

from __future__ import annotations

from mopd.estimating.sizes import Shapes
from mopd.scoring.trie import Trie

WITH_BACKWARD = 3
"""Times the operations of a forward pass that it takes with its backward pass."""


def decoder_flops(shapes: Shapes, trie: Trie) -> int:
    """A forward pass over a trie, without the head: products and attention."""
    seen = int((trie.positions + 1).sum())
    return 2 * shapes.linear_weights * len(trie.token_ids) + attention_flops(shapes, seen)


def attention_flops(shapes: Shapes, pairs: int) -> int:
    """Attention of all layers over so many pairs of a token and one that it sees."""
    return 4 * shapes.heads * shapes.head_size * shapes.layers * pairs


def head_flops(shapes: Shapes, tokens: int) -> int:
    """The output embedding at so many tokens."""
    return 2 * shapes.head_weights * tokens
