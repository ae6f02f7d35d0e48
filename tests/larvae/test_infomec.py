"""InfoMEC against the published computation written out in loops, and worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import digamma
from sklearn.linear_model import LogisticRegression

from larvae.metrics.infomec import active_dimensions, info_compactness, info_explicitness, info_modularity, infomec
from tests.larvae.representations import Classes, Codes, combinations, constant, duplicated, noise, repeated

CUBE = combinations(2, 2, 2)
FIRST, SECOND, _ = CUBE.T
PERFECT = repeated(CUBE, CUBE, times=250)


def score(codes: Codes, classes: Classes) -> tuple[float, ...]:
    return tuple(infomec(codes, classes, np.random.default_rng(0)))


def partly() -> tuple[Codes, Classes]:
    """Codes of mixed factors, whose classes are unequally frequent, and of different units; the last is inactive."""
    generator = np.random.default_rng(0)
    classes = np.column_stack([generator.integers(2, size=(200, 2)), generator.binomial(2, 0.4, size=200)])
    mixing = np.array([[3.0, 0.0, 0.5, 0.0], [0.0, 1.0, 0.5, 0.0], [0.0, 0.2, 0.7, 0.0]])
    return classes @ mixing + generator.standard_normal((200, 4)) * [1.0, 0.5, 1.0, 0.03], classes


def neighbours_information(z: list[float], column: list[int]) -> float:
    """Ross's estimate: how many images are nearer than the tenth nearest of the own class, itself among them."""
    terms = []
    for value, y in zip(z, column, strict=True):
        same = sorted(abs(other - value) for other, label in zip(z, column, strict=True) if label == y)
        nearer = sum(abs(other - value) < same[10] for other in z)
        terms.append(digamma(len(z)) + digamma(10) - digamma(len(same)) - digamma(nearer))
    return max(float(np.mean(terms)), 0.0)


def cross_entropy(codes: Codes, column: Classes) -> float:
    model = LogisticRegression(C=np.inf, class_weight="balanced").fit(codes, column)
    return -float(np.mean([math.log(p[y]) for p, y in zip(model.predict_proba(codes), column, strict=True)]))


def textbook(codes: Codes, classes: Classes) -> list[float]:
    """InfoM, InfoE and InfoC as the paper's repository has them."""
    ranges = [max(z) - min(z) for z in codes.T]
    active = [z for z, width in zip(codes.T.tolist(), ranges, strict=True) if width > max(ranges) / 20]
    standardised, matrix, saved = (codes - codes.mean(axis=0)) / codes.std(axis=0), [], []
    for y in classes.T:
        entropy = -sum(p * math.log(p) for p in (np.mean(y == value) for value in set(y)))
        matrix.append([neighbours_information(z, y.tolist()) / entropy for z in active])
        uninformed = cross_entropy(np.zeros_like(codes), y)
        saved.append((uninformed - cross_entropy(standardised, y)) / uninformed)
    shares = [np.mean([max(row) / sum(row) for row in rows]) for rows in (zip(*matrix, strict=True), matrix)]
    modularity, compactness = ((share - 1 / 3) / (1 - 1 / 3) for share in shares)  # of 3 factors and 3 dimensions
    return [float(modularity), sum(saved) / len(saved), float(compactness)]


def test_scores_are_the_textbooks() -> None:
    assert all(0.2 < value < 0.9 for value in textbook(*partly()))
    assert score(*partly()) == pytest.approx(textbook(*partly()), abs=1e-9)


@pytest.mark.parametrize(
    ("information", "modularity", "compactness"),
    [
        ([[1, 0], [0, 2]], 1, 1),
        ([[2, 1, 1]], 1 / 4, 1),  # a share of 1/2 lies between 1/3 and 1; a single dimension competes with nothing
        ([[2, 0], [1, 0], [1, 0]], 1, 1 / 4),  # a factor that nothing knows is left out
        ([[1, 0], [0, 1], [0, 0]], 1, 1),  # and so is a dimension that knows nothing
        ([[3, 1], [0, 1]], (1 / 2 + 1) / 2, (1 + 0) / 2),
        ([[0.3]], 1, 1),
        ([[0, 0]], 0, 0),
        (np.zeros((0, 2)), 0, 0),
    ],
)
def test_modularity_and_compactness_by_hand(information: object, modularity: float, compactness: float) -> None:
    assert info_modularity(np.array(information, np.float64)) == pytest.approx(modularity, abs=1e-12)
    assert info_compactness(np.array(information, np.float64)) == pytest.approx(compactness, abs=1e-12)


def test_explicitness_by_hand() -> None:
    """Of two coins and their equality, which is no sum of theirs; and of codes that cost more than they save."""
    classes = np.column_stack([FIRST, SECOND, FIRST ^ SECOND])
    for codes, expected in ((FIRST[:, None], 1 / 3), (CUBE, 2 / 3), (np.zeros((8, 1)), 0)):
        assert info_explicitness(codes.astype(float), classes) == pytest.approx(expected, abs=1e-3)
    symmetric, rare = np.array([[-2.0, 2] * 4 + [-1, 1]]).T, np.array([[0] * 8 + [1, 2]]).T
    assert cross_entropy(symmetric, rare[:, 0]) > 1.05 * math.log(3)
    assert info_explicitness(symmetric, rare) == 0


def test_constructed_codes() -> None:
    assert score(PERFECT.codes, PERFECT.classes) == pytest.approx((1, 1, 1), abs=0.02)
    assert score(duplicated(PERFECT.codes), PERFECT.classes) == pytest.approx((1, 1, 0.4), abs=0.02)
    assert score(constant(PERFECT.codes), PERFECT.classes) == (0, 0, 0)
    assert score(noise(PERFECT.codes), PERFECT.classes)[1] < 0.01


def test_order_units_and_what_does_not_vary_do_not_matter() -> None:
    codes, classes = partly()
    expected = score(codes, classes)
    assert score(5 - 100 * codes[:, ::-1], classes[:, [1, 2, 0]]) == pytest.approx(expected, abs=1e-4)
    assert score(codes, np.insert(classes, 1, 4, axis=1)) == expected  # a factor that does not vary
    assert active_dimensions(np.array([[0.0, 1, 5], [20, 2, 6.01]])).tolist() == [True, False, True]
