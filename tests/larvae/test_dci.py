"""DCI from importances worked out by hand, and from trees on small pools."""

from __future__ import annotations

import math

import numpy as np
import pytest

from larvae.metrics.dci import DCI, completeness, dci, disentanglement, importance_matrix
from tests.larvae.representations import Pools, combinations, constant, repeated

PAIRS = combinations(2, 2)


def score(pools: Pools) -> DCI:
    return dci(*pools, np.random.default_rng(0))


# By hand

MIXED = [[0.5, 0.5, 0.0], [0.5, 0.5, 1.0]]
"""Rows (1/2, 1/2, 0) and (1/4, 1/4, 1/2), with 1/3 and 2/3 of all importance; two of three columns are even."""
ENTROPIES = math.log(2), 1.5 * math.log(2)
"""Of MIXED's rows, in nats."""


def test_scores_of_importances_by_hand() -> None:
    for importances, expected_disentanglement, expected_completeness in (
        (np.eye(3), 1, 1),
        (np.ones((2, 3)), 0, 0),
        (MIXED, 1 - (ENTROPIES[0] + 2 * ENTROPIES[1]) / (3 * math.log(3)), 1 / 3),
        ([[1, 0], [0, 1], [0, 0]], 1, 1),  # a dimension that matters to nothing has no weight
        ([[1, 0], [0, 0]], 1, 1),  # nor has a factor that nothing matters to
        ([[3, 0], [1, 1]], 0.6 * 1 + 0.4 * 0, 0.8 * (1 - (2 - 0.75 * math.log2(3))) + 0.2 * 1),
        ([[6, 0], [2, 2]], 0.6 * 1 + 0.4 * 0, 0.8 * (1 - (2 - 0.75 * math.log2(3))) + 0.2 * 1),  # proportions alone
        (np.zeros((2, 3)), 0, 0),
        ([[1, 1]], 0, 1),  # one dimension for all factors
        ([[1], [1]], 1, 0),  # one factor in all dimensions
        ([[1]], 1, 1),
    ):
        matrix = np.array(importances, np.float64)
        assert disentanglement(matrix) == pytest.approx(expected_disentanglement, abs=1e-12)
        assert completeness(matrix) == pytest.approx(expected_completeness, abs=1e-12)


# Trees


def test_importances_of_exchanged_perfect_codes() -> None:
    classes = combinations(2, 3)
    importances, accuracies = importance_matrix(
        *repeated(classes[:, ::-1], classes, times=20), np.random.default_rng(0)
    )
    assert importances == pytest.approx(np.array([[0, 1], [1, 0]]), abs=1e-9)
    assert accuracies.tolist() == [1, 1]


def test_two_dimensions_that_know_one_factor_together() -> None:
    """Equality of two coins: neither alone tells anything, and the coins themselves are in one dimension each."""
    classes = np.column_stack([PAIRS, PAIRS.sum(1) % 2])
    importances, accuracies = importance_matrix(*repeated(PAIRS, classes, times=20), np.random.default_rng(0))
    assert importances[:, :2] == pytest.approx(np.eye(2), abs=1e-9)
    assert importances[:, 2].min() > 0.1
    assert accuracies.tolist() == [1, 1, 1]


def test_constant_codes_guess_the_commonest_class() -> None:
    classes = np.array([[0], [0], [1]])
    test_classes = np.array([[0], [1], [1], [1]])
    train, test = repeated(constant(classes), classes, 20), repeated(constant(test_classes), test_classes, 20)
    pools = Pools(train.codes, train.classes, test.codes, test.classes)
    assert score(pools) == pytest.approx((0, 0, 1 / 4), abs=1e-12)


def test_informativeness_is_of_the_test_pool() -> None:
    codes, exchanged = repeated(PAIRS, PAIRS, 20), repeated(1 - PAIRS, PAIRS, 20)
    assert score(codes) == pytest.approx((1, 1, 1), abs=1e-9)
    assert score(codes._replace(test_codes=exchanged.codes)) == pytest.approx((1, 1, 0), abs=1e-9)
