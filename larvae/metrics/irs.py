"""IRS, the interventional robustness score (Suter et al., 2019), as disentanglement_lib computes it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from larvae.metrics.information import NUM_BINS, discretise
from larvae.metrics.sample import Sample
from larvae.metrics.validation import require_pool, varying_factors

QUANTILE = 0.99
"""Quantile of the deviations that stands for the largest one, unless told otherwise; the paper's is 1."""


def scores(sample: Sample, _: np.random.Generator) -> dict[str, float]:
    """IRS over all dimensions and all factors."""
    return {"irs": interventional_robustness_score(sample.codes, sample.classes)}


def interventional_robustness_score(
    codes: NDArray[np.floating],
    classes: NDArray[np.integer],
    *,
    quantile: float = QUANTILE,
    num_bins: int = NUM_BINS,
) -> float:
    """The degree to which each dimension stays as it is when all factors but its own change, at most 1.

    codes: posterior means, (n, d). classes: class indices of the factors, (n, k).
    A dimension's own factor is the one given which it deviates least. The score is one less the ratio
    of that deviation to the dimension's largest from its mean over all images; it is the mean over
    dimensions, which count in proportion to their largest deviations, and so depends on their units.
    Perfect codes reach 1 and constant ones score 0. Noise does not score 0 but what its .99 quantile
    falls short of its maximum, .35 or so if it is normal. A class of one image does not deviate at all. Scores
    below 0 take classes with rare outliers on the other side of the mean over all images.

    As in the original a dimension that does not vary is left out, and the classes of a factor are put
    into bins of equal width: perfect codes score .986 on dSprites, which has more classes than bins.
    A factor that does not vary is left out; the original would let it be a dimension's own.
    Raises ValueError when codes are not finite, shapes do not match or no factor varies.
    """
    require_pool(codes, classes)
    bins = discretise(classes[:, varying_factors(classes)].astype(np.float64), num_bins)
    active = codes[:, np.ptp(codes, axis=0) > 0].astype(np.float64)
    if active.shape[1] == 0:
        return 0.0
    deviations = np.stack([_mean_deviations(active, column, quantile) for column in bins.T], axis=1)
    largest = np.abs(active - active.mean(axis=0)).max(axis=0)
    return float(np.average(1 - deviations.min(axis=1) / largest, weights=largest))


def _mean_deviations(codes: NDArray[np.float64], column: NDArray[np.integer], quantile: float) -> NDArray[np.float64]:
    """Mean over a factor's bins, from its column (n,), of the quantile of |code − the bin's mean|, (d,)."""
    groups = [codes[column == value] for value in np.unique(column)]
    return np.mean([np.quantile(np.abs(group - group.mean(axis=0)), quantile, axis=0) for group in groups], axis=0)
