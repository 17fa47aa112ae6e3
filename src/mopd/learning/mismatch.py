"""How far sampler and learner disagree about the tokens that were sampled, measured every step.

The sampler's log-probabilities come from other products than the learner's (another dtype, another program), and maybe
from older weights. The importance weight corrects for it token by token; what it cannot correct shows here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def mismatch_metrics(gaps: Sequence[float]) -> dict[str, float]:
    """Of each token's log s(y) - log sampler(y), in nats, before the step's first update: the mean size, the 99th
    percentile and the largest, and the effective share of tokens.

    That is Kish's effective sample size over the number of tokens, (sum r)^2 / (n sum r^2) with r = s(y) / sampler(y)
    before any cap: 1 where both agree, 1/n where one token outweighs all others. Raises ValueError without tokens.
    """
    if not gaps:
        raise ValueError("a mismatch is measured on one token at least")
    found = np.asarray(gaps, dtype=np.float64)
    sizes, ratios = np.abs(found), np.exp(found - found.max())
    return {
        "importance/logprob_gap_nats": float(sizes.mean()),
        "importance/logprob_gap_p99_nats": float(np.quantile(sizes, 0.99)),
        "importance/logprob_gap_max_nats": float(sizes.max()),
        "importance/effective_share": float(ratios.sum() ** 2 / (len(ratios) * (ratios**2).sum())),
    }
