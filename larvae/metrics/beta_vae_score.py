"""The β-VAE score (Higgins et al., 2017), as disentanglement_lib computes it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from larvae.metrics.pool import Pool
from larvae.metrics.sample import Sample
from larvae.metrics.validation import require_pools, varying_factors

_CHUNK = 1000  # points at a time: 64 pairs of images of 10 dimensions each are 10 MB


def scores(sample: Sample, generator: np.random.Generator) -> dict[str, float]:
    """The β-VAE score over all dimensions and all factors."""
    return {"beta_vae_score": beta_vae_score(*sample.pools, generator)}


def beta_vae_score(
    codes: NDArray[np.floating],
    classes: NDArray[np.integer],
    test_codes: NDArray[np.floating],
    test_classes: NDArray[np.integer],
    generator: np.random.Generator,
    *,
    num_points: int = 10_000,
    num_test_points: int = 5_000,
    batch_size: int = 64,
) -> float:
    """The accuracy with which a linear classifier tells the factor that pairs of images share, in [0, 1].

    codes, test_codes: posterior means, (n, d) and (m, d). classes, test_classes: class indices of
    the factors, (n, k) and (m, k).
    A point: a factor is drawn and a batch of pairs of images, the two of a pair sharing the factor's
    value; its features are the mean |Δcode| of each dimension, its label the factor. A logistic
    regression is fitted to the train pool's points and scored on the test pool's.
    Perfect codes reach 1, and so do codes that know all factors but one; constant codes and noise
    score about 1/k, a single factor 1.

    Pairs of different images are drawn from pools that were encoded once, where the original encodes
    fresh images; on noisy codes of dSprites the scores differ by less than .005. The regression is
    multinomial, today's default of scikit-learn; it was one against the rest in 2018. Its penalty is
    fixed, so that the score depends on the codes' unit.
    A factor that does not vary in the train pool is left out.
    Raises ValueError when codes are not finite, shapes do not match or no factor varies.
    """
    require_pools(codes, classes, test_codes, test_classes)
    varies = varying_factors(classes)
    if varies.sum() == 1:
        return 1.0  # nothing to tell apart, and scikit-learn refuses a single label
    points, labels = _draw_points(codes, classes[:, varies], generator, num_points, batch_size)
    test_points, test_labels = _draw_points(test_codes, test_classes[:, varies], generator, num_test_points, batch_size)
    model = LogisticRegression(max_iter=1000)  # the default of 100 may end before the optimum
    return float(model.fit(points, labels).score(test_points, test_labels))


def _draw_points(
    codes: NDArray[np.floating],
    classes: NDArray[np.integer],
    generator: np.random.Generator,
    num_points: int,
    batch_size: int,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Features (num_points, d) and labels (num_points,)."""
    codes, pool = codes.astype(np.float64), Pool.shuffled(classes, generator)
    labels = generator.integers(classes.shape[1], size=num_points)
    points = np.empty((num_points, codes.shape[1]))
    for start in range(0, num_points, _CHUNK):
        factors = labels[start : start + _CHUNK, None]
        first = pool.draw(generator, (len(factors), batch_size))
        second = pool.others(first, factors, generator)
        points[start : start + _CHUNK] = np.abs(codes[first] - codes[second]).mean(axis=1)
    return points, labels
