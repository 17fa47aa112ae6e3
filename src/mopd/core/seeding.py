"""All randomness, as a pure function of what it is for: (seed, purpose, step, problem id, rollout index).

Nothing keeps generator state, so a checkpoint needs none and batching cannot change a result.
"""

from __future__ import annotations

import hashlib
import random


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed that depends on every part and on nothing else.

    Example: `derive_seed(0, "peers", 12, "problem-7", 3)`.
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def derive_rng(*parts: int | str) -> random.Random:
    """A `random.Random` seeded by `derive_seed(*parts)`."""
    return random.Random(derive_seed(*parts))
