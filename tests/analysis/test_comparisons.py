from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from larvae.errors import InvalidInputError
from sweeps.analysis.comparisons import (
    Comparison,
    LabelRates,
    choose_members,
    compare,
    comparisons_frame,
    comparisons_table,
    holm,
    paired_p_value,
)
from tests.analysis.invented import frame, grid, paired, panels


def compared(*members: pd.DataFrame, metric: str = "mig") -> LabelRates:
    [rates] = [rates for rates in compare("study", panels(*members), 1.0) if rates.metric == metric]
    return rates


def only(rates: LabelRates) -> Comparison:
    [comparison] = rates.comparisons
    return comparison


def differences(comparison: Comparison) -> list[float]:
    return [larvae - baseline for baseline, larvae in comparison.pairs]


def test_paired_test_of_three_pairs_by_hand() -> None:
    # Differences 1, 2, 3: t = 2 / (1 / √3) = 3.4641; with 2 degrees of freedom p = 1 − t / √(2 + t²) = 1 − t / √14.
    assert paired_p_value([2.0, 4.0, 3.0], [1.0, 2.0, 0.0]) == pytest.approx(1 - 2 * math.sqrt(3 / 14))


def test_the_test_has_two_sides() -> None:
    assert paired_p_value([1.0, 2.0, 0.0], [2.0, 4.0, 3.0]) == pytest.approx(1 - 2 * math.sqrt(3 / 14))


def test_pairing_removes_what_seeds_share() -> None:
    baseline = [0.1, 0.3, 0.5, 0.7]
    larvae = [0.15, 0.36, 0.54, 0.75]
    assert paired_p_value(larvae, baseline) < 0.01 < 0.5 < stats.ttest_ind(larvae, baseline).pvalue


@pytest.mark.parametrize(
    ("larvae", "baseline"),
    [([], []), ([0.2], [0.1]), ([1.0, 1.0], [1.0, 1.0]), ([0.2, 0.3, 0.7], [0.1, 0.2, 0.6])],
    ids=["no seed", "one seed", "no difference", "equal differences up to rounding"],
)
@pytest.mark.filterwarnings("error")
def test_without_variance_there_is_no_test(larvae: list[float], baseline: list[float]) -> None:
    assert math.isnan(paired_p_value(larvae, baseline))


def test_holm_by_hand() -> None:
    # Ascending: 4 · .005, 3 · .01, 2 · .03, then 1 · .04, raised to the one before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_counts_tests_that_could_not_be_made() -> None:
    corrected = holm([0.01, math.nan, 0.03])
    assert corrected[::2] == pytest.approx([0.03, 0.06])
    assert math.isnan(corrected[1])
    assert all(math.isnan(p) for p in holm([math.nan, math.nan]))


def test_holm_keeps_the_order_and_is_bonferroni_for_the_smallest() -> None:
    p_values = np.random.default_rng(0).uniform(0, 0.1, size=6)
    corrected = np.array(holm(list(p_values)))
    assert corrected.min() == pytest.approx(6 * p_values.min())
    assert (np.diff(corrected[np.argsort(p_values)]) >= 0).all()
    assert (corrected >= p_values).all()


def test_a_comparison_has_means_differences_and_p() -> None:
    comparison = only(compared(paired([0.1, 0.2, 0.3], [0.2, 0.4, 0.6])))
    assert comparison.baseline.interval.mean == pytest.approx(0.2)
    assert comparison.larvae.interval.mean == pytest.approx(0.4)
    assert differences(comparison) == pytest.approx([0.1, 0.2, 0.3])
    # t(.975, 2) = 4.302653, standard deviation .1.
    assert comparison.difference.low == pytest.approx(0.2 - 0.2484138)
    assert comparison.p_value == comparison.p_holm == pytest.approx(1 - 2 * math.sqrt(3 / 14))
    assert not comparison.is_significant


def test_the_better_one_depends_on_the_metric() -> None:
    members = paired([0.1, 0.2, 0.3], [0.2, 0.4, 0.6])  # ℓ2 is 1 − MIG: lower for LaRVAE, and better
    for metric in ("mig", "l2"):
        comparison = only(compared(members, metric=metric))
        assert comparison.better is comparison.larvae
    worse = only(compared(paired([0.5, 0.5], [0.2, 0.4])))
    assert worse.better is worse.baseline


def test_seeds_without_their_partner_are_no_pairs() -> None:
    members = paired([0.1, 0.2, 0.3, 0.9], [0.2, 0.4, 0.6, 0.9])
    members.loc[(members["tau"] == 1) & (members["seed"] == 3), "status"] = "RUNNING"
    members.loc[(members["tau"] == 0) & (members["seed"] == 2), "mig"] = math.nan
    comparison = only(compared(members))
    assert differences(comparison) == pytest.approx([0.1, 0.2])
    assert (comparison.baseline.num_seeds, comparison.larvae.num_seeds, comparison.num_pairs) == (3, 3, 2)


def test_pairs_are_of_one_seed_whatever_the_order() -> None:
    members = paired([0.1, 0.2, 0.3], [0.2, 0.4, 0.6]).sample(frac=1, random_state=0)
    assert sorted(differences(only(compared(members)))) == pytest.approx([0.1, 0.2, 0.3])


def test_one_seed_has_a_difference_and_no_test() -> None:
    comparison = only(compared(paired([0.1], [0.3])))
    assert comparison.difference.mean == pytest.approx(0.2)
    assert not comparison.is_tested
    assert not comparison.is_significant


def test_equal_differences_are_not_significant() -> None:
    comparison = only(compared(paired([0.1, 0.2, 0.3], [0.3, 0.4, 0.5])))
    assert (comparison.num_pairs, comparison.is_tested, comparison.is_significant) == (3, False, False)


def test_the_correction_is_over_one_metric_and_all_that_is_compared_in_it() -> None:
    rates = compared(
        paired([0.1, 0.2, 0.3], [0.2, 0.4, 0.6]),
        paired([0.1, 0.2, 0.3], [0.2, 0.4, 0.6], label_rate=0.02),
        paired([0.1, 0.2, 0.3], [0.2, 0.4, 0.6], dataset="isaac3d"),
        paired([0.1, 0.2, 0.3], [0.2, 0.4, 0.6], regulariser="factor_vae"),
    )
    assert [c.p_holm for c in rates.comparisons] == pytest.approx([4 * (1 - 2 * math.sqrt(3 / 14))] * 4)


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


def test_a_data_set_without_a_metric_is_not_in_its_figure() -> None:
    faces = paired([0.1, 0.2], [0.2, 0.4], dataset="celeba").assign(mig=math.nan)
    members = [paired([0.1, 0.2], [0.2, 0.4]), faces]
    mig, l2 = compare("study", panels(*members), 1.0)
    assert (mig.metric, mig.datasets, mig.missing) == ("mig", ["dsprites"], ())
    assert (l2.metric, l2.datasets) == ("l2", ["dsprites", "celeba"])


def test_a_third_metric_is_compared_where_it_was_computed() -> None:
    members = paired([0.1, 0.2], [0.2, 0.4]).assign(factor_vae_score=[0.5, 0.5, 0.6, 0.7])
    assert differences(only(compared(members, metric="factor_vae_score"))) == pytest.approx([0.1, 0.2])


def test_missing_members_are_named() -> None:
    members = paired([0.1, 0.2], [0.2, 0.4], dataset="shapes3d-rendered", regulariser="factor_vae")
    members.loc[(members["tau"] == 1) & (members["seed"] == 1), ["status", "reason"]] = ["FAILED", "loss is nan"]
    [missing] = compared(members).missing
    assert missing.description == "3DShapes (rendered) FactorVAE τ=1 η=0.01 seed 1 (FAILED: loss is nan)"


def test_a_label_rate_of_the_baseline_alone_has_no_pairs() -> None:
    alone = paired([0.1, 0.2], [], label_rate=0.02)
    comparison = compared(paired([0.1, 0.2], [0.2, 0.4]), alone).panel("dsprites", "beta_tcvae")[1]
    assert (comparison.label_rate, comparison.num_pairs, comparison.larvae.num_planned) == (0.02, 0, 0)


def test_the_only_tau_above_zero_is_larvae() -> None:
    assert choose_members("s", frame(grid((0, 0.05), (0.01,), (0,))), None)[1] == 0.05


def test_of_several_taus_one_is_asked_for() -> None:
    members = frame(grid((0, 0.5, 1), (0.01,), (0,)))
    with pytest.raises(InvalidInputError, match=r"`tau` must be given for s, one of 0\.5, 1, got none"):
        choose_members("s", members, None)
    chosen, tau = choose_members("s", members, 0.5)
    assert (tau, set(chosen["tau"])) == (0.5, {0, 0.5})
    with pytest.raises(InvalidInputError, match=r"`tau` must be one of 0\.5, 1 for s, got 3"):
        choose_members("s", members, 3.0)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (frame(grid((0.5, 1), (0.01,), (0,))), "must have members of tau = 0, the baseline, got s without"),
        (frame(grid((1,), (0.01, 0.02), (0, 1))), "must vary tau.* got s that varies none of its parameters"),
        (panels(paired([0.1], [0.2], alpha=1.0), paired([0.1], [0.2], alpha=2.0)), "got s that varies tau, alpha"),
    ],
)
def test_members_must_be_comparable(members: pd.DataFrame, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        choose_members("s", members, None)


def test_a_seed_with_two_results_is_refused() -> None:
    members = paired([0.1, 0.2], [0.2, 0.4])
    with pytest.raises(InvalidInputError, match=r"got s with several of dataset=dsprites .* tau=0 seed=0"):
        compare("s", panels(members, members), 1.0)


def test_without_results_the_members_are_counted() -> None:
    members = paired([0.1, 0.2], [0.2, 0.4]).assign(status="FAILED")
    with pytest.raises(InvalidInputError, match="must have a finished member with results, got s with 4 FAILED"):
        compare("s", members, 1.0)


def test_the_frame_has_a_row_for_each_comparison_and_metric() -> None:
    rows = comparisons_frame(compare("s", paired([0.1, 0.2, 0.3], [0.2, 0.4, 0.6]), 1.0))
    expected = (
        "dataset regulariser label_rate metric num_pairs baseline_mean baseline_std larvae_mean larvae_std "
        "mean_difference ci_low ci_high p_value p_holm significant beyond_std"
    )
    assert list(rows) == expected.split()
    assert list(rows["metric"]) == ["mig", "l2"]
    assert list(rows["mean_difference"]) == pytest.approx([0.2, -0.2])
    assert not rows["significant"].any()
    assert list(rows["baseline_std"]) == pytest.approx([0.1, 0.1])
    assert list(rows["larvae_std"]) == pytest.approx([0.2, 0.2])


@pytest.mark.parametrize(("gap", "is_beyond"), [(0.19, False), (0.21, True), (-0.21, True)])
def test_the_paper_s_criterion_is_the_larger_standard_deviation(gap: float, is_beyond: bool) -> None:
    baseline = [0.4, 0.5, 0.6]
    assert only(compared(paired(baseline, [0.3 + gap, 0.5 + gap, 0.7 + gap]))).is_beyond_std == is_beyond
    assert not only(compared(paired([0.1], [0.9]))).is_beyond_std  # one seed has no standard deviation


def test_the_table_shows_difference_p_and_star() -> None:
    sure = paired([0.1, 0.2, 0.3, 0.4], [0.3, 0.401, 0.502, 0.601])
    lines = comparisons_table(compared(sure, paired([0.1], [0.2], label_rate=0.02))).splitlines()
    assert lines[0].startswith("MIG: SS-β-TCVAE (τ = 0), LaRVAE (τ = 1)")
    assert "the paper's criterion" in lines[1]
    assert lines[2].split() == ["dSprites"]
    # Differences .2, .201, .202, .201: mean .201, standard deviation .00082, half width .0013.
    assert " ".join(lines[4].split()) == "β-TCVAE 1 % 4/4 0.250 0.451 +0.201 [+0.200, +0.202] <.001 * > s"
    assert " ".join(lines[5].split()) == "β-TCVAE 2 % 1/1 0.100 0.200 +0.100 -"
    assert max(map(len, lines)) <= 80
