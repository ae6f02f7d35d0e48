"""Modularity from mutual information worked out by hand, and on dSprites."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from larvae.metrics.modularity import modularity, modularity_of_information
from tests.larvae.representations import Pools, combinations, constant, dsprites_pools, duplicated, noise

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


@pytest.mark.parametrize(
    ("dimensions", "expected"),
    [
        ([FIRST, SECOND], 1),
        ([FIRST, FIRST], 1),
        ([np.maximum(FIRST, SECOND)], 0),  # knows as much of either factor
        ([2 * FIRST + SECOND], 0),
        ([FIRST + FIRST * SECOND], 3 / 4),  # all of the first factor; the second in half of the images: half as much
        ([FIRST + FIRST * SECOND, np.zeros(4)], 3 / 8),
    ],
)
def test_modularity_of_codes_by_hand(dimensions: list[NDArray[np.int64]], expected: float) -> None:
    assert modularity(np.stack(dimensions, axis=1), PAIRS) == pytest.approx(expected, abs=1e-12)


def test_fewer_bins_know_less() -> None:
    codes = np.array([[0.0], [0.1], [1.0], [1.1]])  # two bins tell the first factor, twenty tell both
    assert modularity(codes, PAIRS, num_bins=2) == pytest.approx(1, abs=1e-12)
    assert modularity(codes, PAIRS) == pytest.approx(0, abs=1e-12)


# dSprites


@pytest.fixture(scope="module")
def perfect() -> Pools:
    return dsprites_pools()


def test_perfect_codes_come_close_to_1(perfect: Pools) -> None:
    assert 0.999 < modularity(perfect.codes, perfect.classes) < 1


def test_order_number_and_unit_of_dimensions_do_not_matter(perfect: Pools) -> None:
    partly = perfect.codes @ np.random.default_rng(1).standard_normal((5, 5))
    expected = modularity(partly, perfect.classes)
    assert 0.2 < expected < 0.95
    for codes in (partly[:, ::-1], duplicated(partly), 1024 * partly):
        assert modularity(codes, perfect.classes) == pytest.approx(expected, abs=1e-9)


def test_constant_codes_score_nothing(perfect: Pools) -> None:
    assert modularity(constant(perfect.codes), perfect.classes) == 0


def test_noise_does_not_score_nothing(perfect: Pools) -> None:
    """A known weakness: chance makes noise seem to know most of the factor that has most classes."""
    assert 0.4 < modularity(noise(perfect.codes), perfect.classes) < 0.8
