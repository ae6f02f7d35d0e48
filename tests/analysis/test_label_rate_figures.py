from __future__ import annotations

import math

import matplotlib as mpl
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sweeps.analysis.comparisons import LabelRates, compare
from sweeps.analysis.figures.label_rate_figures import STAR, draw_row, figure_notes, label_rate_figure
from sweeps.analysis.style import PALETTE, STYLE
from tests.analysis.invented import paired, panels

BASELINE = [0.1, 0.2, 0.3, 0.4]
BETTER, WORSE = [0.3, 0.401, 0.502, 0.599], [0.0, 0.101, 0.202, 0.299]
UNSURE = [0.2, 0.1, 0.4, 0.3]


def compared(*members: pd.DataFrame, metric: str = "mig") -> LabelRates:
    [rates] = [rates for rates in compare("study", panels(*members), 1.0) if rates.metric == metric]
    return rates


def drawn(rates: LabelRates) -> Axes:
    """The only panel of a study with one data set and one regulariser."""
    [ax] = draw_row([Figure().subplots()], rates, "dsprites")
    return ax


def stars(ax: Axes) -> list[Line2D]:
    return [line for line in ax.lines if line.get_marker() == STAR["marker"]]


def errorbars(ax: Axes) -> list[ErrorbarContainer]:
    return [container for container in ax.containers if isinstance(container, ErrorbarContainer)]


def test_label_rates_are_equally_spaced_and_curves_side_by_side() -> None:
    rates = [paired(BASELINE, UNSURE, label_rate=rate) for rate in (0.01, 0.025, 0.1)]
    ax = drawn(compared(*rates))
    assert list(ax.get_xticks()) == [0, 1, 2]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "2.5", "10"]
    baseline, larvae = (bar.lines[0] for bar in errorbars(ax))
    assert [baseline.get_color(), larvae.get_color()] == list(PALETTE[:2])
    assert all(baseline.get_xdata() < larvae.get_xdata())
    assert (baseline.get_xdata() + larvae.get_xdata()) / 2 == pytest.approx([0, 1, 2])


def test_means_intervals_and_a_dot_for_each_seed() -> None:
    ax = drawn(compared(paired([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])))
    bars = errorbars(ax)
    assert [float(bar.lines[0].get_ydata()[0]) for bar in bars] == pytest.approx([0.2, 0.5])
    [low, high] = bars[0].lines[2][0].get_segments()[0]
    assert high[1] - low[1] == pytest.approx(2 * 0.2484138)
    scatters = [collection for collection in ax.collections if isinstance(collection, PathCollection)]
    dots = [float(y) for scatter in scatters for _, y in scatter.get_offsets()]
    assert sorted(dots) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])


def test_a_star_stands_only_where_the_difference_is_significant() -> None:
    rates = compared(paired(BASELINE, UNSURE), paired(BASELINE, BETTER, label_rate=0.02))
    assert [c.is_significant for c in rates.comparisons] == [False, True]
    [star] = stars(drawn(rates))
    assert star.get_xdata()[0] == pytest.approx(1, abs=0.2)


def test_the_star_is_the_better_ones() -> None:
    for larvae, side in ((BETTER, 1), (WORSE, -1)):
        rates = compared(paired(BASELINE, larvae))
        [star] = stars(drawn(rates))
        assert math.copysign(1, star.get_xdata()[0]) == side
        [comparison] = rates.comparisons
        assert star.get_ydata()[0] == max(comparison.better.interval.high, *comparison.better.seed_results)


def test_the_star_is_below_where_lower_is_better() -> None:
    rates = compared(paired(BASELINE, BETTER), metric="l2")
    [comparison] = rates.comparisons
    [star] = stars(drawn(rates))
    assert star.get_xdata()[0] > 0
    assert star.get_ydata()[0] == min(comparison.larvae.interval.low, *comparison.larvae.seed_results)


def test_stars_stay_inside_their_panels() -> None:
    for metric in ("mig", "l2"):
        figure = label_rate_figure(compared(paired(BASELINE, BETTER), metric=metric))
        figure.draw_without_rendering()
        [ax] = figure.axes
        [star] = stars(ax)
        _, y = ax.transAxes.inverted().transform(star.get_transform().transform(star.get_xydata()[0]))
        assert 0.03 < y < 0.97


def test_a_row_a_data_set_and_a_column_a_regulariser() -> None:
    regularisers, datasets = ("factor_vae", "beta_tcvae", "beta_vae"), ("isaac3d", "dsprites")
    members = [paired(BASELINE, BETTER, dataset=d, regulariser=r) for d in datasets for r in regularisers]
    figure = label_rate_figure(compared(*members))
    assert len(figure.axes) == 6
    assert [ax.get_title() for ax in figure.axes] == ["β-VAE", "β-TCVAE", "FactorVAE", "", "", ""]
    assert [ax.get_ylabel() for ax in figure.axes] == ["dSprites", "", "", "Isaac3D", "", ""]
    assert figure.get_supylabel() == "MIG (higher is better)"
    assert [len(errorbars(ax)) for ax in figure.axes] == [2] * 6
    assert [len(stars(ax)) for ax in figure.axes] == [1] * 6


def test_the_legend_names_curves_and_star_where_there_is_one() -> None:
    labels = []
    for larvae in (UNSURE, BETTER):
        [legend] = label_rate_figure(compared(paired(BASELINE, larvae))).legends
        labels.append([text.get_text() for text in legend.get_texts()])
    assert labels == [
        ["SS-β-TCVAE (τ = 0)", "LaRVAE (τ = 1)"],
        ["SS-β-TCVAE (τ = 0)", "LaRVAE (τ = 1)", "significantly better"],
    ]


def test_panels_without_members_or_results_say_so() -> None:
    scheduled = paired(BASELINE, UNSURE, dataset="isaac3d", regulariser="factor_vae").assign(status="SCHEDULED")
    trained = [paired(BASELINE, UNSURE, dataset=dataset) for dataset in ("dsprites", "isaac3d")]
    figure = label_rate_figure(compared(*trained, scheduled))
    words = [[text.get_text() for text in ax.texts if text.get_text().startswith("no")] for ax in figure.axes]
    assert words == [[], ["not in the study"], [], ["no results yet"]]


def test_a_reference_is_written_once_a_row() -> None:
    members = [paired(BASELINE, UNSURE, regulariser=regulariser) for regulariser in ("beta_vae", "factor_vae")]
    figure = label_rate_figure(compared(*members))
    assert [[text.get_text() for text in ax.texts] for ax in figure.axes] == [[], ["↑ ceiling .896"]]
    near = [members[0].assign(mig=members[0]["mig"] + 0.5), members[1]]
    figure = label_rate_figure(compared(*near))
    assert [[text.get_text() for text in ax.texts] for ax in figure.axes] == [[], ["ceiling .896"]]
    assert [any(line.get_linestyle() == "--" for line in ax.lines) for ax in figure.axes] == [True, True]


def test_equal_results_at_the_end_of_the_scale_can_be_drawn() -> None:
    members = paired(BASELINE, BETTER).assign(factor_vae_score=1.0)
    ax = drawn(compared(members, metric="factor_vae_score"))
    low, high = ax.get_ylim()
    assert low < high == 1
    assert stars(ax) == []


def test_notes_say_how_it_was_tested() -> None:
    rates = compared(paired(BASELINE, BETTER), paired(BASELINE, UNSURE, label_rate=0.02))
    [points, caution, test] = figure_notes(rates)
    assert "come and go with seed and budget" in caution
    assert figure_notes(rates._replace(iterations=(10_000,)))[1] == test
    assert points == "study: 1,000 iterations; mean, 95 % t-interval and single values of 4 seeds"
    assert test == ("★ significant: paired t-test over seeds, two-sided, Holm-corrected over 2 comparisons, p ≤ 0.05")
    assert figure_notes(compared(paired(BASELINE, UNSURE)))[2].startswith("none significant: paired t-test")


def test_notes_say_what_was_not_tested() -> None:
    [points, _, test] = figure_notes(compared(paired([0.1], [0.2])))
    assert points == "study: 1,000 iterations; one seed"
    assert test == "not tested: no point has two seeds of both models"
    few = paired(BASELINE, [0.3], label_rate=0.02)
    equal = paired([0.1, 0.2], [0.2, 0.3], label_rate=0.03)
    note = figure_notes(compared(paired(BASELINE, BETTER), few, equal))[2]
    assert note.endswith("1 not tested (fewer than two seeds of both models); 1 not tested (equal differences)")


def test_notes_name_missing_members_and_hollow_points() -> None:
    members = paired(BASELINE, BETTER)
    members.loc[0, "status"] = "KILLED"
    notes = figure_notes(compared(members))
    assert notes[0].endswith("; hollow: seeds missing")
    assert notes[3] == "1 of 8 members missing: dSprites β-TCVAE τ=0 η=0.01 seed 0 (KILLED)"


@pytest.mark.filterwarnings("error")
def test_nothing_overlaps_in_the_papers_figure() -> None:
    members = panels(
        *[
            paired(BASELINE, BETTER, label_rate=rate, dataset=dataset, regulariser=regulariser)
            for rate in (0.01, 0.015, 0.02, 0.025)
            for dataset in ("dsprites", "shapes3d-rendered", "isaac3d")
            for regulariser in ("beta_vae", "beta_tcvae", "factor_vae")
        ]
    )
    members.loc[:9, "status"] = "RUNNING"
    [rates] = [rates for rates in compare("study", members, 1.0) if rates.metric == "l2"]
    figure = label_rate_figure(rates)
    with mpl.rc_context(STYLE):
        figure.draw_without_rendering()
        boxes = [ax.get_tightbbox() for ax in figure.axes]
        boxes += [text.get_window_extent() for text in figure.texts]
        boxes += [legend.get_window_extent() for legend in figure.legends]
    overlapping = [(a, b) for i, a in enumerate(boxes) for b in boxes[:i] if a.overlaps(b)]
    assert overlapping == []
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.width and box.y0 >= 0 for box in boxes)
