"""ℓ2: how far inferred labels are from the true ones (Section 5.1 of the paper)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from larvae.metrics.sample import Sample


def scores(sample: Sample, _: np.random.Generator) -> dict[str, float]:
    """ℓ2, and the RMSE of each factor that y stands for, in [0, 1] units."""
    inferred = expit(sample.inferred) if sample.infers_logits else sample.labels.to_unit_interval(sample.inferred)
    labels = sample.labels.to_unit_interval(sample.labels.to_labels(sample.label_classes))
    errors = root_mean_square_errors(inferred, labels)
    by_factor = {f"rmse_{name}": float(error) for name, error in zip(sample.labels.names, errors, strict=True)}
    return {"l2": label_distance(inferred, labels)} | by_factor


def label_distance(inferred: NDArray[np.floating], labels: NDArray[np.floating]) -> float:
    """Mean Euclidean distance of inferred to true labels, both (n, k) in [0, 1] units."""
    return float(np.linalg.norm(inferred - labels, axis=1).mean())


def root_mean_square_errors(inferred: NDArray[np.floating], labels: NDArray[np.floating]) -> NDArray[np.float64]:
    """RMSE of each factor's inferred label, (k,), in [0, 1] units."""
    return np.asarray(np.sqrt(np.square(inferred - labels).mean(0)))
