"""Disentanglement, completeness and informativeness (Eastwood & Williams, 2018), as disentanglement_lib does."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr
from sklearn.ensemble import GradientBoostingClassifier

from larvae.metrics.sample import Sample
from larvae.metrics.validation import require_pools, varying_factors


class DCI(NamedTuple):
    """The three scores, each in [0, 1]."""

    disentanglement: float
    """Degree to which each dimension matters to one factor only."""
    completeness: float
    """Degree to which one dimension only matters to each factor."""
    informativeness: float
    """Accuracy with which the factors are predicted on the test pool, mean over factors."""


def scores(sample: Sample, generator: np.random.Generator) -> dict[str, float]:
    """DCI of all dimensions and all factors."""
    return {f"dci_{name}": value for name, value in dci(*sample.pools, generator)._asdict().items()}


def dci(
    codes: NDArray[np.floating],
    classes: NDArray[np.integer],
    test_codes: NDArray[np.floating],
    test_classes: NDArray[np.integer],
    generator: np.random.Generator,
) -> DCI:
    """DCI by gradient-boosted trees, which predict each factor from all dimensions.

    codes, test_codes: posterior means, (n, d) and (m, d). classes, test_classes: class indices of
    the factors, (n, k) and (m, k).
    Perfect codes reach 1 in all three, but for factors of more classes than trees can learn from n
    images. Constant codes score 0, 0 and what guessing the commonest class does.
    A factor that does not vary in the train pool is left out.
    Raises ValueError when codes are not finite, shapes do not match or no factor varies.
    """
    importances, accuracies = importance_matrix(codes, classes, test_codes, test_classes, generator)
    return DCI(disentanglement(importances), completeness(importances), float(accuracies.mean()))


def importance_matrix(
    codes: NDArray[np.floating],
    classes: NDArray[np.integer],
    test_codes: NDArray[np.floating],
    test_classes: NDArray[np.integer],
    generator: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Importance [dimension, factor], (d, k), and test accuracy [factor], (k,), of the factors that vary.

    codes, test_codes: posterior means, (n, d) and (m, d). classes, test_classes: class indices of
    the factors, (n, k) and (m, k).
    A factor's importances sum to 1, or are all 0 where no dimension helps to predict it.
    Raises ValueError when codes are not finite, shapes do not match or no factor varies.
    """
    require_pools(codes, classes, test_codes, test_classes)
    importances, accuracies = [], []
    for factor in np.flatnonzero(varying_factors(classes)):
        model = GradientBoostingClassifier(random_state=int(generator.integers(2**31)))
        model.fit(codes, classes[:, factor])
        importances.append(np.abs(model.feature_importances_))
        accuracies.append(model.score(test_codes, test_classes[:, factor]))
    return np.stack(importances, axis=1), np.array(accuracies)


def disentanglement(importances: NDArray[np.floating]) -> float:
    """Σ_i ρ_i (1 − H_k(P_i)), from importances (d, k) >= 0.

    P_i is dimension i's importance as a distribution over the k factors, H_k its entropy to base k
    and ρ_i the dimension's share of all importance. 0 where nothing matters to anything; with a
    single factor no dimension can matter to two, and the entropy is 0.
    """
    return _concentration(importances)


def completeness(importances: NDArray[np.floating]) -> float:
    """Σ_j ρ_j (1 − H_d(P_j)): disentanglement with the roles of dimensions and factors exchanged."""
    return _concentration(importances.T)


def _concentration(importances: NDArray[np.floating]) -> float:
    """Mean over rows of 1 − entropy to the base of their length, weighted by the rows' sums."""
    sums = importances.sum(axis=1)
    used = importances[sums > 0] / sums[sums > 0, None]
    if len(used) == 0:
        return 0.0
    entropies = entr(used).sum(axis=1) / np.log(max(importances.shape[1], 2))  # of a single entry it is 0 to any base
    return float(np.average(1 - entropies, weights=sums[sums > 0]))
