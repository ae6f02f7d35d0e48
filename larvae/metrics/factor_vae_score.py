"""The FactorVAE score (Kim & Mnih, 2018), as disentanglement_lib computes it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from larvae.metrics.pool import Pool
from larvae.metrics.sample import Sample
from larvae.metrics.validation import require_pools, varying_factors

MIN_STANDARD_DEVIATION = 0.05
"""A dimension of which the codes spread less has collapsed to the prior and has no vote."""
_CHUNK = 1000  # votes at a time: 64 images of 10 dimensions each are 5 MB


def scores(sample: Sample, generator: np.random.Generator) -> dict[str, float]:
    """The FactorVAE score over all dimensions and all factors."""
    return {"factor_vae_score": factor_vae_score(*sample.pools, generator)}


def factor_vae_score(
    codes: NDArray[np.floating],
    classes: NDArray[np.integer],
    test_codes: NDArray[np.floating],
    test_classes: NDArray[np.integer],
    generator: np.random.Generator,
    *,
    num_votes: int = 10_000,
    num_test_votes: int = 5_000,
    batch_size: int = 64,
) -> float:
    """The accuracy with which the dimension that varies least tells the fixed factor, in [0, 1].

    codes, test_codes: posterior means, (n, d) and (m, d). classes, test_classes: class indices of
    the factors, (n, k) and (m, k).
    A vote: a factor is drawn, a value of it and a batch of images with this value; the dimension
    whose variance in the batch is smallest, relative to that in the train pool, votes for the factor.
    The train pool's votes give each dimension the factor of its majority, the test pool's are scored.
    Perfect codes reach 1; codes without a live dimension score 0, noise about 1/k.

    The original encodes 64 fresh images for each of 15,000 votes; here batches are drawn from pools
    that were encoded once. No image is twice in a batch, unless fewer share the value, so that a
    vote is distributed as a fresh one; only votes among each other are not independent. On noisy
    codes of dSprites the score is within .005 of the original's, and its standard deviation about
    twice as large at most; drawn with replacement it would be up to .04 too low.
    A factor that does not vary in the train pool is left out.
    Raises ValueError when codes are not finite, shapes do not match or no factor varies.
    """
    require_pools(codes, classes, test_codes, test_classes)
    varies = varying_factors(classes)
    variances = np.var(codes, axis=0, ddof=1, dtype=np.float64)
    active = np.sqrt(variances) >= MIN_STANDARD_DEVIATION
    if not active.any():
        return 0.0
    votes, test_votes = (
        _count_votes(pool[:, active], factors[:, varies], variances[active], generator, count, batch_size)
        for pool, factors, count in ((codes, classes, num_votes), (test_codes, test_classes, num_test_votes))
    )
    majority = votes.argmax(axis=1)  # of a dimension without votes it is the first factor
    return float(test_votes[np.arange(len(majority)), majority].sum() / num_test_votes)


def _count_votes(
    codes: NDArray[np.floating],
    classes: NDArray[np.integer],
    variances: NDArray[np.float64],
    generator: np.random.Generator,
    num_votes: int,
    batch_size: int,
) -> NDArray[np.int64]:
    """Number of votes [dimension, factor], (d, k); variances: of each dimension over the train pool, (d,)."""
    num_dimensions, num_factors = codes.shape[1], classes.shape[1]
    codes = codes.astype(np.float64)
    votes = np.zeros(num_dimensions * num_factors, np.int64)
    for start in range(0, num_votes, _CHUNK):
        size = min(_CHUNK, num_votes - start)
        factors = generator.integers(num_factors, size=size)
        pool = Pool.shuffled(classes, generator)
        images = pool.followers(pool.draw(generator, (size, 1)), factors[:, None], np.arange(batch_size))
        batches = codes[images]  # [vote, image, dimension]
        winners = np.argmin(np.var(batches, axis=1, ddof=1) / variances, axis=1)
        votes += np.bincount(winners * num_factors + factors, minlength=len(votes))
    return votes.reshape(num_dimensions, num_factors)
