"""ℓ2 and RMSE by hand, and what predicting the mean scores."""

from __future__ import annotations

import math

import numpy as np
import pytest

from larvae.datasets.dsprites import GRID
from larvae.metrics.label_distance import label_distance, root_mean_square_errors

LABELS = np.array([[0.0, 0.0], [1.0, 1.0]])
INFERRED = np.array([[0.3, 0.4], [1.0, 1.0]])


def test_distance_by_hand() -> None:
    assert label_distance(INFERRED, LABELS) == pytest.approx((0.5 + 0) / 2, rel=1e-12)


def test_errors_by_hand() -> None:
    expected = [0.3 / math.sqrt(2), 0.4 / math.sqrt(2)]
    assert root_mean_square_errors(INFERRED, LABELS) == pytest.approx(expected, rel=1e-12)


def test_perfect_labels_have_no_distance() -> None:
    assert label_distance(LABELS, LABELS) == 0
    assert np.array_equal(root_mean_square_errors(LABELS, LABELS), [0, 0])


def test_predicting_the_mean_of_dsprites() -> None:
    labels = GRID.to_unit_interval(GRID.standardise(GRID.classes(np.arange(0, GRID.num_images, 7))))
    mean = np.full_like(labels, 0.5)
    assert label_distance(mean, labels) == pytest.approx(0.725, abs=0.005)
    sizes = np.array(GRID.sizes)
    expected = np.sqrt((sizes**2 - 1) / 12) / (sizes - 1)  # of a uniform distribution over classes
    assert np.abs(root_mean_square_errors(mean, labels) - expected).max() < 0.005


def test_distance_is_symmetric_and_grows_with_every_error() -> None:
    assert label_distance(LABELS, INFERRED) == label_distance(INFERRED, LABELS)
    assert label_distance(INFERRED - 0.1 * (LABELS == 1), LABELS) > label_distance(INFERRED, LABELS)


def test_root_mean_square_error_is_at_least_the_mean_distance() -> None:
    """Jensen: √E‖·‖² >= E‖·‖."""
    rng = np.random.default_rng(0)
    inferred, labels = rng.standard_normal((2, 100, 3))
    errors = root_mean_square_errors(inferred, labels)
    assert np.sqrt(np.square(errors).sum()) >= label_distance(inferred, labels)
