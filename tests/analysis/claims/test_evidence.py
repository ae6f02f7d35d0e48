"""Evidence of a number: tests that agree with their intervals, err as often as they may, and seeds that decide."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from sweeps.analysis.claims.evidence import POWER, Bounds, Evidence, of_mean, of_spread
from sweeps.analysis.spread import pitman_morgan_p_value

PLAIN, RATIO = Bounds(0.0, 0.0), Bounds(1.0, 1.0)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_mean_is_students_t_on_either_side(rng: np.random.Generator) -> None:
    values = rng.normal(0.1, 0.2, 6)
    found = of_mean("x", list(values), PLAIN)
    p_value = stats.ttest_1samp(values, 0.0).pvalue
    assert min(found.p_holds, found.p_fails) == pytest.approx(p_value)
    assert max(found.p_holds, found.p_fails) == 1
    assert of_mean("x", list(values), Bounds(found.low, found.low)).p_holds == pytest.approx(0.05)
    assert of_mean("x", list(values), Bounds(found.high, found.high)).p_fails == pytest.approx(0.05)


def test_a_spread_is_pitman_and_morgans_of_one_group_and_its_interval_is_where_p_is_five_percent(
    rng: np.random.Generator,
) -> None:
    first, second = rng.normal(0, 2, 8), rng.normal(0, 1, 8)
    found = of_spread("x", [(list(first), list(second))], RATIO)
    assert found.effect == pytest.approx(np.std(first, ddof=1) / np.std(second, ddof=1))
    assert min(found.p_holds, found.p_fails) == pytest.approx(pitman_morgan_p_value(list(first), list(second)))
    groups = [(list(first), list(second)), (list(first + rng.normal(0, 1, 8)), list(5 + second))]
    pooled = of_spread("x", groups, RATIO)
    assert of_spread("x", groups, Bounds(pooled.low, pooled.low)).p_holds == pytest.approx(0.05)
    assert of_spread("x", groups, Bounds(pooled.high, pooled.high)).p_fails == pytest.approx(0.05)


@pytest.mark.parametrize("groups", [1, 2])
def test_no_spread_is_found_where_there_is_none_more_often_than_allowed(groups: int, rng: np.random.Generator) -> None:
    """Pairs correlate, and groups have means of their own."""
    found = []
    for _ in range(1500):
        shared = rng.normal(size=(groups, 5)) + 10 * rng.normal(size=(groups, 1))
        pairs = [(list(one + rng.normal(size=5)), list(one + rng.normal(size=5))) for one in shared]
        found.append(of_spread("x", pairs, RATIO).p_holds <= 0.05)
    assert stats.binomtest(sum(found), len(found), 0.025).pvalue > 0.001


@pytest.mark.parametrize("effect", [0.15, 0.3])
def test_as_many_seeds_as_are_told_decide_as_often_as_told(effect: float, rng: np.random.Generator) -> None:
    needed = Evidence("x", PLAIN, 3, signal=effect / 0.2).seeds_needed(num_tests=1)
    assert needed is not None
    decided = [of_mean("x", list(rng.normal(effect, 0.2, needed)), PLAIN).p_holds <= 0.05 for _ in range(2000)]
    assert POWER - 0.04 < np.mean(decided) < POWER + 0.1  # seeds are whole numbers
    assert Evidence("x", PLAIN, 3, signal=effect / 0.2).seeds_needed(num_tests=50) > needed  # type: ignore[operator]


def test_too_few_seeds_or_equal_ones_are_no_test() -> None:
    for found in (
        of_mean("x", [0.1, 0.2], PLAIN),
        of_mean("x", [0.1] * 5, PLAIN),
        of_mean("x", [], PLAIN),
        of_spread("x", [([1.0, 2.0], [1.0, 3.0])], RATIO),
        of_spread("x", [], RATIO),
        of_spread("x", [([1.0] * 4, [1.0, 2.0, 3.0, 4.0])], RATIO),
    ):
        assert math.isnan(found.p_holds)
        assert math.isnan(found.p_fails)
        assert found.seeds_needed(1) is None


def test_spreads_of_one_shape_have_the_ratio_that_they_have_and_no_room_around_it() -> None:
    """Rounding may make the correlation of such values a little more than one."""
    first = np.random.default_rng(0).normal(size=50)
    for ratio in (1.0, 0.9, 1 / 3):
        found = of_spread("x", [(first.tolist(), (ratio * first).tolist())], RATIO)
        assert found.effect == found.low == found.high == pytest.approx(1 / ratio)
        assert (found.p_holds < 1e-6) == (ratio < 1)
