"""Mutual information of codes and factors, as disentanglement_lib discretises it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from larvae.metrics.validation import require_pool, varying_factors

NUM_BINS = 20
"""Bins of equal width that a dimension's range is cut into, unless told otherwise."""


def mutual_information_matrix(
    codes: NDArray[np.floating], classes: NDArray[np.integer], num_bins: int = NUM_BINS
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mutual information [dimension, factor], (d, k), and entropy [factor], (k,), in nats.

    codes: posterior means, (n, d). classes: class indices of the factors, (n, k), non-negative.
    Raises ValueError when codes are not finite or no factor varies.
    """
    require_pool(codes, classes)
    varying_factors(classes)
    bins = discretise(codes, num_bins)
    information = np.array([[discrete_mutual_information(b, c) for c in classes.T] for b in bins.T])
    return information, np.array([discrete_mutual_information(column, column) for column in classes.T])


def mean_gap(information: NDArray[np.float64], entropies: NDArray[np.float64]) -> float:
    """The mean over factors of (I₁ − I₂)/H, I₁ and I₂ the two most informative dimensions', I₂ = 0 if there is but one.

    information: [dimension, factor], (d, k). entropies: (k,); a factor without is left out.
    """
    varies = entropies > 0
    ordered = np.sort(np.pad(information[:, varies], ((1, 0), (0, 0))), axis=0)
    return float(np.mean((ordered[-1] - ordered[-2]) / entropies[varies]))


def discretise(codes: NDArray[np.floating], num_bins: int) -> NDArray[np.int64]:
    """Bin indices (n, d) in 1..num_bins, each dimension's range cut into bins of equal width."""
    columns = [np.digitize(column, np.histogram(column, num_bins)[1][:-1]) for column in codes.T.astype(np.float64)]
    return np.stack(columns, axis=1)


def discrete_mutual_information(a: NDArray[np.integer], b: NDArray[np.integer]) -> float:
    """Mutual information in nats of two columns (n,) of non-negative integers."""
    rows, columns = int(a.max()) + 1, int(b.max()) + 1
    cells = a.astype(np.int64) * columns + b
    joint = np.bincount(cells, minlength=rows * columns).reshape(rows, columns) / len(a)
    independent = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    occupied = joint > 0
    return float(np.sum(joint[occupied] * np.log(joint[occupied] / independent[occupied])))
