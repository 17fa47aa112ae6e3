"""Agreement with outside oracles: TRL's self-distillation losses, scikit-learn, scipy, and plain enumeration."""

import itertools
import math
import os
from statistics import fmean

import numpy as np
import pytest
import torch

from mopd.config import DivergenceConfig
from mopd.core.statistics import auc, bootstrap_interval, pass_at_k
from mopd.method.divergence import sampled_reverse_kl, token_divergence
from mopd.method.objective import TokenBatch, sampler_weights, token_losses
from mopd.method.predictions import Predictions
from tests.builders import make_config, support_of

ALPHAS = [0.0, 0.1, 0.3, 0.5, 0.9, 1.0]
PRECISIONS = [(torch.float64, 1e-10), (torch.float32, 2e-5)]
TOKENS, VOCABULARY = 12, 23


@pytest.fixture(scope="module")
def trl():
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    return pytest.importorskip("trl.experimental.sdpo.loss_utils", reason="trl 1.16 is not installed")


def config_of(alpha, **support):
    """TRL's one float as a configuration of ours."""
    kind = {0.0: "forward_kl", 1.0: "reverse_kl"}.get(alpha, "jensen_shannon")
    return DivergenceConfig(kind=kind, weight=alpha if kind == "jensen_shannon" else 0.5, **support)


def random_logits(dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    return (1.5 * torch.randn(TOKENS, VOCABULARY, generator=generator, dtype=torch.float64)).to(dtype)


def random_ids():
    return torch.randint(VOCABULARY, (TOKENS,), generator=torch.Generator().manual_seed(9))


def assert_same_loss(ours, theirs, dtype, tolerance):
    """Both losses of (student logits, teacher logits): equal values and equal gradients in the student's logits."""
    results = []
    for loss in (ours, theirs):
        student = random_logits(dtype, seed=1).requires_grad_()
        values = loss(student, random_logits(dtype, seed=2))
        weights = torch.linspace(0.5, 2.0, TOKENS, dtype=dtype)  # so that no two tokens' gradients can be exchanged
        (gradient,) = torch.autograd.grad((values * weights).sum(), student)
        results.append((values.detach(), gradient))
    (our_values, our_gradient), (their_values, their_gradient) = results
    assert their_gradient.abs().max() > 1e-3
    torch.testing.assert_close(our_values, their_values, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(our_gradient, their_gradient, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
@pytest.mark.parametrize("alpha", ALPHAS)
def test_divergences_of_log_probabilities_equal_trls(trl, alpha, dtype, tolerance):
    def ours(student, teacher):
        return token_divergence(
            Predictions(student.log_softmax(-1)), Predictions(teacher.log_softmax(-1)), config_of(alpha, support="full")
        )

    def theirs(student, teacher):
        return trl.compute_divergence(student.log_softmax(-1), teacher.log_softmax(-1), alpha)

    assert_same_loss(ours, theirs, dtype, tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
@pytest.mark.parametrize("alpha", ALPHAS)
def test_full_vocabulary_losses_equal_trls(trl, alpha, dtype, tolerance):
    def ours(student, teacher):
        return token_divergence(
            Predictions(student.log_softmax(-1)), Predictions(teacher.log_softmax(-1)), config_of(alpha, support="full")
        )

    def theirs(student, teacher):
        return trl.compute_full_logit_self_distillation_loss(student, teacher, distillation_alpha=alpha)

    assert_same_loss(ours, theirs, dtype, tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
@pytest.mark.parametrize("tail", [True, False])
@pytest.mark.parametrize("k", [2, 7, 15])
@pytest.mark.parametrize("alpha", ALPHAS)
def test_top_k_losses_equal_trls(trl, alpha, k, tail, dtype, tolerance):
    def ours(student, teacher):
        return token_divergence(
            Predictions(student.log_softmax(-1)), Predictions(teacher.log_softmax(-1)), config_of(alpha, k=k, tail=tail)
        )

    def theirs(student, teacher):
        return trl.compute_topk_self_distillation_loss(
            student, teacher, distillation_topk=k, distillation_alpha=alpha, distillation_add_tail=tail
        )

    assert_same_loss(ours, theirs, dtype, tolerance)


@pytest.mark.parametrize("k", [1, 7, 15])
@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
def test_the_tail_bucket_equals_trls(trl, k, dtype, tolerance):
    logprobs = random_logits(dtype, seed=1).log_softmax(-1)
    ours, _ = support_of(logprobs, logprobs, k)
    torch.testing.assert_close(ours, trl.add_tail_bucket(logprobs.topk(k).values), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
def test_sampled_token_losses_equal_trls(trl, dtype, tolerance):
    ids = random_ids()

    def ours(student, teacher):
        sampled = [side.log_softmax(-1).gather(-1, ids[:, None]).squeeze(-1) for side in (student, teacher)]
        return sampled_reverse_kl(*sampled)

    def theirs(student, teacher):
        return trl.compute_sampled_token_self_distillation_loss(student, teacher, ids, distillation_alpha=1.0)

    assert_same_loss(ours, theirs, dtype, tolerance)


def token_batch(student_logits, teacher_logits, ids, first_shift, sampler_shift):
    """Tokens whose first and sampler log-probabilities lie `shift` below the student's present ones."""
    logprobs = student_logits.log_softmax(-1)
    sampled = logprobs.detach().gather(-1, ids[:, None]).squeeze(-1)
    first = sampled - first_shift
    student, teacher = Predictions(student_logits), Predictions(teacher_logits)
    return TokenBatch(student, ids, student.of(ids), first - sampler_shift, first, torch.ones(len(ids)), teacher)


@pytest.mark.parametrize("cap", [1.0, 2.0, 5.0])
def test_sampler_weights_equal_trls_importance_clipping(trl, cap):
    shifts = torch.linspace(-30, 30, TOKENS, dtype=torch.float64)
    logits = random_logits(torch.float64, seed=1)
    batch = token_batch(logits, logits, random_ids(), torch.zeros_like(shifts), shifts)
    ones = torch.ones_like(shifts)
    theirs = trl.apply_importance_sampling_clipping(ones, batch.old_logprobs, batch.sampler_logprobs, cap)
    torch.testing.assert_close(sampler_weights(batch, cap), theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
@pytest.mark.parametrize("alpha", ALPHAS)
def test_reused_batches_are_weighted_as_trl_weighs_old_logprobs(trl, alpha, dtype, tolerance):
    ids, shift = random_ids(), torch.linspace(-2, 2, TOKENS, dtype=dtype)
    divergence = config_of(alpha, k=7)
    config = make_config(
        f"divergence.kind='{divergence.kind}'", f"divergence.weight={divergence.weight}", "divergence.k=7"
    )

    def ours(student, teacher):
        return token_losses(token_batch(student, teacher, ids, shift, torch.zeros_like(shift)), config)

    def theirs(student, teacher):
        losses = trl.compute_topk_self_distillation_loss(
            student, teacher, distillation_topk=7, distillation_alpha=alpha, distillation_add_tail=True
        )
        sampled = student.log_softmax(-1).gather(-1, ids[:, None]).squeeze(-1)
        return trl.apply_importance_sampling_clipping(
            losses, sampled, sampled.detach() - shift, config.optimizer.importance_cap
        )

    assert_same_loss(ours, theirs, dtype, tolerance)


@pytest.mark.parametrize("seed", range(10))
def test_auc_with_ties_equals_scikit_learns(seed):
    roc_auc_score = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed").roc_auc_score
    rng = np.random.default_rng(seed)
    scores, labels = rng.integers(0, 6, 40) / 3, np.arange(40) % 3 == 0
    assert auc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_auc_is_the_mann_whitney_statistic_per_pair(seed):
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")
    rng = np.random.default_rng(seed)
    scores, labels = rng.integers(0, 9, 30), rng.random(30) < 0.4
    statistic = stats.mannwhitneyu(scores[labels], scores[~labels]).statistic
    assert auc(scores, labels) == pytest.approx(statistic / (labels.sum() * (~labels).sum()), abs=1e-12)


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_bootstrap_intervals_are_near_scipys_percentile_intervals(level):
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")
    values = np.random.default_rng(0).exponential(size=60)
    ours = bootstrap_interval(values, level)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=4000, confidence_level=level, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert ours == pytest.approx(tuple(theirs), abs=0.06 * (theirs.high - theirs.low))


@pytest.mark.parametrize("n", [1, 2, 5, 7])
def test_pass_at_k_is_the_share_of_draws_with_a_success(n):
    for c, k in itertools.product(range(n + 1), range(1, n + 1)):
        drawn = [any(attempt < c for attempt in draw) for draw in itertools.combinations(range(n), k)]
        assert pass_at_k(n, c, k) == pytest.approx(fmean(drawn), abs=1e-12)
        assert len(drawn) == math.comb(n, k)
