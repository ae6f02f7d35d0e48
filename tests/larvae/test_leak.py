"""The leak by hand, of labels that z copies, and of none."""

from __future__ import annotations

import math

import numpy as np
import pytest

from larvae.datasets.dsprites import GRID
from larvae.datasets.factors import Factors
from larvae.metrics.leak import leaks, scores
from larvae.metrics.sample import Sample
from tests.larvae.representations import Classes, Codes, combinations

PAIRS = combinations(2, 2)
FIRST, SECOND = PAIRS.T
CONSTANT, EITHER = np.zeros(4, int), FIRST | SECOND
PARTIAL = 0.25 + 0.25 * math.log2(2 / 3) + 0.5 * math.log2(4 / 3)
"""Bits that FIRST and EITHER share, from their table ((1/4, 1/4), (0, 1/2))."""


@pytest.mark.parametrize(
    ("dimensions", "expected"),
    [
        ([], [0, 0]),
        ([CONSTANT], [0, 0]),
        ([FIRST], [1, 0]),
        ([1 - 7 * FIRST, CONSTANT, SECOND], [1, 1]),
        ([FIRST ^ SECOND], [0, 0]),  # of both together it knows something, of neither alone
        ([2 * FIRST + SECOND], [1, 1]),
        ([EITHER], [PARTIAL, PARTIAL]),
        ([EITHER, FIRST], [1, PARTIAL]),
    ],
)
def test_leak_by_hand(dimensions: list[Codes], expected: list[float]) -> None:
    nuisance = np.array(dimensions, float).reshape(-1, 4).T
    assert leaks(nuisance, PAIRS) == pytest.approx(expected, abs=1e-12)
    assert leaks(nuisance[:, ::-1], PAIRS) == pytest.approx(expected, abs=1e-12)


def sample(nuisance: Codes, classes: Classes, factors: Factors, observed: tuple[str, ...]) -> Sample:
    """Of inferred labels that are the true ones."""
    columns, labels = factors.columns(observed), factors.select(observed)
    codes = np.column_stack([labels.to_labels(classes[:, columns]), nuisance])
    return Sample(codes, classes, columns, labels, codes[:0], classes[:0])


@pytest.mark.parametrize("observed", [GRID.names, ("scale", "position_y")], ids=len)
def test_scores_are_of_z_and_of_the_factors_that_y_stands_for(observed: tuple[str, ...]) -> None:
    rng = np.random.default_rng(0)
    classes = GRID.classes(rng.choice(GRID.num_images, 10_000, replace=False))
    noise = rng.standard_normal((len(classes), 5))
    names = {"leak", *(f"leak_{name}" for name in observed)}
    for nuisance, of_scale in ((noise[:, :0], 0), (noise, 0), (noise + 9 * classes[:, [1]], 1)):
        values = scores(sample(nuisance, classes, GRID, observed), rng)
        assert values.keys() == names
        assert all(type(value) is float for value in values.values())
        assert values.pop("leak") == pytest.approx(np.mean(list(values.values())))
        assert values.pop("leak_scale") == pytest.approx(of_scale, abs=0.02)
        assert all((0 < value < 0.02) == bool(nuisance.size) for value in values.values())  # 20 bins' error


def test_factor_that_does_not_vary_is_left_out_and_what_makes_no_sense_is_an_error() -> None:
    factors = Factors(("first", "second"), (2, 2))
    nuisance, rng = FIRST[:, None].astype(float), np.random.default_rng(0)
    varying = sample(nuisance, PAIRS * [1, 0], factors, factors.names)
    assert scores(varying, rng) == {"leak": pytest.approx(1), "leak_first": pytest.approx(1)}
    assert scores(sample(nuisance, PAIRS * 0, factors, factors.names), rng) == {}
    with pytest.raises(ValueError, match="`codes` must be finite"):
        leaks(nuisance * np.nan, PAIRS)
