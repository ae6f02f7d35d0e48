"""The IRS against the published computation written out in loops, and worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from larvae.metrics.irs import interventional_robustness_score as score
from tests.larvae.representations import Classes, Codes, combinations, duplicated, rotated

PAIRS = combinations(2, 2)
FIRST, SECOND = PAIRS.T
UNEQUAL = FIRST ^ SECOND


def quantile_of(values: list[float], quantile: float) -> float:
    """The quantile, between two values in proportion."""
    ordered = sorted(values)
    below, part = divmod(quantile * (len(ordered) - 1), 1)
    above = min(int(below) + 1, len(ordered) - 1)
    return (1 - part) * ordered[int(below)] + part * ordered[above]


def textbook(codes: Codes, classes: Classes, quantile: float) -> float:
    """IRS of factors of at most 20 classes, as the definition has it."""
    total = weights = 0.0
    for z in codes.T.tolist():
        mean = sum(z) / len(z)
        largest = max(abs(value - mean) for value in z)
        if largest == 0:
            continue
        ratios = []
        for column in classes.T.tolist():
            expected = []
            for y in set(column):
                group = [value for value, own in zip(z, column, strict=True) if own == y]
                expected.append(quantile_of([abs(value - sum(group) / len(group)) for value in group], quantile))
            ratios.append(sum(expected) / len(expected) / largest)
        total += largest * max(1 - ratio for ratio in ratios)
        weights += largest
    return total / weights


def partly() -> tuple[Codes, Classes]:
    """Codes of mixed factors and of different units, the last dimension constant."""
    generator = np.random.default_rng(0)
    classes = generator.integers([3, 20, 7], size=(500, 3))
    mixing = np.array([[1.0, 0.0, 0.3, 5.0, 0.0], [0.0, 0.2, 0.0, 0.4, 0.0], [0.2, 0.0, 0.0, 0.1, 0.0]])
    noise = generator.standard_normal((500, 5)) * [0.1, 1.0, 0.1, 3.0, 0.0]
    return classes @ mixing + noise + 0.5, classes


@pytest.mark.parametrize("quantile", [0.99, 1.0, 0.3])
def test_score_is_the_textbooks(quantile: float) -> None:
    assert score(*partly(), quantile=quantile) == pytest.approx(textbook(*partly(), quantile), abs=1e-12)
    assert score(*partly()) == pytest.approx(textbook(*partly(), 0.99), abs=1e-12)


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        (PAIRS, 1),
        (duplicated(PAIRS.astype(float)), 1),
        (np.full((4, 2), 0.3), 0),
        (np.column_stack([FIRST, np.full(4, 0.3)]), 1),  # a constant dimension does not count
        (rotated(PAIRS.astype(float)), 1 / 2),  # 0, 1 and 2: two of them are left, a half from their mean
        (np.column_stack([FIRST, 3 * UNEQUAL]), 1 / 4),  # 1 and 0 of them, which count 1 and 3 times
        (3 * FIRST[:, None] + SECOND[:, None], 1 - 1 / 4),  # of ±2 at most the second leaves 3/2, the first 1/2
    ],
)
def test_score_by_hand(codes: NDArray[np.generic], expected: float) -> None:
    assert score(np.repeat(codes, 50, axis=0).astype(float), np.repeat(PAIRS, 50, axis=0)) == pytest.approx(expected)


def test_order_a_common_unit_and_a_factor_that_does_not_vary_do_not_matter() -> None:
    codes, classes = partly()
    expected = score(codes, classes)
    assert 0.2 < expected < 0.8
    assert score(1 - 7 * codes[:, ::-1], classes[:, [1, 2, 0]]) == pytest.approx(expected, abs=1e-12)
    one_of_fifty, classes = np.eye(200)[:, -1:], np.arange(200)[:, None] // 150
    unvarying = np.insert(classes, 1, 4, axis=1)  # given which one of 200 would be ignored
    assert score(one_of_fifty, unvarying) == score(one_of_fifty, classes) < 0.8


def test_quantile_ignores_what_is_rare_and_bins_join_classes() -> None:
    noise = np.random.default_rng(1).uniform(-1, 1, (20_000, 3))
    classes = np.random.default_rng(2).integers(2, size=(20_000, 2))
    for quantile in (1, 0.99, 0.5):
        assert score(noise, classes, quantile=quantile) == pytest.approx(1 - quantile, abs=0.01)
    forty = np.arange(40)[:, None]
    assert score(forty.astype(float), forty, num_bins=40) == 1
    assert score(forty.astype(float), forty, quantile=1) == pytest.approx(1 - 0.5 / 19.5)  # two classes in each bin
