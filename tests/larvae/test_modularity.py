"""Modularity from mutual information worked out by hand, and on dSprites."""

from __future__ import annotations

import numpy as np
import pytest

from larvae.metrics.modularity import modularity, modularity_of_information
from tests.larvae.representations import combinations

PAIRS = combinations(2, 2)
FIRST, SECOND = PAIRS.T


@pytest.mark.parametrize(
    ("information", "expected"),
    [
        ([[1, 0], [0, 2]], 1),
        ([[1, 1]], 0),
        ([[2, 1, 0]], 1 - 1 / (4 * 2)),
        ([[2, 1, 1]], 1 - 2 / (4 * 2)),
        ([[2, 1, 0], [0, 0, 3]], (7 / 8 + 1) / 2),
        ([[2, 0], [0, 0]], 1 / 2),  # a dimension that knows nothing scores 0
        ([[2, 0], [1e-16, 0]], 1 / 2),  # and so does one of which only roundings are left
        ([[0.4], [0.0]], 1 / 2),  # of a single factor
        ([[0, 0]], 0),
    ],
)
def test_modularity_of_information_by_hand(information: list[list[float]], expected: float) -> None:
    assert modularity_of_information(np.array(information, np.float64)) == pytest.approx(expected, abs=1e-12)


def test_modularity_of_codes_by_hand() -> None:
    for dimensions, expected in (
        ([FIRST, SECOND], 1),
        ([FIRST, FIRST], 1),
        ([2 * FIRST + SECOND], 0),  # knows as much of either factor
        ([FIRST + FIRST * SECOND], 3 / 4),  # all of the first; the second in half of the images: half as much
        ([FIRST + FIRST * SECOND, np.zeros(4)], 3 / 8),
    ):
        assert modularity(np.stack(dimensions, axis=1), PAIRS) == pytest.approx(expected, abs=1e-12)
    codes = np.array([[0.0], [0.1], [1.0], [1.1]])  # two bins tell the first factor, twenty tell both
    assert modularity(codes, PAIRS, num_bins=2) == pytest.approx(1, abs=1e-12)
    assert modularity(codes, PAIRS) == pytest.approx(0, abs=1e-12)
