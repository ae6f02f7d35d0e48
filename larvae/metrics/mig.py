"""The mutual information gap (Chen et al., 2018), as disentanglement_lib computes it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from larvae.metrics.information import mean_gap, mutual_information_matrix
from larvae.metrics.sample import Sample


def scores(sample: Sample, _: np.random.Generator) -> dict[str, float]:
    """MIG over all dimensions and all factors; over y alone, and aligned, for the factors that y stands for.

    Those two are left out where none of these varies.
    """
    found = {"mig": mutual_information_gap(sample.codes, sample.classes)}
    if np.ptp(sample.label_classes, axis=0).any():
        found["mig_y"] = mutual_information_gap(sample.inferred, sample.label_classes)
        found["mig_aligned"] = aligned_mutual_information_gap(sample.codes, sample.label_classes)
    return found


def mutual_information_gap(codes: NDArray[np.floating], classes: NDArray[np.integer]) -> float:
    """MIG: the mean over factors of (I₁ − I₂)/H, I₁ and I₂ the two most informative dimensions'.

    codes: posterior means, (n, d). classes: class indices of the factors, (n, k).
    With a single dimension I₂ is 0. A factor that does not vary is left out.
    Raises ValueError when codes are not finite or no factor varies.
    """
    return mean_gap(*mutual_information_matrix(codes, classes))


def aligned_mutual_information_gap(codes: NDArray[np.floating], classes: NDArray[np.integer]) -> float:
    """MIG with dimension k held to factor k: the mean of (I(k, y_k) − the best other's)/H.

    Negative when another dimension knows more of the factor. The first k of d >= k dimensions are
    the factors' own.
    """
    information, entropies = mutual_information_matrix(codes, classes)
    if len(information) < len(entropies):
        raise ValueError(f"`codes` must have a dimension for each factor, got {len(information)} for {len(entropies)}")
    gaps = []
    for factor, entropy in enumerate(entropies):
        if entropy > 0:
            others = np.delete(information[:, factor], factor)
            gaps.append((information[factor, factor] - others.max(initial=0.0)) / entropy)
    return float(np.mean(gaps))
