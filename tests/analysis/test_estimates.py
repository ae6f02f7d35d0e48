from __future__ import annotations

import math

import numpy as np
import pytest

from larvae.errors import InvalidInputError
from sweeps.analysis.estimates import (
    TAU,
    Z_DIM,
    estimate_sensitivity,
    mean_interval,
    means_table,
    members_frame,
    summary_frame,
)
from tests.analysis.invented import MIXED, frame, grid, with_ends


def test_interval_of_three_values_by_hand() -> None:
    # Mean 2, standard deviation 1, t(.975, 2) = 4.302653: half width 4.302653 / √3.
    interval = mean_interval([1.0, 2.0, 3.0])
    assert interval.mean == 2
    assert interval.std == 1
    assert interval.low == pytest.approx(2 - 2.484138, abs=1e-6)
    assert interval.high == pytest.approx(2 + 2.484138, abs=1e-6)


def test_interval_of_two_values_by_hand() -> None:
    # Half the difference is d = .01; std d·√2, so the half width is d · t(.975, 1) = .01 · 12.706205.
    interval = mean_interval([0.19, 0.21])
    assert interval.high - interval.mean == pytest.approx(0.12706205, abs=1e-8)


def test_equal_values_have_an_interval_of_width_zero() -> None:
    assert mean_interval([0.25, 0.25]) == (0.25, 0.25, 0.25, 0)


def test_one_value_has_no_interval_and_none_has_no_mean() -> None:
    single = mean_interval([0.5])
    assert single.mean == 0.5
    assert all(math.isnan(number) for number in single[1:])
    assert all(math.isnan(number) for number in mean_interval([]))


def test_intervals_cover_the_mean_as_often_as_they_say() -> None:
    random = np.random.default_rng(0)
    intervals = [mean_interval(list(random.normal(3, 2, size=4))) for _ in range(2000)]
    coverage = np.mean([interval.low <= 3 <= interval.high for interval in intervals])
    assert coverage == pytest.approx(0.95, abs=0.015)


def test_values_and_label_rates_are_in_numerical_order() -> None:
    sensitivity = estimate_sensitivity("s", frame(grid((10, 0, 0.5, 5), (0.02, 0.01), (0,))), TAU)
    assert sensitivity.values == [0, 0.5, 5, 10]
    assert sensitivity.label_rates == [0.01, 0.02]


def test_only_finished_members_are_averaged() -> None:
    sensitivity = estimate_sensitivity("mixed", frame(MIXED), TAU)
    mig = {(e.value, e.label_rate): e for e in sensitivity.estimates if e.metric == "mig"}
    complete, partial, empty = mig[0, 0.01], mig[0.5, 0.01], mig[10, 0.02]
    assert (complete.num_seeds, complete.is_complete) == (2, True)
    assert complete.interval.mean == pytest.approx(0.2105)
    assert (partial.num_seeds, partial.num_planned, partial.is_complete) == (1, 2, False)
    assert partial.interval.mean == pytest.approx(0.215)
    assert math.isnan(partial.interval.low)
    assert empty.num_seeds == 0
    assert math.isnan(empty.interval.mean)


def test_missing_members_are_named_with_status_and_reason() -> None:
    sensitivity = estimate_sensitivity("mixed", frame(MIXED), TAU)
    assert sensitivity.num_members == 12
    assert sorted(member.description for member in sensitivity.missing) == [
        "τ=0.5 η=0.01 seed 1 (FAILED: NonFiniteLossError: loss is nan)",
        "τ=10 η=0.02 seed 0 (KILLED)",
        "τ=10 η=0.02 seed 1 (SCHEDULED)",
    ]


def test_a_finished_member_without_a_metric_is_missing() -> None:
    members = frame(grid((0, 1), (0.01,), (0, 1)))
    members.loc[0, "l2"] = math.nan
    [missing] = estimate_sensitivity("s", members, TAU).missing
    assert (missing.status, missing.reason) == ("FINISHED", "no ℓ2")


def test_a_member_with_one_metric_counts_in_that_one() -> None:
    members = frame(grid((0, 1), (0.01,), (0, 1)))
    members.loc[0, "l2"] = math.nan
    first = {e.metric: e for e in estimate_sensitivity("s", members, TAU).estimates if e.value == 0}
    assert (first["mig"].num_seeds, first["l2"].num_seeds) == (2, 1)


def test_a_metric_that_was_never_measured_is_not_drawn() -> None:
    members = frame(grid((0, 1), (0.01,), (0, 1))).assign(mig=math.nan)
    sensitivity = estimate_sensitivity("s", members, TAU)
    assert sensitivity.metrics == ("l2",)
    assert sensitivity.missing == ()
    assert "MIG" not in means_table(sensitivity)
    with pytest.raises(InvalidInputError, match="with results, got s with 4 FINISHED"):
        estimate_sensitivity("s", members.assign(l2=math.nan), TAU)


def test_unequal_budgets_are_said() -> None:
    members = frame(grid((0, 1), (0.01,), (0,)))
    assert estimate_sensitivity("s", members, TAU).heading == "s: dsprites, 1,000 iterations"
    members.loc[0, "iterations"] = 4000
    assert "unequal budgets, 1,000 to 4,000 iterations" in estimate_sensitivity("s", members, TAU).heading


def test_the_parameter_may_be_another() -> None:
    members = frame([m for z_dim in (50, 5) for m in grid((1,), (0.01,), (0, 1), z_dim=z_dim)])
    sensitivity = estimate_sensitivity("s", members, Z_DIM)
    assert sensitivity.values == [5, 50]
    assert means_table(sensitivity).splitlines()[1].split()[:3] == ["η", "dim", "z"]
    assert list(summary_frame(sensitivity).columns[:2]) == ["label_rate", "z_dim"]


def test_without_a_finished_member_the_others_are_counted() -> None:
    members = frame(grid((0, 1), (0.01,), (0, 1))).assign(status=["FAILED", "FAILED", "FAILED", "RUNNING"])
    with pytest.raises(
        InvalidInputError, match="must have a finished member with results, got s with 3 FAILED, 1 RUNNING"
    ):
        estimate_sensitivity("s", members, TAU)


@pytest.mark.parametrize(
    ("members", "got"),
    [
        (grid((1,), (0.01, 0.02), (0, 1)), "nothing"),
        ([*grid((0,), (0.01,), (0,)), *grid((1,), (0.01,), (0,), alpha=64.0)], "tau, alpha"),
    ],
)
def test_members_must_vary_the_parameter_and_nothing_else(members: list, got: str) -> None:
    with pytest.raises(InvalidInputError, match=f"must vary tau and.* nothing else, got s that varies {got}$"):
        estimate_sensitivity("s", frame(members), TAU)


def test_summary_has_a_row_for_each_point_even_without_results() -> None:
    summary = summary_frame(estimate_sensitivity("mixed", frame(MIXED), TAU))
    assert list(summary) == ["label_rate", "tau", "metric", "num_seeds", "mean", "ci_low", "ci_high", "std"]
    assert len(summary) == 2 * 3 * 4
    empty = summary[(summary["tau"] == 10) & (summary["label_rate"] == 0.02)]
    assert set(empty["num_seeds"]) == {0}
    assert empty["mean"].isna().all()


def test_members_frame_keeps_every_member() -> None:
    kept = members_frame(frame(MIXED), ["tau"])
    expected = "name hash tau label_rate seed status iterations mig mig_y mig_aligned l2 reason"
    assert list(kept) == expected.split()
    assert len(kept) == len(MIXED)


def test_means_table_shows_mean_interval_and_seeds() -> None:
    members = with_ends(grid((0, 1), (0.01,), (0, 1)), {(1, 0.01, 0): ("KILLED", ""), (1, 0.01, 1): ("KILLED", "")})
    table = frame(members).assign(mig=[0.20, 0.22, 0, 0], l2=[0.50, 0.48, 0, 0])
    lines = means_table(estimate_sensitivity("s", table, TAU)).splitlines()
    # Half width .01 · 12.706 = .127.
    assert " ".join(lines[2].split()) == "1 % 0 2/2 0.210 [0.083, 0.337] 0.490 [0.363, 0.617]"
    assert lines[3].split() == ["1", "%", "1", "0/2", "-", "-"]
