"""The mutual information gap by its authors' estimator (Chen et al., 2018, Section 4): of samples, not of means.

Densities are those of the aggregate posterior, q(z_j) = Σ_n q(z_j | x_n)/N, so nothing is cut into bins.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from larvae.metrics.information import mean_gap
from larvae.metrics.sample import Sample
from larvae.metrics.validation import require_pool, varying_factors

NUM_SAMPLES = 2000
"""Samples over which densities are averaged, one an image, at most; all images' posteriors make the densities."""
BLOCK = 2**17
"""Numbers that are held at a time: few enough to stay in a processor's cache."""


def scores(sample: Sample, generator: np.random.Generator) -> dict[str, float]:
    """MIG of the aggregate posterior over all dimensions and all factors."""
    log_variances = sample.on_demand.log_variances()
    return {"mig_aggregate": aggregate_mutual_information_gap(sample.codes, log_variances, sample.classes, generator)}


def aggregate_mutual_information_gap(
    means: NDArray[np.floating],
    log_variances: NDArray[np.floating],
    classes: NDArray[np.integer],
    generator: np.random.Generator,
    num_samples: int = NUM_SAMPLES,
) -> float:
    """MIG: the mean over factors of (I₁ − I₂)/H, I₁ and I₂ the two most informative dimensions', in [0, 1].

    Arguments and errors are those of `aggregate_information`. With a single dimension I₂ is 0. A factor that does not
    vary is left out. The authors leave out dSprites' shape, too.
    """
    classes = classes[:, varying_factors(classes)]
    return mean_gap(*aggregate_information(means, log_variances, classes, generator, num_samples))


def aggregate_information(
    means: NDArray[np.floating],
    log_variances: NDArray[np.floating],
    classes: NDArray[np.integer],
    generator: np.random.Generator,
    num_samples: int = NUM_SAMPLES,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """I(z_j; v_k) = H(z_j) − H(z_j | v_k), [dimension, factor], (d, k), and the factors' entropies, (k,), in nats.

    means, log_variances: of Gaussian posteriors, (n, d). classes: class indices of the factors, (n, k).
    H(z_j) is the mean of −log q(z_j) over samples of q(z | x); H(z_j | v_k) is the same with the mixture of those
    images alone that have the sampled image's class. Both are of the same samples, which cancels most of their noise,
    and I never exceeds the entropy, which is the mean of −log p(v_k) over these images. As the authors', I is cut at 0.

    Each sample's own image is part of the mixture, so narrow posteriors and few images of a class give too much: of
    noise with a standard deviation of .1 beside means' of 1, .01 of the entropy with 250 images a class, .04 with 50.
    Raises ValueError when values are not finite or shapes do not match.
    """
    require_pool(means, classes)
    require_pool(log_variances, classes)
    if means.shape != log_variances.shape:
        raise ValueError(f"`means` and `log_variances` must be alike, got {means.shape} and {log_variances.shape}")
    mean, log_variance = means.astype(np.float64), log_variances.astype(np.float64)
    chosen = generator.choice(len(means), min(num_samples, len(mean)), replace=False)
    noise = generator.standard_normal((len(chosen), mean.shape[1]))
    samples = mean[chosen] + np.exp(0.5 * log_variance[chosen]) * noise
    marginal = log_density(samples, mean, log_variance)
    information, entropies = np.empty((mean.shape[1], classes.shape[1])), np.empty(classes.shape[1])
    for factor, column in enumerate(classes.T):
        conditional, log_share = np.empty_like(marginal), np.empty(len(chosen))
        for value in np.unique(column[chosen]):
            sampled, images = column[chosen] == value, column == value
            conditional[sampled] = log_density(samples[sampled], mean[images], log_variance[images])
            log_share[sampled] = math.log(images.mean())
        information[:, factor] = (conditional - marginal).mean(axis=0)
        entropies[factor] = -log_share.mean()
    return np.maximum(information, 0), entropies


def log_density(
    samples: NDArray[np.float64], means: NDArray[np.float64], log_variances: NDArray[np.float64]
) -> NDArray[np.float64]:
    """log Σ_n N(z_j; μ_nj, σ²_nj)/n of each dimension of samples (s, d), (s, d), in nats; Gaussians (n, d) each."""
    centres, scales = np.ascontiguousarray(means.T), np.exp(-0.5 * log_variances.T)
    constants = -0.5 * (log_variances.T + math.log(2 * math.pi)) - math.log(len(means))
    result = np.empty_like(samples)
    for rows in np.array_split(np.arange(len(samples)), math.ceil(len(samples) * len(means) / BLOCK)):
        for j, column in enumerate(samples[rows].T):
            exponents = constants[j] - 0.5 * np.square((column[:, None] - centres[j]) * scales[j])  # [sample, image]
            highest = exponents.max(axis=1, keepdims=True)
            result[rows, j] = highest[:, 0] + np.log(np.exp(exponents - highest).sum(axis=1))
    return result
