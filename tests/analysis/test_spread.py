"""Tests of standard deviations over seeds, against formulas other than those that they are computed by."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

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


def test_pitman_morgan_is_students_test_of_the_ratio_of_variances_given_the_correlation() -> None:
    random = np.random.default_rng(0)
    for correlation in (0.0, 0.6, 0.95):
        for size in (3, 6, 20):
            first, second = random.multivariate_normal([0, 5], [[1, correlation], [correlation, 2]], size).T
            ratio, r = first.var() / second.var(), np.corrcoef(first, second)[0, 1]
            statistic = (ratio - 1) * math.sqrt((size - 2) / (4 * ratio * (1 - r**2)))
            expected = 2 * stats.t.sf(abs(statistic), size - 2)
            assert pitman_morgan_p_value(list(first), list(second)) == pytest.approx(expected)


def test_brown_forsythe_is_the_analysis_of_variance_of_distances_from_medians() -> None:
    random = np.random.default_rng(0)
    groups = [list(random.exponential(scale, size)) for scale, size in ((1, 5), (2, 8), (3, 6))]
    expected = stats.f_oneway(*(np.abs(np.array(group) - np.median(group)) for group in groups)).pvalue
    assert brown_forsythe_p_value(groups) == pytest.approx(expected)


@pytest.mark.filterwarnings("error")
def test_too_few_seeds_or_no_variance_are_no_test() -> None:
    for few in ([], [0.1], [0.1, 0.3], [0.2, 0.2, 0.2]):
        assert math.isnan(pitman_morgan_p_value(few, [0.0] * len(few)))
        assert math.isnan(brown_forsythe_p_value([few, few]))
    at_ceiling, below = [1.0, 1.0, 1.0], [0.8, 0.85, 0.87]
    assert math.isnan(pitman_morgan_p_value(at_ceiling, below))
    assert math.isnan(pitman_morgan_p_value(below, at_ceiling))


def two_rates(narrower: int) -> LabelRates:
    """MIG of which model 0 or 1 has a tenth of the deviation at 1 %; at 2 % both have a hundredth of theirs."""
    random = np.random.default_rng(0)
    wide = random.normal(0.2, 0.1, 16)
    narrow = 0.5 + 0.1 * random.permutation(wide)
    sides = [wide, narrow] if narrower else [narrow, wide]
    cells = [
        paired(*[list(side * scale) for side in sides], label_rate=rate) for rate, scale in ((0.01, 1), (0.02, 0.01))
    ]
    return compare("study", panels(*cells), 1.0)[0]


def test_the_seeds_that_are_tested_are_those_that_are_told() -> None:
    """Of one seed more, which only the baseline has, the deviation would be another."""
    steady, wide = [0.300, 0.301, 0.302, 0.3005, 0.3015, 0.9], [0.10, 0.30, 0.50, 0.2, 0.4, math.nan]
    [less, *_] = spread_tests(compare("study", paired(steady, wide), 1.0)[0])
    assert less.p_holm < 0.05
    assert less.stds == pytest.approx((np.std(steady[:5], ddof=1), np.std(wide[:5], ddof=1)))
    assert not less.holds


def test_variance_falls_from_the_fewest_labels_to_the_most() -> None:
    """Not so where it is another one at a label rate in between."""
    base = np.array([-1.2, -0.7, -0.3, 0.1, 0.4, 0.8, 1.1, -0.1])
    cells = [
        paired(list(0.3 + width * base), list(0.4 + width * base[::-1]), label_rate=rate)
        for rate, width in ((0.01, 0.010), (0.02, 0.1), (0.05, 0.0099))
    ]
    *_, falls = spread_tests(compare("study", panels(*cells), 1.0)[0])
    assert falls.compared == ("η = 1 %", "η = 5 %")
    assert falls.p_value > 0.5
    assert not falls.holds


def test_claims_are_tested_at_each_label_rate_and_for_each_model() -> None:
    rates = two_rates(narrower=1)
    tests = spread_tests(rates)
    assert [(test.claim, test.subject) for test in tests] == [
        (LESS_VARIANCE, "η = 1 %"),
        (LESS_VARIANCE, "η = 2 %"),
        (FALLS_WITH_LABELS, "τ = 0"),
        (FALLS_WITH_LABELS, "τ = 1"),
    ]
    assert all(test.holds for test in tests)
    for test, comparison in zip(tests, rates.comparisons, strict=False):
        assert test.stds == (comparison.baseline.interval.std, comparison.larvae.interval.std)
        assert test.p_value == pitman_morgan_p_value(*zip(*comparison.pairs, strict=True))
    assert tests[2].p_value == brown_forsythe_p_value([c.baseline.seed_results for c in rates.comparisons])
    assert tests[3].p_value == brown_forsythe_p_value([c.larvae.seed_results for c in rates.comparisons])
    assert tests[0].p_holm == pytest.approx(2 * tests[0].p_value)
    more, *_ = spread_tests(two_rates(narrower=0))
    assert more.p_holm < 0.05  # found, but of the other sign
    assert not more.holds


def test_frame_and_table_have_a_row_a_test() -> None:
    rates = two_rates(narrower=1)
    rows = spread_frame([rates, rates])
    assert len(rows) == 8
    assert rows["holds"].all()
    assert [float(std) for std in rows["stds"][0].split()] == pytest.approx(spread_tests(rates)[0].stds, rel=1e-5)
    lines = spread_table(rates).splitlines()
    assert len(lines) == 2 + 4
    assert "bivariate normal" in lines[0]
    assert sum(line.endswith(" *") for line in lines) == 4
