"""Explicitness (Ridgeway & Mozer, 2018), as disentanglement_lib computes it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from larvae.metrics.sample import Sample
from larvae.metrics.validation import require_pools, varying_factors

CHANCE = 0.5
"""The area under the curve of a classifier that knows nothing."""


def scores(sample: Sample, _: np.random.Generator) -> dict[str, float]:
    """The explicitness of all dimensions in all factors."""
    return {"explicitness": explicitness(*sample.pools)}


def explicitness(
    codes: NDArray[np.floating],
    classes: NDArray[np.integer],
    test_codes: NDArray[np.floating],
    test_classes: NDArray[np.integer],
) -> float:
    """The degree to which linear classifiers of all dimensions tell the classes of each factor, in [0, 1].

    codes, test_codes: posterior means, (n, d) and (m, d). classes, test_classes: class indices of
    the factors, (n, k) and (m, k).
    A logistic regression of standardised codes is fitted to the train pool, for each factor. On the
    test pool, its probability of a class separates the class's images from the rest; the score is
    the area under the ROC curve, mean over classes and then over factors. As in the original it is
    not rescaled: perfect codes reach 1, but .987 on dSprites, where linear classifiers hardly tell a
    class from its neighbours; constant codes score .5, and noise about as much.

    The regression is multinomial, today's default of scikit-learn; it was one against the rest in
    2018. A dimension that does not vary in the train pool stays 0, where the original divides by 0.
    A factor that does not vary in the train pool is left out, and so is a class that either pool lacks
    or that is the test pool's only one. Where nothing is left to tell apart, the score is .5.
    Raises ValueError when codes are not finite, shapes do not match or no factor varies.
    """
    require_pools(codes, classes, test_codes, test_classes)
    scaler = StandardScaler().fit(codes.astype(np.float64))
    points, test_points = (scaler.transform(pool.astype(np.float64)) for pool in (codes, test_codes))
    means = []
    for factor in np.flatnonzero(varying_factors(classes)):
        model = LogisticRegression(max_iter=1000)  # the default of 100 may end before the optimum
        model.fit(points, classes[:, factor])
        areas = areas_under_curves(model.predict_proba(test_points), test_classes[:, [factor]] == model.classes_)
        if areas:
            means.append(np.mean(areas))
    return float(np.mean(means)) if means else CHANCE


def areas_under_curves(probabilities: NDArray[np.floating], is_class: NDArray[np.bool_]) -> list[float]:
    """Areas under the ROC curves of the classes that some, but not all images belong to.

    probabilities: of each class, (m, c). is_class: the image belongs to the class, (m, c).
    """
    mixed = is_class.any(axis=0) & ~is_class.all(axis=0)
    columns = zip(is_class.T[mixed], probabilities.T[mixed], strict=True)
    return [float(roc_auc_score(labels, scores)) for labels, scores in columns]
