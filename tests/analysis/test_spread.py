from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from sweeps.analysis.comparisons import LabelRates, compare
from sweeps.analysis.spread import (
    FALLS_WITH_LABELS,
    LESS_VARIANCE,
    brown_forsythe_p_value,
    pitman_morgan_p_value,
    spread_frame,
    spread_table,
    spread_tests,
)
from tests.analysis.invented import paired, panels


def test_pitman_morgan_by_hand() -> None:
    # Sums 1, 4, 5, 2 and differences 1, 2, 1, 2: centred −2 1 2 −1 and −½ ½ −½ ½, so r = 0 and p = 1.
    assert pitman_morgan_p_value([1, 3, 3, 2], [0, 1, 2, 0]) == pytest.approx(1)
    # Sums 0, 3, 6 and differences 0, 1, 2 lie on a line: r = 1.
    assert pitman_morgan_p_value([0, 2, 4], [0, 1, 2]) < 1e-6


@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_pitman_morgan_rejects_one_variance_as_often_as_it_says(correlation: float) -> None:
    """Also where seeds share most of what they have, which an F test would not allow."""
    covariance = [[1, correlation], [correlation, 1]]
    draws = np.random.default_rng(0).multivariate_normal([0, 5], covariance, (2000, 6))
    rejected = np.mean([pitman_morgan_p_value(*draw.T) < 0.05 for draw in draws])
    assert 0.03 < rejected < 0.07


def test_pitman_morgan_finds_a_variance_that_is_less() -> None:
    draws = np.random.default_rng(0).multivariate_normal([0, 0], [[1, 0.2], [0.2, 0.1]], (200, 12))
    assert np.mean([pitman_morgan_p_value(*draw.T) < 0.05 for draw in draws]) > 0.9


def test_brown_forsythe_is_the_analysis_of_variance_of_distances_from_medians() -> None:
    groups = [[1.0, 2.0, 6.0], [2.0, 2.5, 2.6], [0.0, 5.0, 6.0]]
    from scipy.stats import f_oneway

    expected = f_oneway(*(np.abs(np.array(group) - np.median(group)) for group in groups)).pvalue
    assert brown_forsythe_p_value(groups) == pytest.approx(expected)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("few", [[], [0.1], [0.1, 0.3], [0.2, 0.2, 0.2]])
def test_too_few_seeds_or_no_variance_are_no_test(few: list[float]) -> None:
    assert math.isnan(pitman_morgan_p_value(few, [0.0] * len(few)))
    assert math.isnan(brown_forsythe_p_value([few, few]))


def compared(*members: pd.DataFrame) -> LabelRates:
    [rates] = [rates for rates in compare("study", panels(*members), 1.0) if rates.metric == "mig"]
    return rates


def two_rates() -> LabelRates:
    """Where label replacement has a hundredth of the variance, and at 2 % both have a ten-thousandth."""
    rng = np.random.default_rng(0)
    wide = rng.normal(0.2, 0.1, 16)
    narrow = 0.5 + 0.1 * rng.permutation(wide)
    return compared(
        paired(list(wide), list(narrow), label_rate=0.01),
        paired(list(0.01 * wide), list(0.01 * narrow), label_rate=0.02),
    )


def test_claims_are_tested_at_each_label_rate_and_for_each_model() -> None:
    tests = spread_tests(two_rates())
    assert [(test.claim, test.subject) for test in tests] == [
        (LESS_VARIANCE, "η = 1 %"),
        (LESS_VARIANCE, "η = 2 %"),
        (FALLS_WITH_LABELS, "τ = 0"),
        (FALLS_WITH_LABELS, "τ = 1"),
    ]
    assert all(test.holds for test in tests)
    assert all(test.stds[0] > 5 * test.stds[1] for test in tests)
    assert tests[0].p_holm == pytest.approx(2 * tests[0].p_value)


def test_more_variance_is_found_and_does_not_hold() -> None:
    rng = np.random.default_rng(1)
    wide = rng.normal(0.2, 0.1, 8)
    [less, *_] = spread_tests(compared(paired(list(0.1 * rng.permutation(wide)), list(wide))))
    assert less.p_holm < 0.05
    assert not less.holds


def test_frame_and_table_have_a_row_a_test() -> None:
    rates = two_rates()
    rows = spread_frame([rates, rates])
    assert len(rows) == 8
    assert rows["holds"].all()
    assert [float(std) for std in rows["stds"][0].split()] == pytest.approx(spread_tests(rates)[0].stds, rel=1e-5)
    lines = spread_table(rates).splitlines()
    assert len(lines) == 2 + 4
    assert "bivariate normal" in lines[0]
    assert sum(line.endswith(" *") for line in lines) == 4
