"""Attention over a trie: every node attends to its own path, and to nothing else.

The trie's nodes lie in one row. A `Strategy` is a way to compute that attention; all are exact, and which is best
depends on how long the paths are and on the device (`choose_strategy`). They stand in for the model's own attention
through transformers' interface for attention functions, during a forward pass over a trie only.
"""

from mopd.scoring.attention.forward import (
    Seen,
    attending_with,
    decoder_layers,
    forward_with,
    forwards_replaced,
    inner_decoder,
    read_trie,
    recomputing,
    refuse_other_kinds,
)
from mopd.scoring.attention.strategies import STRATEGIES, choose_strategy, using_strategy

__all__ = [
    "STRATEGIES",
    "Seen",
    "attending_with",
    "choose_strategy",
    "decoder_layers",
    "forward_with",
    "forwards_replaced",
    "inner_decoder",
    "read_trie",
    "recomputing",
    "refuse_other_kinds",
    "using_strategy",
]
