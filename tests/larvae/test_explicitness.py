"""Explicitness against the published computation with pairs of images counted, and worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from larvae.metrics.explicitness import areas_under_curves, explicitness
from tests.larvae.representations import Pools, combinations, constant, duplicated, noise, permuted, repeated

PAIRS = combinations(2, 2)
FIRST, SECOND = PAIRS.T
UNEQUAL = FIRST ^ SECOND


def partly(num_train: int = 300, num_test: int = 150) -> Pools:
    """Codes of mixed factors and of different units."""
    generator = np.random.default_rng(0)
    classes = generator.integers([3, 2, 5], size=(num_train + num_test, 3))
    mixing = np.array([[1.0, 0.0, 30.0, 0.0], [0.0, 0.1, 5.0, 0.0], [0.5, 0.1, 0.0, 1.0]])
    codes = classes @ mixing + generator.standard_normal((len(classes), 4)) * [1.0, 0.1, 20.0, 2.0] + 5
    return Pools(codes[:num_train], classes[:num_train], codes[num_train:], classes[num_train:])


def counted(scores: NDArray[np.floating], labels: NDArray[np.bool_]) -> float:
    """Part of the pairs of an image of the class and another in which the former's score is higher; a tie is half."""
    pairs = [(own, other) for own in scores[labels] for other in scores[~labels]]
    return sum(float(own > other) + 0.5 * float(own == other) for own, other in pairs) / len(pairs)


def textbook(pools: Pools) -> float:
    """Explicitness of factors that vary in dimensions that vary, as disentanglement_lib has it."""
    mean, deviation = pools.codes.mean(axis=0), pools.codes.std(axis=0)
    means = []
    for column, test_column in zip(pools.classes.T, pools.test_classes.T, strict=True):
        model = LogisticRegression().fit((pools.codes - mean) / deviation, column)
        probabilities = model.predict_proba((pools.test_codes - mean) / deviation)
        areas = [counted(probabilities[:, index], test_column == y) for index, y in enumerate(model.classes_)]
        means.append(sum(areas) / len(areas))
    return sum(means) / len(means)


def test_score_is_the_textbooks() -> None:
    assert 0.6 < textbook(partly()) < 0.95
    assert explicitness(*partly()) == pytest.approx(textbook(partly()), abs=1e-12)


@pytest.mark.parametrize(
    ("dimensions", "expected"),
    [
        ([FIRST, SECOND], 1),
        ([FIRST, FIRST, FIRST], (1 + 1 / 2) / 2),
        ([UNEQUAL], 1 / 2),  # in all images together it tells nothing of either
        ([FIRST + SECOND], (3 + 1 / 2) / 4),  # of 1 and 2 against 0 and 1: a tie among four pairs
    ],
)
def test_score_by_hand(dimensions: list[NDArray[np.integer]], expected: float) -> None:
    assert explicitness(*repeated(np.stack(dimensions, axis=1), PAIRS)) == pytest.approx(expected, abs=1e-12)


def test_classifiers_are_linear() -> None:
    """Three classes in a row are told apart, and whether two coins are equal is not."""
    three = np.arange(3)[:, None]
    assert explicitness(*repeated(three, three)) == 1
    assert explicitness(*repeated(PAIRS, UNEQUAL[:, None])) == pytest.approx(1 / 2, abs=1e-12)


def test_constant_codes_and_noise_score_a_half() -> None:
    pools = partly(3000, 3000)
    assert explicitness(*pools.recoded(constant)) == 0.5
    assert explicitness(*pools.recoded(noise)) == pytest.approx(0.5, abs=0.02)


def test_dimensions_may_be_reordered_repeated_and_rescaled_and_factors_reordered() -> None:
    pools, expected = partly(), explicitness(*partly())
    reordered = pools._replace(classes=pools.classes[:, [1, 2, 0]], test_classes=pools.test_classes[:, [1, 2, 0]])
    for changed in (pools, reordered):
        units = changed.recoded(lambda codes: 3 - permuted(codes) * [1e-3, 1e3, 1, 7])
        assert explicitness(*units) == pytest.approx(expected, abs=1e-4)
    assert explicitness(*pools.recoded(duplicated)) == pytest.approx(expected, abs=0.01)


def test_areas_are_of_the_test_pool_and_of_the_classes_in_both() -> None:
    pools = repeated(PAIRS, PAIRS)
    assert explicitness(*pools._replace(test_codes=1 - pools.test_codes)) == 0
    four = np.arange(4)[:, None]
    lacking = repeated(four[1:], four[1:])._replace(codes=four[:3].astype(float), classes=four[:3])
    assert explicitness(*lacking) == pytest.approx((1 / 2 + 1) / 2)  # class 1 beats 2 and 3, but class 2's highest is 3
    assert explicitness(*pools._replace(test_codes=pools.codes[:1], test_classes=pools.classes[:1])) == 0.5


def test_areas_by_hand() -> None:
    scores, is_class = np.array([[0.9, 0.1], [0.5, 0.1], [0.5, 0.1]]), np.array([[1, 1], [1, 1], [0, 1]], bool)
    assert areas_under_curves(scores, is_class) == [(1 + 1 / 2) / 2]
