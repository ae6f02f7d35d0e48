"""Modularity (Ridgeway & Mozer, 2018), as disentanglement_lib computes it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from larvae.metrics.information import NUM_BINS, mutual_information_matrix
from larvae.metrics.sample import Sample
from larvae.metrics.validation import varying_factors

MIN_INFORMATION = 1e-12
"""Nats below which a dimension knows nothing: a constant one's come out as a few roundings."""


def scores(sample: Sample, _: np.random.Generator) -> dict[str, float]:
    """The modularity of all dimensions in all factors."""
    return {"modularity": modularity(sample.codes, sample.classes)}


def modularity(codes: NDArray[np.floating], classes: NDArray[np.integer], num_bins: int = NUM_BINS) -> float:
    """The degree to which each dimension informs on one factor only: the mean over dimensions, in [0, 1].

    codes: posterior means, (n, d). classes: class indices of the factors, (n, k).
    Perfect codes reach 1 but for the information that any two columns of n numbers seem to share;
    for the same reason a dimension of noise does not score 0 but what the factors' sizes make of it.
    A factor that does not vary is left out.
    Raises ValueError when codes are not finite, shapes do not match or no factor varies.
    """
    information, _ = mutual_information_matrix(codes, classes, num_bins)
    return modularity_of_information(information[:, varying_factors(classes)])


def modularity_of_information(information: NDArray[np.floating]) -> float:
    """Mean over dimensions of 1 − Σ_other I² / ((k − 1) · max I²), from mutual information (d, k) in nats.

    "Other" are all factors but the one that the dimension knows most of. A dimension that knows
    nothing scores 0; with a single factor every other one scores 1.
    """
    most = information.max(axis=1)
    informative = most >= MIN_INFORMATION
    shares = np.square(information[informative] / most[informative, None])
    others = (shares.sum(axis=1) - 1) / max(information.shape[1] - 1, 1)
    return float(np.sum(1 - others) / len(information))
