"""Contrast of teachers: what a success shows and a failure does not, as a target anchored in the student, or as
evidence that shapes GRPO's advantage.

One teacher t_S reads a success, the other t_F a failure, in contexts that are the same but for the peer. What any
context does to style cancels in their ratio; what differs between a success and a failure remains
(docs/algorithm.md, section 13).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mopd.config import ContrastConfig
from mopd.method.predictions import Predictions

EVIDENCE_SCALE, EVIDENCE_WIDTH, LEAST_EVIDENCE = 0.1, 0.03, 0.02
"""Residual = scale x tanh(e / width), where it is at least so large: the published values (RLCSD, arXiv 2606.11709)."""


@torch.no_grad()
def contrast_target(
    student: Predictions, success: Predictions, failure: Predictions, rows: Bool[Tensor, " n"], config: ContrastConfig
) -> Predictions:
    """t* with log t* = log a + beta (log t_S - log t_F) - log Z over plausible tokens; all others have probability 0.

    a is the student or t_S, as `config.anchor` says; no gradient flows through it. A token is plausible where its
    probability under the mean of a and t_S is at least `alpha` times that mean's largest: without this a ratio of two
    tiny probabilities would win.

    `failure` predicts the tokens of `rows` alone; where there is no failed peer, the target is t_S.
    """
    target = success.whole()
    s, f = target[rows], failure.whole()
    a = student.whole()[rows] if config.anchor == "student" else s
    target[rows] = (a + config.beta * (s - f)).masked_fill(~_is_plausible(a, s, config.alpha), -math.inf)
    return Predictions(target)


def with_evidence(advantage: float, evidence: float) -> float:
    """GRPO's advantage at a token for which e = log t_S(y) - log t_F(y) nats speak.

    The residual .1 tanh(e / .03) is added where it is at least .02 in size. The sum never crosses 0, so that the
    verifier keeps the sign; an advantage of 0 stays 0 (RLCSD, arXiv 2606.11709).
    """
    residual = EVIDENCE_SCALE * math.tanh(evidence / EVIDENCE_WIDTH)
    if abs(residual) < LEAST_EVIDENCE or advantage == 0.0:
        return advantage
    return max(0.0, advantage + residual) if advantage > 0 else min(0.0, advantage + residual)


def _is_plausible(
    a: Float[Tensor, "n vocabulary"], s: Float[Tensor, "n vocabulary"], alpha: float
) -> Bool[Tensor, "n vocabulary"]:
    mean = torch.logaddexp(a, s)  # times 2, which the comparison does not see
    return mean >= mean.amax(-1, keepdim=True) + math.log(alpha)
