"""Leak: what the nuisance z knows of the factors that the label y stands for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from larvae.metrics.information import mutual_information_matrix
from larvae.metrics.sample import Sample
from larvae.metrics.validation import varying_factors


def scores(sample: Sample, _: np.random.Generator) -> dict[str, float]:
    """The leak of each factor that y stands for and that varies, in [0, 1], and their mean; none where none varies."""
    if not np.ptp(sample.label_classes, axis=0).any():
        return {}
    varies = varying_factors(sample.label_classes)
    values = leaks(sample.nuisance, sample.label_classes[:, varies])
    names = np.array(sample.labels.names)[varies]
    by_factor = {f"leak_{name}": float(value) for name, value in zip(names, values, strict=True)}
    return {"leak": float(values.mean())} | by_factor


def leaks(nuisance: NDArray[np.floating], classes: NDArray[np.integer]) -> NDArray[np.float64]:
    """max_d I(z_d; factor)/H(factor) of each factor, (k,): MIG's mutual information, of 20 bins of equal width.

    nuisance: posterior means of z, (n, |z|); without dimensions it leaks nothing. classes: class indices of
    factors that vary, (n, k).
    As MIG it looks at means alone: a dimension counts however little its means vary beside the posterior's variance.
    Noise scores about (bins − 1)·(classes − 1)/2n nats: .01 of forty classes' entropy from 10,000 images.
    Raises ValueError when codes are not finite or no factor varies.
    """
    if nuisance.shape[1] == 0:
        return np.zeros(classes.shape[1])
    information, entropies = mutual_information_matrix(nuisance, classes)
    return np.asarray(information.max(axis=0) / entropies)
