"""MIG on perfect, constant, duplicated and permuted codes, and by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from larvae.datasets.dsprites import GRID
from larvae.metrics.information import discrete_mutual_information, discretise
from larvae.metrics.mig import aligned_mutual_information_gap, mutual_information_gap

Metric = Callable[..., float]
each_metric = pytest.mark.parametrize("metric", [mutual_information_gap, aligned_mutual_information_gap])


@pytest.fixture(scope="module")
def classes() -> NDArray[np.int64]:
    """The factors of 10,000 random images of dSprites."""
    return GRID.classes(np.random.default_rng(0).choice(GRID.num_images, 10_000, replace=False))


@pytest.fixture(scope="module")
def noisy_codes(classes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Seven dimensions that know the factors in part."""
    rng = np.random.default_rng(1)
    mixed = GRID.standardise(classes) @ rng.standard_normal((5, 7))
    return mixed + 0.1 * rng.standard_normal(mixed.shape)


# By hand: two binary factors, all combinations once

PAIRS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
FIRST, SECOND, CONSTANT = PAIRS[:, 0], PAIRS[:, 1], np.zeros(4, int)
EITHER = np.array([0, 1, 1, 1])
PARTIAL = 0.25 * math.log(2) + 0.25 * math.log(2 / 3) + 0.5 * math.log(4 / 3)
"""Nats that FIRST and EITHER share, from their table ((1/4, 1/4), (0, 1/2))."""


@pytest.mark.parametrize(
    ("dimensions", "gap", "aligned_gap"),
    [
        ([FIRST, SECOND], 1, 1),
        ([SECOND, FIRST], 1, -1),
        ([FIRST, FIRST], 0, 0),
        ([FIRST, CONSTANT], 0.5, 0.5),
        ([CONSTANT, FIRST], 0.5, -0.5),
        ([FIRST, SECOND, EITHER], 1 - PARTIAL / math.log(2), 1 - PARTIAL / math.log(2)),
        ([EITHER, CONSTANT], PARTIAL / math.log(2), 0),  # aligned: what the first factor gains, the second loses
    ],
)
def test_gap_by_hand(dimensions: list[NDArray[np.int64]], gap: float, aligned_gap: float) -> None:
    codes = np.stack(dimensions, axis=1)
    assert mutual_information_gap(codes, PAIRS) == pytest.approx(gap, abs=1e-12)
    assert aligned_mutual_information_gap(codes, PAIRS) == pytest.approx(aligned_gap, abs=1e-12)


def test_single_dimension_competes_with_nothing() -> None:
    assert mutual_information_gap(PAIRS[:, :1], PAIRS) == pytest.approx(0.5, abs=1e-12)
    assert aligned_mutual_information_gap(PAIRS[:, :1], PAIRS[:, :1]) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (FIRST, FIRST, math.log(2)),
        (FIRST, 1 - FIRST, math.log(2)),
        (FIRST, SECOND, 0),
        (FIRST, CONSTANT, 0),
        (FIRST, EITHER, PARTIAL),
        (EITHER, FIRST, PARTIAL),
        (EITHER, EITHER, math.log(4) - 0.75 * math.log(3)),
        (7 * FIRST, 3 + FIRST, math.log(2)),  # which integers stand for the values does not matter
    ],
)
def test_mutual_information_by_hand(a: NDArray[np.int64], b: NDArray[np.int64], expected: float) -> None:
    assert discrete_mutual_information(a, b) == pytest.approx(expected, abs=1e-12)


# dSprites


def test_perfect_codes_reach_the_ceiling_of_20_bins(classes: NDArray[np.int64]) -> None:
    """Forty orientations and 32 positions do not fit into 20 bins, so less than 1 is perfect."""
    codes = GRID.standardise(classes)
    assert mutual_information_gap(codes, classes) == pytest.approx(0.896, abs=0.003)
    ceilings = [mutual_information_gap(codes, classes[:, [k]]) for k in range(5)]
    assert ceilings == pytest.approx([0.998, 0.997, 0.802, 0.842, 0.842], abs=0.01)


def test_more_bins_raise_the_ceiling(classes: NDArray[np.int64]) -> None:
    assert mutual_information_gap(classes[:, :2], classes[:, :2], num_bins=100) == pytest.approx(1, abs=0.01)
    assert mutual_information_gap(classes, classes, num_bins=100) > 0.95


def test_whole_numbers_are_accepted_as_codes(classes: NDArray[np.int64]) -> None:
    assert mutual_information_gap(classes, classes) == mutual_information_gap(classes.astype(np.float64), classes)


@each_metric
def test_constant_codes_score_nothing(metric: Metric, classes: NDArray[np.int64]) -> None:
    codes = np.full((len(classes), 6), 0.3, np.float32)
    assert metric(codes, classes) == pytest.approx(0, abs=1e-9)


@each_metric
@pytest.mark.parametrize("spread", [1e-8, 1e-7])
def test_collapsed_codes_score_nothing(metric: Metric, classes: NDArray[np.int64], spread: float) -> None:
    """A latent that fell back to the prior has means a few roundings of float32 apart."""
    noise = np.random.default_rng(2).standard_normal((len(classes), 6))
    codes = (0.3 + spread * noise).astype(np.float32)
    assert metric(codes, classes) == pytest.approx(0, abs=0.05)


def test_one_collapsed_dimension_does_not_take_the_others_score(classes: NDArray[np.int64]) -> None:
    noise = np.random.default_rng(2).standard_normal(len(classes))
    collapsed = (0.3 + 1e-8 * noise).astype(np.float32)
    codes = np.column_stack([GRID.standardise(classes), collapsed])
    assert mutual_information_gap(codes, classes) == pytest.approx(0.896, abs=0.01)


def test_duplicated_codes_score_nothing(classes: NDArray[np.int64]) -> None:
    codes = np.concatenate([classes, classes], axis=1)
    assert mutual_information_gap(codes, classes) == pytest.approx(0, abs=1e-12)
    assert aligned_mutual_information_gap(codes, classes) == pytest.approx(0, abs=1e-12)


def test_random_codes_score_next_to_nothing(classes: NDArray[np.int64]) -> None:
    codes = np.random.default_rng(3).standard_normal((len(classes), 10))
    assert 0 <= mutual_information_gap(codes, classes) < 0.01


def test_order_of_dimensions_does_not_matter(classes: NDArray[np.int64], noisy_codes: NDArray[np.float64]) -> None:
    order = np.random.default_rng(4).permutation(7)
    expected = mutual_information_gap(noisy_codes, classes)
    assert 0.01 < expected < 0.9
    assert mutual_information_gap(noisy_codes[:, order], classes) == pytest.approx(expected, abs=1e-12)


def test_order_of_images_and_unit_of_codes_do_not_matter(
    classes: NDArray[np.int64], noisy_codes: NDArray[np.float64]
) -> None:
    order = np.random.default_rng(5).permutation(len(classes))
    for metric in (mutual_information_gap, aligned_mutual_information_gap):
        expected = metric(noisy_codes, classes)
        assert metric(1024 * noisy_codes[order], classes[order]) == pytest.approx(expected, abs=1e-9)


def test_aligned_gap_is_the_gap_for_perfect_codes_in_order(classes: NDArray[np.int64]) -> None:
    expected = mutual_information_gap(classes, classes)
    assert aligned_mutual_information_gap(classes, classes) == pytest.approx(expected, abs=1e-12)


def test_aligned_gap_is_negative_for_perfect_codes_in_reversed_order(classes: NDArray[np.int64]) -> None:
    reversed_codes = classes[:, ::-1]
    assert mutual_information_gap(reversed_codes, classes) == pytest.approx(0.896, abs=0.003)
    assert aligned_mutual_information_gap(reversed_codes, classes) < -0.5  # the middle factor keeps its place


def test_aligned_gap_is_never_above_the_gap(classes: NDArray[np.int64], noisy_codes: NDArray[np.float64]) -> None:
    aligned = aligned_mutual_information_gap(noisy_codes, classes)
    assert aligned < mutual_information_gap(noisy_codes, classes)


# Factors that do not vary


@each_metric
@pytest.mark.parametrize("size", [10, 100, 1000, 10_000])
def test_constant_factor_is_left_out(
    metric: Metric, size: int, classes: NDArray[np.int64], noisy_codes: NDArray[np.float64]
) -> None:
    """Whatever the rounding of size · (1/size) is."""
    codes, varying = noisy_codes[:size], classes[:size, :2]
    with_constant = np.column_stack([varying, np.full(size, 2)])
    assert metric(codes, with_constant) == pytest.approx(metric(codes, varying), abs=1e-9)


@each_metric
@pytest.mark.parametrize("size", [1, 10, 100, 10_000])
def test_factors_that_are_all_constant_are_an_error(
    metric: Metric, size: int, noisy_codes: NDArray[np.float64]
) -> None:
    with pytest.raises(ValueError, match="at least one factor must vary"):
        metric(noisy_codes[:size], np.ones((size, 2), np.int64))


# Errors


@each_metric
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_codes_that_are_not_finite_are_an_error(metric: Metric, value: float) -> None:
    codes = PAIRS.astype(np.float64)
    codes[2, 1] = value
    with pytest.raises(ValueError, match="`codes` must be finite"):
        metric(codes, PAIRS)


@each_metric
@pytest.mark.parametrize("codes", [PAIRS[:3], PAIRS[:, 0], PAIRS[None]], ids=["fewer", "flat", "deeper"])
def test_codes_of_another_shape_are_an_error(metric: Metric, codes: NDArray[np.int64]) -> None:
    with pytest.raises(ValueError, match=r"must share n, got \("):
        metric(codes, PAIRS)


def test_classes_of_another_shape_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"must share n, got \("):
        mutual_information_gap(PAIRS, PAIRS[:, 0])


# Bins


def test_bins_are_numbered_from_1_and_equally_wide() -> None:
    codes = np.array([[0.0], [0.049], [0.051], [0.949], [0.951], [1.0]])
    assert discretise(codes, 20)[:, 0].tolist() == [1, 1, 2, 19, 20, 20]


def test_each_dimension_has_bins_of_its_own(noisy_codes: NDArray[np.float64]) -> None:
    bins = discretise(noisy_codes * np.array([1, 10, 100, 1, 1, 1, 1e-6]), 20)
    assert bins.shape == noisy_codes.shape
    assert np.array_equal(bins.min(0), np.full(7, 1))
    assert np.array_equal(bins.max(0), np.full(7, 20))
