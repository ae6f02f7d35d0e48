"""Means, t-intervals, missing members and cautions of a sensitivity, and its tables."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from larvae.errors import InvalidInputError
from sweeps.analysis.estimates import (
    caution,
    estimate_sensitivity,
    mean_interval,
    means_table,
    members_frame,
    missing_members,
    summary_frame,
)
from sweeps.analysis.parameters import TAU, Z_DIM
from tests.analysis.invented import MIXED, frame, grid, with_ends


def test_intervals_are_students_and_few_or_equal_values_have_none_or_no_width() -> None:
    random = np.random.default_rng(0)
    for size in (2, 3, 4, 7, 30):
        values = random.normal(3, 2, size)
        interval = mean_interval(list(values))
        expected = stats.t.interval(0.95, size - 1, values.mean(), stats.sem(values))
        assert interval == pytest.approx((values.mean(), *expected, values.std(ddof=1)))
    assert mean_interval([0.25, 0.25]) == (0.25, 0.25, 0.25, 0)
    assert mean_interval([0.5]) == pytest.approx((0.5, math.nan, math.nan, math.nan), nan_ok=True)
    assert all(math.isnan(number) for number in mean_interval([]))


def test_only_finished_members_are_averaged_and_the_others_are_named() -> None:
    sensitivity = estimate_sensitivity("mixed", frame(MIXED), TAU)
    assert (sensitivity.values, sensitivity.label_rates, len(sensitivity.identities)) == (
        [0, 0.5, 10],
        [0.01, 0.02],
        12,
    )
    mig = {(e.value, e.label_rate): e for e in sensitivity.estimates if e.metric == "mig"}
    for (tau, rate), estimate in mig.items():
        chosen = [m for m in MIXED if (m.config.tau, m.config.label_rate) == (tau, rate)]
        results = [m.mig for m in chosen if m.status == "FINISHED"]
        assert sorted(estimate.seed_results) == sorted(results)
        assert estimate.interval.mean == pytest.approx(np.mean(results) if results else math.nan, nan_ok=True)
        assert (estimate.num_planned, estimate.is_complete) == (2, len(results) == 2)
    assert sorted(member.description for member in sensitivity.missing) == [
        "τ=0.5 η=0.01 seed 1 (FAILED: NonFiniteLossError: loss is nan)",
        "τ=10 η=0.02 seed 0 (KILLED)",
        "τ=10 η=0.02 seed 1 (SCHEDULED)",
    ]


def test_a_finished_member_without_a_metric_counts_in_the_others_and_is_missing() -> None:
    members = frame(grid((0, 1), (0.01,), (0, 1)))
    members.loc[0, "l2"] = math.nan
    sensitivity = estimate_sensitivity("s", members, TAU)
    first = {e.metric: e.num_seeds for e in sensitivity.estimates if e.value == 0}
    assert (first["mig"], first["l2"]) == (2, 1)
    [missing] = sensitivity.missing
    assert (missing.status, missing.reason) == ("FINISHED", "no ℓ2")


def test_a_data_set_without_a_metric_lacks_none() -> None:
    """CelebA has no MIG."""
    faces = frame(grid((0, 1), (0.01,), (0, 1), dataset="celeba")).assign(mig=math.nan)
    both = pd.concat([faces, frame(grid((0, 1), (0.01,), (0, 1)))], ignore_index=True)
    assert missing_members(both, ["mig", "l2"], lambda row: "") == ()
    both.loc[0, "l2"] = both.loc[4, "mig"] = math.nan
    assert [one.reason for one in missing_members(both, ["mig", "l2"], lambda row: "")] == ["no ℓ2", "no MIG"]


def test_a_metric_that_was_never_measured_is_left_out() -> None:
    members = frame(grid((0, 1), (0.01,), (0, 1))).assign(mig=math.nan)
    sensitivity = estimate_sensitivity("s", members, TAU)
    assert (sensitivity.metrics, sensitivity.missing) == (("l2",), ())
    assert "MIG" not in means_table(sensitivity)


def test_unequal_budgets_are_said_and_results_below_ten_thousand_iterations_get_a_caution() -> None:
    members = frame(grid((0, 1), (0.01,), (0,)))
    assert estimate_sensitivity("s", members, TAU).heading == "s: dSprites, 1,000 iterations"
    members.loc[0, "iterations"] = 4000
    sensitivity = estimate_sensitivity("s", members, TAU)
    assert sensitivity.heading == "s: dSprites, unequal budgets, 1,000 to 4,000 iterations"
    assert sensitivity.iterations == (1000, 4000)
    assert "longer training may change any difference" in caution((9_999, 20_000))[0]
    assert caution((10_000, 20_000)) == []


def test_members_must_vary_the_parameter_alone_and_have_results() -> None:
    whole = frame(grid((0, 1), (0.01,), (0, 1)))
    other = frame([*grid((0,), (0.01,), (0,)), *grid((1,), (0.01,), (0,), alpha=64.0)])
    rule = "must vary tau and.* nothing else, got s that varies"
    for members, message in (
        (frame(grid((1,), (0.01, 0.02), (0, 1))), f"{rule} nothing$"),
        (other, f"{rule} tau, alpha$"),
        (whole.assign(status=["FAILED", "FAILED", "FAILED", "RUNNING"]), "results, got s with 3 FAILED, 1 RUNNING"),
        (whole.assign(mig=math.nan, l2=math.nan), "with results, got s with 4 FINISHED"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            estimate_sensitivity("s", members, TAU)


def test_frames_have_a_row_a_point_and_a_row_a_member_whatever_became_of_it() -> None:
    summary = summary_frame(estimate_sensitivity("mixed", frame(MIXED), TAU))
    assert list(summary) == ["label_rate", "tau", "metric", "num_seeds", "mean", "ci_low", "ci_high", "std"]
    assert len(summary) == 2 * 3 * 4
    empty = summary[(summary["tau"] == 10) & (summary["label_rate"] == 0.02)]
    assert set(empty["num_seeds"]) == {0}
    assert empty["mean"].isna().all()
    kept = members_frame(frame(MIXED), ["tau"])
    expected = "name hash tau label_rate seed status iterations mig mig_y mig_aligned l2 reason"
    assert " ".join(kept) == expected
    assert len(kept) == len(MIXED)


def test_the_table_shows_mean_interval_and_seeds() -> None:
    members = with_ends(grid((0, 1), (0.01,), (0, 1)), {(1, 0.01, 0): ("KILLED", ""), (1, 0.01, 1): ("KILLED", "")})
    table = frame(members).assign(mig=[0.20, 0.22, 0, 0], l2=[0.50, 0.48, 0, 0])
    lines = means_table(estimate_sensitivity("s", table, TAU)).splitlines()
    # Half width .01 · 12.706 = .127.
    assert " ".join(lines[2].split()) == "1 % 0 2/2 0.210 [0.083, 0.337] 0.490 [0.363, 0.617]"
    assert lines[3].split() == ["1", "%", "1", "0/2", "-", "-"]
    others = frame([m for z_dim in (50, 5) for m in grid((1,), (0.01,), (0, 1), z_dim=z_dim)])
    assert means_table(estimate_sensitivity("s", others, Z_DIM)).splitlines()[1].split()[:3] == ["η", "dim", "z"]
