"""ℓ2 and RMSE by hand, and what predicting the mean scores."""

from __future__ import annotations

import math

import numpy as np
import pytest

from larvae.datasets.dsprites import GRID
from larvae.metrics.l2 import label_distance, root_mean_square_errors

LABELS = np.array([[0.0, 0.0], [1.0, 1.0]])
INFERRED = np.array([[0.3, 0.4], [1.0, 1.0]])


def test_distance_and_errors_by_hand() -> None:
    assert label_distance(INFERRED, LABELS) == label_distance(LABELS, INFERRED) == pytest.approx(0.25, rel=1e-12)
    expected = [0.3 / math.sqrt(2), 0.4 / math.sqrt(2)]
    assert root_mean_square_errors(INFERRED, LABELS) == pytest.approx(expected, rel=1e-12)
    assert label_distance(LABELS, LABELS) == 0


def test_predicting_the_mean_of_dsprites() -> None:
    labels = GRID.to_unit_interval(GRID.to_labels(GRID.classes(np.arange(0, GRID.num_images, 7))))
    mean = np.full_like(labels, 0.5)
    assert label_distance(mean, labels) == pytest.approx(0.725, abs=0.005)
    sizes = np.array(GRID.sizes)
    expected = np.sqrt((sizes**2 - 1) / 12) / (sizes - 1)  # of a uniform distribution over classes
    assert np.abs(root_mean_square_errors(mean, labels) - expected).max() < 0.005
