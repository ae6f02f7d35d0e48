"""The figure of label rates: stars, words, references and notes; and that nothing overlaps."""

from __future__ import annotations

import itertools
import math

import matplotlib as mpl
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sweeps.analysis.comparisons import LabelRates, compare
from sweeps.analysis.figures.label_rate_figures import STAR, draw_row, figure_notes, label_rate_figure
from sweeps.analysis.style import STYLE
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


@pytest.mark.parametrize("metric", ["mig", "l2"])
def test_a_star_stands_beyond_the_better_one_within_its_panel_where_the_difference_is_significant(metric: str) -> None:
    for larvae, side in ((BETTER, 1), (WORSE, -1)):
        rates = compared(paired(BASELINE, UNSURE), paired(BASELINE, larvae, label_rate=0.02), metric=metric)
        assert [c.is_significant for c in rates.comparisons] == [False, True]
        ax = drawn(rates)
        [star] = stars(ax)
        better = rates.comparisons[1].better
        assert math.copysign(1, star.get_xdata()[0] - 1) == side
        ends = {
            "mig": max(better.interval.high, *better.seed_results),
            "l2": min(better.interval.low, *better.seed_results),
        }
        assert star.get_ydata()[0] == ends[metric]
        ax.figure.draw_without_rendering()
        _, y = ax.transAxes.inverted().transform(star.get_transform().transform(star.get_xydata()[0]))
        assert 0.03 < y < 0.97


def test_a_row_a_data_set_and_a_column_a_regulariser_with_words_where_there_is_nothing() -> None:
    scheduled = paired(BASELINE, UNSURE, dataset="isaac3d", regulariser="factor_vae").assign(status="SCHEDULED")
    trained = [paired(BASELINE, BETTER, dataset=d, regulariser="beta_vae") for d in ("isaac3d", "dsprites")]
    figure = label_rate_figure(compared(*trained, scheduled))
    assert [ax.get_title() for ax in figure.axes] == ["β-VAE", "FactorVAE", "", ""]
    assert [ax.get_ylabel() for ax in figure.axes] == ["dSprites", "", "Isaac3D", ""]
    assert figure.get_supylabel() == "MIG (higher is better)"
    assert [len(stars(ax)) for ax in figure.axes] == [1, 0, 1, 0]
    words = [[text.get_text() for text in ax.texts if text.get_text().startswith("no")] for ax in figure.axes]
    assert words == [[], ["not in the study"], [], ["no results yet"]]
    legends = [[text.get_text() for text in figure.legends[0].get_texts()]]
    [legend] = label_rate_figure(compared(paired(BASELINE, UNSURE))).legends
    legends.append([text.get_text() for text in legend.get_texts()])
    names = ["semi-supervised baseline (τ = 0)", "LaRVAE (τ = 1)", "significantly better"]
    assert legends == [names, ["SS-β-TCVAE (τ = 0)", "LaRVAE (τ = 1)"]]


def test_notes_say_how_it_was_tested_what_was_not_and_what_is_missing() -> None:
    rates = compared(paired(BASELINE, BETTER), paired(BASELINE, UNSURE, label_rate=0.02))
    [points, caution, test] = figure_notes(rates)
    assert points == "study: 1,000 iterations; mean, 95 % t-interval and single values of 4 seeds"
    assert "longer training may change any difference" in caution
    assert figure_notes(rates._replace(iterations=(10_000,)))[1] == test
    assert test == "★ significant: paired t-test over seeds, two-sided, Holm-corrected over 2 comparisons, p ≤ 0.05"
    [points, _, test] = figure_notes(compared(paired([0.1], [0.2])))
    assert points == "study: 1,000 iterations; one seed"
    assert test == "not tested: no point has two seeds of both models"
    few, equal = paired(BASELINE, [0.3], label_rate=0.02), paired([0.1, 0.2], [0.2, 0.3], label_rate=0.03)
    members = panels(paired(BASELINE, UNSURE), few, equal)
    members.loc[0, "status"] = "KILLED"
    [points, _, test, missing] = figure_notes(compared(members))
    assert points.endswith("; hollow: seeds missing; intervals are cut at 0")
    assert test.startswith("none significant: paired t-test")
    assert test.endswith("1 not tested (fewer than two seeds of both models); 1 not tested (equal differences)")
    assert missing == "1 of 17 members missing: dSprites β-TCVAE τ=0 η=0.01 seed 0 (KILLED)"


@pytest.mark.slow
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
    figure = label_rate_figure(compared(members, metric="l2"))
    with mpl.rc_context(STYLE):
        figure.draw_without_rendering()
        boxes = [ax.get_tightbbox() for ax in figure.axes]
        boxes += [artist.get_window_extent() for artist in (*figure.texts, *figure.legends)]
    assert not [pair for pair in itertools.combinations(boxes, 2) if pair[0].overlaps(pair[1])]
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.width and box.y0 >= 0 for box in boxes)
