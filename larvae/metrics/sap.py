"""The SAP score, separated attribute predictability (Kumar et al., 2018), as disentanglement_lib computes it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.svm import LinearSVC

from larvae.metrics.sample import Sample
from larvae.metrics.validation import require_pools, varying_factors

MIN_VARIANCE = 1e-12
"""A dimension of which the codes vary less predicts nothing."""


def scores(sample: Sample, _: np.random.Generator) -> dict[str, float]:
    """SAP over all dimensions and all factors."""
    return {"sap": sap_score(*sample.pools)}


def sap_score(
    codes: NDArray[np.floating],
    classes: NDArray[np.integer],
    test_codes: NDArray[np.floating],
    test_classes: NDArray[np.integer],
) -> float:
    """Mean over factors of how much better the best dimension predicts it than the second best, in [0, 1].

    codes, test_codes: posterior means, (n, d) and (m, d). classes, test_classes: class indices of
    the factors, (n, k) and (m, k).
    Perfect codes score 1/2 where factors are binary, as guessing makes the second best, and .248 on
    dSprites, where no classifier linear in one dimension tells apart the classes in the middle.
    With a single dimension the second best is 0. The classifier's penalty is fixed, so that the
    score depends on the codes' unit.
    A factor that does not vary in the train pool is left out.
    Raises ValueError when codes are not finite, shapes do not match or no factor varies.
    """
    return separation(accuracy_matrix(codes, classes, test_codes, test_classes))


def accuracy_matrix(
    codes: NDArray[np.floating],
    classes: NDArray[np.integer],
    test_codes: NDArray[np.floating],
    test_classes: NDArray[np.integer],
) -> NDArray[np.float64]:
    """Accuracy [dimension, factor], (d, k), with which one dimension predicts one factor on the test pool.

    codes, test_codes: posterior means, (n, d) and (m, d). classes, test_classes: class indices of
    the factors, (n, k) and (m, k).
    By a linear support vector machine, one class against the rest, classes weighted to count alike.
    A dimension without variance scores 0; disentanglement_lib gives it what guessing scores.
    Factors that do not vary in the train pool are left out.
    Raises ValueError when codes are not finite, shapes do not match or no factor varies.
    """
    require_pools(codes, classes, test_codes, test_classes)
    factors = np.flatnonzero(varying_factors(classes))
    accuracies = np.zeros((codes.shape[1], len(factors)))
    for dimension in np.flatnonzero(np.var(codes, axis=0, dtype=np.float64) >= MIN_VARIANCE):
        column = [dimension]
        for index, factor in enumerate(factors):
            # The primal of the same problem (squared hinge, L2) is solved three times as fast as its
            # dual, always converges and is not random; a state is given to leave NumPy's own alone.
            model = LinearSVC(C=0.01, class_weight="balanced", dual=False, random_state=0)
            model.fit(codes[:, column], classes[:, factor])
            accuracies[dimension, index] = model.score(test_codes[:, column], test_classes[:, factor])
    return accuracies


def separation(accuracies: NDArray[np.floating]) -> float:
    """Mean over factors of the best accuracy less the second best, from accuracies (d, k).

    With a single dimension the second best is 0.
    """
    ordered = np.sort(np.pad(accuracies, ((1, 0), (0, 0))), axis=0)
    return float(np.mean(ordered[-1] - ordered[-2]))
