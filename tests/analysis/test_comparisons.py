"""LaRVAE against its baseline: paired tests, Holm's correction, the paper's criterion, and what is compared at all."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from larvae.errors import InvalidInputError
from sweeps.analysis.comparisons import (
    LabelRates,
    choose_members,
    compare,
    comparisons_frame,
    comparisons_table,
    holm,
    paired_p_value,
)
from sweeps.analysis.differences import differences_frame
from sweeps.analysis.parameters import TAU
from tests.analysis.invented import frame, grid, paired, panels


def compared(*members: pd.DataFrame, metric: str = "mig") -> LabelRates:
    [rates] = [rates for rates in compare("study", panels(*members), 1.0) if rates.metric == metric]
    return rates


def random_study(random: np.random.Generator) -> pd.DataFrame:
    """Two data sets at three label rates, seven seeds or less, some members failed and some without MIG, shuffled."""
    cells = [
        paired(list(random.normal(0.3, 0.1, 7)), list(random.normal(0.4, 0.1, 7)), label_rate=rate, dataset=dataset)
        for dataset in ("dsprites", "isaac3d")
        for rate in (0.01, 0.02, 0.05)
    ]
    members = panels(*cells).sample(frac=1, random_state=0, ignore_index=True)
    members.loc[random.choice(len(members), 12, replace=False), "status"] = "FAILED"
    members.loc[random.choice(len(members), 5, replace=False), "mig"] = math.nan
    return members


def test_the_paired_test_is_students_on_differences_with_two_sides() -> None:
    random = np.random.default_rng(0)
    for size in (2, 3, 6, 20):
        shared, gaps = random.normal(0, 1, size), random.normal(0.2, 0.5, size)
        statistic = gaps.mean() / (gaps.std(ddof=1) / math.sqrt(size))
        expected = 2 * stats.t.sf(abs(statistic), size - 1)
        assert paired_p_value(list(shared + gaps), list(shared)) == pytest.approx(expected)
        assert paired_p_value(list(shared), list(shared + gaps)) == pytest.approx(expected)


@pytest.mark.filterwarnings("error")
def test_without_two_pairs_or_where_differences_are_equal_up_to_rounding_there_is_no_test() -> None:
    for larvae, baseline in (([], []), ([0.2], [0.1]), ([1.0, 1.0], [1.0, 1.0]), ([0.2, 0.3, 0.7], [0.1, 0.2, 0.6])):
        assert math.isnan(paired_p_value(larvae, baseline))


def test_holm_is_the_closed_form_and_counts_tests_that_could_not_be_made() -> None:
    # Ascending: 4 · .005, 3 · .01, 2 · .03, then 1 · .04, raised to the one before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    random = np.random.default_rng(0)
    for size in (1, 2, 5, 30):
        p_values = random.uniform(0, 0.2, size)
        missing = random.uniform(size=size) < 0.3
        corrected = holm(list(np.where(missing, math.nan, p_values)))
        expected = multipletests(np.where(missing, 1.0, p_values), method="holm")[1]
        np.testing.assert_allclose(corrected, np.where(missing, math.nan, expected))
    assert holm([]) == []


@pytest.mark.parametrize("metric", ["mig", "l2"])
def test_comparisons_are_of_pairs_that_have_both_results_and_corrected_over_a_figure(metric: str) -> None:
    members = random_study(np.random.default_rng(1))
    rates = compared(members, metric=metric)
    assert len(rates.comparisons) == 6
    for c in rates.comparisons:
        cell = members[(members["dataset"] == c.dataset) & (members["label_rate"] == c.label_rate)]
        having = cell[(cell["status"] == "FINISHED") & cell[metric].notna()]
        sides = having.pivot_table(index="seed", columns="tau", values=metric)
        pairs = sides.dropna()
        assert c.num_pairs == len(pairs) > 1
        assert np.array(c.pairs) == pytest.approx(pairs.to_numpy())
        assert c.p_value == pytest.approx(stats.ttest_rel(pairs[0], pairs[1]).pvalue)
        assert c.difference.mean == pytest.approx((pairs[1] - pairs[0]).mean())
        assert (c.baseline.interval.mean, c.larvae.interval.mean) == pytest.approx((sides[0].mean(), sides[1].mean()))
        gap, deviations = abs(sides[1].mean() - sides[0].mean()), (sides[0].std(), sides[1].std())
        assert c.is_beyond_std == (gap > max(deviations))  # the paper's criterion
        assert c.is_significant == (c.p_holm <= 0.05)
        larvae_is_better = (c.difference.mean > 0) == (metric == "mig")
        assert c.better is (c.larvae if larvae_is_better else c.baseline)
    assert {c.is_beyond_std for c in rates.comparisons} == {True, False}
    assert [c.p_holm for c in rates.comparisons] == holm([c.p_value for c in rates.comparisons])
    without = members[(members["status"] != "FINISHED") | members[metric].isna()]
    assert (len(rates.missing), rates.num_members) == (len(without), len(members))


def test_one_seed_has_a_difference_and_no_test() -> None:
    [alone] = compared(paired([0.1], [0.9])).comparisons
    assert (alone.is_beyond_std, alone.is_tested, alone.is_significant) == (False, False, False)
    assert alone.difference.mean == pytest.approx(0.8)


@pytest.mark.parametrize("few_first", [False, True])
def test_a_mean_beside_one_seed_is_not_beyond_a_standard_deviation(few_first: bool) -> None:
    """One seed has no standard deviation, on whichever side it is."""
    few, many = [0.9, math.nan, math.nan], [0.1, 0.11, 0.12]
    [one] = compared(paired(few, many) if few_first else paired(many, few)).comparisons
    assert not one.is_beyond_std


def test_data_sets_and_regularisers_come_in_the_papers_order() -> None:
    names = ["zoo", "isaac3d", "shapes3d-rendered", "dsprites"]
    rates = compared(
        *[paired([0.1], [0.2], dataset=name) for name in names],
        *[paired([0.1], [0.2], regulariser=name) for name in ("other", "factor_vae", "beta_vae")],
    )
    assert rates.datasets == names[::-1]
    assert rates.regularisers == ["beta_vae", "beta_tcvae", "factor_vae", "other"]
    assert rates.baseline_name == "semi-supervised baseline (τ = 0)"
    assert compared(paired([0.1], [0.2])).baseline_name == "SS-β-TCVAE (τ = 0)"


def test_a_metric_is_compared_where_it_was_measured() -> None:
    faces = paired([0.1, 0.2], [0.2, 0.4], dataset="celeba").assign(mig=math.nan)
    alone = paired([0.1, 0.2], [], label_rate=0.02)
    scored = paired([0.1, 0.2], [0.2, 0.4]).assign(factor_vae_score=[0.5, 0.5, 0.6, 0.7])
    mig, l2, score = compare("study", panels(scored, alone, faces), 1.0)
    assert (mig.metric, mig.datasets, mig.missing) == ("mig", ["dsprites"], ())
    assert (l2.metric, l2.datasets) == ("l2", ["dsprites", "celeba"])
    assert score.metric == "factor_vae_score"
    assert score.panel("dsprites", "beta_tcvae")[0].difference.mean == pytest.approx(0.15)
    without_larvae = mig.panel("dsprites", "beta_tcvae")[1]
    assert (without_larvae.label_rate, without_larvae.num_pairs, without_larvae.larvae.num_planned) == (0.02, 0, 0)


def test_tau_is_the_only_one_above_zero_or_the_one_asked_for() -> None:
    assert choose_members("s", frame(grid((0, 0.05), (0.01,), (0,))), None)[1] == 0.05
    chosen, tau = choose_members("s", frame(grid((0, 0.5, 1), (0.01,), (0,))), 0.5)
    assert (tau, set(chosen["tau"])) == (0.5, {0, 0.5})


@pytest.mark.parametrize(
    ("members", "tau", "message"),
    [
        (frame(grid((0, 0.5, 1), (0.01,), (0,))), None, r"`tau` must be given for s, one of 0\.5, 1, got none"),
        (frame(grid((0, 0.5, 1), (0.01,), (0,))), 3.0, r"`tau` must be one of 0\.5, 1 for s, got 3"),
        (frame(grid((0.5, 1), (0.01,), (0,))), None, "must have members of tau = 0, the baseline, got s without"),
        (frame(grid((1,), (0.01, 0.02), (0,))), None, "must vary tau.* got s that varies none of its parameters"),
        (panels(paired([1], [2], alpha=1.0), paired([1], [2], alpha=2.0)), None, "got s that varies tau, alpha"),
        (panels(paired([1], [2]), paired([1], [2])), 1.0, "got s with several of dataset=dsprites .* tau=0 seed=0"),
        (paired([0.1, 0.2], [0.2, 0.4]).assign(status="FAILED"), 1.0, "finished member with .* got s with 4 FAILED"),
    ],
)
def test_members_must_be_comparable(members: pd.DataFrame, tau: float | None, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        compare("s", *choose_members("s", members, tau))


def test_frame_and_table_have_a_row_a_comparison() -> None:
    sure = paired([0.1, 0.2, 0.3, 0.4], [0.3, 0.401, 0.502, 0.601])
    rates = compare("s", panels(sure, paired([0.1], [0.2], label_rate=0.02)), 1.0)
    rows = comparisons_frame(rates)
    expected = (
        "dataset regulariser label_rate metric num_pairs baseline_mean baseline_std larvae_mean larvae_std "
        "mean_difference ci_low ci_high p_value p_holm significant beyond_std"
    )
    assert list(rows) == expected.split()
    assert list(rows["metric"]) == ["mig", "mig", "l2", "l2"]
    assert list(rows["mean_difference"]) == pytest.approx([0.201, 0.1, -0.201, -0.1])
    assert list(rows["significant"]) == [True, False, True, False]
    lines = comparisons_table(rates[0]).splitlines()
    assert lines[0].startswith("MIG: SS-β-TCVAE (τ = 0), LaRVAE (τ = 1)")
    assert "the paper's criterion" in lines[1]
    # Differences .2, .201, .202, .201: mean .201, standard deviation .00082, half width .0013.
    assert " ".join(lines[4].split()) == "β-TCVAE 1 % 4/4 0.250 0.451 +0.201 [+0.200, +0.202] <.001 * > s"
    assert " ".join(lines[5].split()) == "β-TCVAE 2 % 1/1 0.100 0.200 +0.100 -"
    assert max(map(len, lines)) <= 80


def test_each_value_is_compared_with_the_lowest_over_seeds_that_have_both() -> None:
    members = frame(grid((0, 1, 10), (0.01, 0.02), (0, 1, 2)))
    members["mig"] = 0.1 * members["tau"] + members["seed"] * (1 + 0.01 * members["tau"])
    members.loc[(members["tau"] == 10) & (members["seed"] == 2), "status"] = "FAILED"
    rows = differences_frame(members, TAU)
    mig = rows[rows["metric"] == "mig"]
    assert list(mig["p_holm"]) == holm(list(mig["p_value"]))
    first = mig[mig["label_rate"] == 0.01]
    assert (list(first["tau"]), list(first["against"]), list(first["num_pairs"])) == ([1, 10], [0, 0], [3, 2])
    assert list(first["mean_difference"]) == pytest.approx([0.1 + 0.01, 1 + 0.05])
