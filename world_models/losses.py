"""The maths of world models: pure functions, in nats unless they say otherwise."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

LOG_TWO_PI = math.log(2 * math.pi)
SMALLEST_PROBABILITY = 1e-30


def gaussian_nll(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """`-log N(x; mean, variance)` in nats, summed over the last axis: `[..., D] -> [...]`.

    `0.5 * sum((x - mean)^2 / variance + log variance + log 2 pi)`.
    """
    squares = (x - mean).square() * (-log_variance).exp()
    return 0.5 * (squares + log_variance + LOG_TWO_PI).sum(-1)


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """`KL(N(mean, variance) || N(0, 1))` in nats of every dimension, not summed: `[..., D] -> [..., D]`.

    `0.5 * (mean^2 + variance - 1 - log variance)`.
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


def categorical_kl(p: Tensor, q: Tensor) -> Tensor:
    """`KL(p || q)` in nats of independent categoricals, summed: probabilities `[..., G, C]` to `[...]`."""
    return (p * (safe_log(p) - safe_log(q))).sum((-2, -1))


def safe_log(p: Tensor) -> Tensor:
    """`log max(p, 1e-30)`: a probability of 0, as softmax may round one, has a finite logarithm and gradient."""
    return p.clamp(min=SMALLEST_PROBABILITY).log()


def marginal_bound(bound: Tensor, log_share: Tensor) -> Tensor:
    """`sum_y q(y|x) (bound_y + log q(y|x))` in nats: `[..., K]` twice to `[...]`.

    The negative evidence lower bound without the label, from those with it (Kingma et al. 2014, equation 7). Over
    all `q` it is lowest, `-log sum_y exp(-bound_y)`, where `q` is the softmax of `-bound`.
    """
    return (log_share.exp() * (bound + log_share)).sum(-1)


def free_bits(kl: Tensor, nats: float) -> Tensor:
    """`max(kl, nats)`, step by step: below `nats`, a step `[...]` gives the posterior no reason to say less.

    Per step and not after averaging over the batch, where one number would decide for all (DreamerV3 against
    STORM).
    """
    return kl.clamp(min=nats)


def mixture_nll(x: Tensor, logits: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """`-log sum_k softmax(logits)_k N(x; mean_k, variance_k)` in nats: `x [..., D]`, `logits [..., K]` to `[...]`.

    Means and log variances are `[..., K, D]`; one choice of a component is for the whole vector.
    """
    components = -gaussian_nll(x.unsqueeze(-2), mean, log_variance)
    return -torch.logsumexp(logits.log_softmax(-1) + components, -1)


def energy_score(x: Tensor, draws: Tensor) -> Tensor:
    """`mean_i |draw_i - x| - 0.5 mean_(i != j) |draw_i - draw_j|`: `x [..., D]`, `draws [K, ..., D]` to `[...]`.

    A proper score: in expectation the lowest where draws come from where `x` does (Gneiting & Raftery 2007).
    """
    count = len(draws)
    apart = (draws - x).norm(dim=-1).mean(0)
    pairs = sum((draws - each).norm(dim=-1).sum(0) for each in draws)
    return apart - 0.5 * pairs / (count * (count - 1))


def soft_clamp(x: Tensor, low: Tensor | float, high: Tensor | float) -> Tensor:
    """Keep `x` between `low` and `high` smoothly, so that its gradient never quite vanishes (PETS, appendix A.1)."""
    x = high - softplus(high - x)
    return low + softplus(x - low)


def end_loss(logit: Tensor, terminated: Tensor, weight: Tensor | float) -> Tensor:
    """Cross-entropy of predicting the end, `[...]`; steps that are one count `weight` times."""
    positive = torch.as_tensor(weight, dtype=logit.dtype, device=logit.device)
    return binary_cross_entropy_with_logits(logit, terminated.float(), reduction="none", pos_weight=positive)


def symlog(x: Tensor) -> Tensor:
    """`sign(x) log(1 + |x|)`: large numbers made small, small ones left alone."""
    return x.sign() * x.abs().log1p()


def symexp(x: Tensor) -> Tensor:
    """Undo `symlog`."""
    return x.sign() * x.abs().expm1()


def two_hot(x: Tensor, bins: Tensor) -> Tensor:
    """Shares `[..., K]` of the two of the rising `bins [K]` around `x [...]` whose mean is `x`.

    Beyond the bins it is all of the last one.
    """
    x = x.clamp(float(bins[0]), float(bins[-1]))
    above = torch.searchsorted(bins, x.contiguous()).clamp(1, len(bins) - 1)
    low, high = bins[above - 1], bins[above]
    share = ((x - low) / (high - low)).unsqueeze(-1)
    shares = x.new_zeros(*x.shape, len(bins))
    shares.scatter_(-1, (above - 1).unsqueeze(-1), 1 - share)
    return shares.scatter_(-1, above.unsqueeze(-1), share)


def two_hot_mean(logits: Tensor, bins: Tensor) -> Tensor:
    """Mean `[...]` of the distribution `[..., K]` over bins that lie symmetrically around 0, K odd.

    Pairs of opposite bins are added first, so that equal shares give exactly 0 however far the bins reach.
    """
    weighted = logits.softmax(-1) * bins
    half = len(bins) // 2
    return (weighted[..., half + 1 :] + weighted[..., :half].flip(-1)).sum(-1)


def active_units(mean: Tensor, threshold: float = 0.01) -> int:
    """How many latent dimensions say something about their observation: `Var_x(mean) > threshold`.

    `mean [N, D]` of the posteriors of N observations (Burda et al. 2016, section 4.3). Few of many is a
    collapsed posterior.
    """
    return int((mean.var(0, correction=0) > threshold).sum())
