"""MIG on perfect, constant, duplicated and permuted codes, and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from larvae.datasets.dsprites import GRID
from larvae.metrics.information import discrete_mutual_information, discretise
from larvae.metrics.mig import aligned_mutual_information_gap, mutual_information_gap


@pytest.fixture(scope="module")
def classes() -> NDArray[np.int64]:
    """The factors of 10,000 random images of dSprites."""
    return GRID.classes(np.random.default_rng(0).choice(GRID.num_images, 10_000, replace=False))


# By hand: two binary factors, all combinations once

PAIRS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
FIRST, SECOND, CONSTANT = PAIRS[:, 0], PAIRS[:, 1], np.zeros(4, int)
EITHER = np.array([0, 1, 1, 1])
PARTIAL = 0.25 * math.log(2) + 0.25 * math.log(2 / 3) + 0.5 * math.log(4 / 3)
"""Nats that FIRST and EITHER share, from their table ((1/4, 1/4), (0, 1/2))."""


def test_gap_by_hand() -> None:
    for dimensions, gap, aligned_gap in (
        ([FIRST, SECOND], 1, 1),
        ([SECOND, FIRST], 1, -1),
        ([FIRST, FIRST], 0, 0),
        ([FIRST, CONSTANT], 0.5, 0.5),
        ([CONSTANT, FIRST], 0.5, -0.5),
        ([FIRST, SECOND, EITHER], 1 - PARTIAL / math.log(2), 1 - PARTIAL / math.log(2)),
        ([EITHER, CONSTANT], PARTIAL / math.log(2), 0),  # aligned: what the first factor gains, the second loses
    ):
        codes = np.stack(dimensions, axis=1)
        assert mutual_information_gap(codes, PAIRS) == pytest.approx(gap, abs=1e-12)
        assert aligned_mutual_information_gap(codes, PAIRS) == pytest.approx(aligned_gap, abs=1e-12)
    assert mutual_information_gap(PAIRS[:, :1], PAIRS) == pytest.approx(0.5, abs=1e-12)  # competes with nothing
    assert aligned_mutual_information_gap(PAIRS[:, :1], PAIRS[:, :1]) == pytest.approx(1, abs=1e-12)


def test_mutual_information_by_hand() -> None:
    for a, b, expected in (
        (FIRST, FIRST, math.log(2)),
        (FIRST, SECOND, 0),
        (FIRST, CONSTANT, 0),
        (FIRST, EITHER, PARTIAL),
        (EITHER, FIRST, PARTIAL),
        (EITHER, EITHER, math.log(4) - 0.75 * math.log(3)),
        (7 * FIRST, 4 - FIRST, math.log(2)),  # which integers stand for the values does not matter
    ):
        assert discrete_mutual_information(a, b) == pytest.approx(expected, abs=1e-12)


# dSprites


def test_perfect_codes_reach_the_ceiling_of_20_bins(classes: NDArray[np.int64]) -> None:
    """Forty orientations and 32 positions do not fit into 20 bins, so less than 1 is perfect."""
    codes = GRID.to_labels(classes)
    assert mutual_information_gap(codes, classes) == pytest.approx(0.896, abs=0.003)
    ceilings = [mutual_information_gap(codes, classes[:, [k]]) for k in range(5)]
    assert ceilings == pytest.approx([0.998, 0.997, 0.802, 0.842, 0.842], abs=0.01)


def test_collapsed_codes_score_nothing(classes: NDArray[np.int64]) -> None:
    """A latent that fell back to the prior has means a few roundings of float32 apart."""
    noise = np.random.default_rng(2).standard_normal((len(classes), 6))
    for spread in (0, 1e-8, 1e-7):
        codes = (0.3 + spread * noise).astype(np.float32)
        for metric in (mutual_information_gap, aligned_mutual_information_gap):
            assert metric(codes, classes) == pytest.approx(0, abs=0.05 if spread else 1e-9)
    codes = np.column_stack([GRID.to_labels(classes), 0.3 + 1e-8 * noise[:, 0]]).astype(np.float32)
    assert mutual_information_gap(codes, classes) == pytest.approx(0.896, abs=0.01)


# Bins


def test_bins_are_numbered_from_1_and_equally_wide_in_each_dimension() -> None:
    codes = np.array([[0.0], [0.049], [0.051], [0.949], [0.951], [1.0]]) * [1, 1e-6]
    assert discretise(codes, 20).T.tolist() == [[1, 1, 2, 19, 20, 20]] * 2
