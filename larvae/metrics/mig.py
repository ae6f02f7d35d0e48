"""The mutual information gap (Chen et al., 2018), as disentanglement_lib discretises it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def mutual_information_gap(codes: NDArray[np.floating], classes: NDArray[np.integer], num_bins: int = 20) -> float:
    """MIG: the mean over factors of (I₁ − I₂)/H, I₁ and I₂ the two most informative dimensions'.

    codes: posterior means, (n, d). classes: class indices of the factors, (n, k).
    With a single dimension I₂ is 0. A factor that does not vary is left out.
    Raises ValueError when codes are not finite or no factor varies.
    """
    information, entropies = _information_and_entropies(codes, classes, num_bins)
    varies = entropies > 0
    ordered = np.sort(np.pad(information[:, varies], ((1, 0), (0, 0))), axis=0)
    return float(np.mean((ordered[-1] - ordered[-2]) / entropies[varies]))


def aligned_mutual_information_gap(
    codes: NDArray[np.floating], classes: NDArray[np.integer], num_bins: int = 20
) -> float:
    """MIG with dimension k held to factor k: the mean of (I(k, y_k) − the best other's)/H.

    Negative when another dimension knows more of the factor. The first k of d >= k dimensions are
    the factors' own.
    """
    information, entropies = _information_and_entropies(codes, classes, num_bins)
    if len(information) < len(entropies):
        raise ValueError(f"`codes` must have a dimension for each factor, got {len(information)} for {len(entropies)}")
    gaps = []
    for factor, entropy in enumerate(entropies):
        if entropy > 0:
            others = np.delete(information[:, factor], factor)
            gaps.append((information[factor, factor] - others.max(initial=0.0)) / entropy)
    return float(np.mean(gaps))


def discretise(codes: NDArray[np.floating], num_bins: int) -> NDArray[np.int64]:
    """Bin indices (n, d) in 1..num_bins, each dimension's range cut into bins of equal width."""
    columns = [np.digitize(column, np.histogram(column, num_bins)[1][:-1]) for column in codes.T.astype(np.float64)]
    return np.stack(columns, axis=1)


def discrete_mutual_information(a: NDArray[np.integer], b: NDArray[np.integer]) -> float:
    """Mutual information in nats of two columns (n,) of non-negative integers."""
    joint = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(joint, (a, b), 1)
    joint /= len(a)
    independent = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    occupied = joint > 0
    return float(np.sum(joint[occupied] * np.log(joint[occupied] / independent[occupied])))


def _information_and_entropies(
    codes: NDArray[np.floating], classes: NDArray[np.integer], num_bins: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mutual information [dimension, factor] and entropy [factor], in nats."""
    if codes.ndim != 2 or classes.ndim != 2 or len(codes) != len(classes):
        raise ValueError(f"`codes` (n, d) and `classes` (n, k) must share n, got {codes.shape} and {classes.shape}")
    if not np.isfinite(codes).all():
        raise ValueError("`codes` must be finite, got NaN or infinity")
    entropies = np.array([discrete_mutual_information(column, column) for column in classes.T])
    if not np.any(entropies > 0):
        raise ValueError("at least one factor must vary, got constant `classes`")
    bins = discretise(codes, num_bins)
    return np.array([[discrete_mutual_information(b, c) for c in classes.T] for b in bins.T]), entropies
