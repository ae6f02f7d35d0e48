"""SAP from accuracies worked out by hand, and its ceiling on dSprites."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from larvae.metrics.sap import accuracy_matrix, sap_score, separation
from tests.larvae.representations import combinations, dsprites_pools, repeated

PAIRS = combinations(2, 2)
FIRST, SECOND = PAIRS.T
EITHER = np.maximum(FIRST, SECOND)


def test_separation_by_hand() -> None:
    for accuracies, expected in (
        ([[0.9, 0.2], [0.5, 0.6], [0.7, 0.3]], (0.2 + 0.3) / 2),
        ([[0.9, 0.2], [0.9, 0.2]], 0),
        ([[0.9, 0.5]], 0.7),  # a single dimension competes with nothing
    ):
        assert separation(np.array(accuracies)) == pytest.approx(expected, abs=1e-12)


def test_accuracies_by_hand() -> None:
    """A factor's own dimension tells it, the other's guesses, and that either is 1 errs in one of four images."""
    pools = repeated(np.column_stack([FIRST, SECOND, EITHER, np.zeros(4)]), PAIRS)
    expected = [[1, 0.5], [0.5, 1], [0.75, 0.75], [0, 0]]
    assert accuracy_matrix(*pools) == pytest.approx(np.array(expected), abs=1e-12)
    assert sap_score(*pools) == pytest.approx(1 - 0.75, abs=1e-12)


def test_rare_classes_count_as_much_as_common_ones() -> None:
    """Of three images of code 0 one is of class 0, but it is the only one of its class: 0 is predicted.

    That is right in 1 of 3 images, and in all 3 in which the code is 1. Unweighted, 5 of 6 would be right.
    """
    codes, classes = np.array([[0], [0], [0], [1], [1], [1]]), np.array([[0], [1], [1], [1], [1], [1]])
    assert accuracy_matrix(*repeated(codes, classes))[0, 0] == pytest.approx(4 / 6, abs=1e-12)


def test_accuracy_is_of_the_test_pool() -> None:
    codes, exchanged = repeated(PAIRS, PAIRS), repeated(1 - PAIRS, PAIRS)
    assert np.diag(accuracy_matrix(*codes)).tolist() == [1, 1]
    assert np.diag(accuracy_matrix(*codes._replace(test_codes=exchanged.codes))).tolist() == [0, 0]


@pytest.mark.parametrize(("spread", "expected"), [(1e-7, 0.0), (1e-5, 0.5)])
def test_dimension_without_variance_does_not_even_guess(spread: float, expected: float) -> None:
    pools = repeated(np.column_stack([FIRST, spread * SECOND]), PAIRS)
    assert accuracy_matrix(*pools)[1, 0] == pytest.approx(expected, abs=1e-12)


# dSprites


def test_classifiers_converge_whatever_the_unit() -> None:
    pools = dsprites_pools(1000, 500)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for unit in (1e-3, 1e3):
            sap_score(*pools.recoded(lambda codes, unit=unit: unit * codes))
