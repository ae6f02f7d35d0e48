"""LaRVAE and its baselines over label rates (Figs. 2, E.1 and E.2 of the paper): numbers to figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import offset_copy

from larvae.metrics import SCORES
from sweeps.analysis.comparisons import ALPHA, Comparison, LabelRates
from sweeps.analysis.estimates import caution
from sweeps.analysis.names import written
from sweeps.analysis.style import (
    GREY,
    PANELS,
    STYLE,
    draw_curve,
    draw_reference,
    figure_with_notes,
    legend_handle,
    limit_axis,
    missing_note,
    points_note,
)

STAR: dict[str, Any] = {"marker": "*", "markersize": 5.5, "markeredgewidth": 0, "color": "black", "linestyle": "none"}
_STAR_DISTANCE = 5.5
"""Points from the end of what is starred to the middle of the star."""
_STAR_ROOM = 0.14
"""Share of an axis' height that a star takes beyond its point."""
_SMALLEST_SHARE = 0.6
"""Share of a row's height that the data must keep for a reference beyond them to be drawn as a line."""
_MOST_LONG_LABELS = 4
"""Panels of a row that have room for a label of several words."""
_MOST_TICKS = 14
"""Label rates of all panels of a row that are written in the usual size."""
_ROW_HEIGHT, _FRAME_HEIGHT = 1.25, 0.75  # inches; the frame is legend, titles and the x axis


def label_rate_figure(rates: LabelRates) -> Figure:
    """A row a data set, a column a regulariser; x: label rates, equally spaced; baseline and LaRVAE side by side."""
    datasets, regularisers = rates.datasets, rates.regularisers
    with mpl.rc_context(STYLE):
        figure = figure_with_notes(_FRAME_HEIGHT + _ROW_HEIGHT * len(datasets), figure_notes(rates))
        axes = figure.subplots(len(datasets), len(regularisers), sharex=True, sharey="row", squeeze=False)
        for row, dataset in zip(axes, datasets, strict=True):
            draw_row(list(row), rates, dataset)
        for ax, regulariser in zip(axes[0], regularisers, strict=True):
            ax.set_title(written(regulariser), pad=12 if rates.references else None)  # above the note on one
        for ax in axes[-1]:
            ax.set_xlabel("label rate η (%)" if len(regularisers) <= _MOST_LONG_LABELS else "η (%)")
        figure.supylabel(PANELS[rates.metric].label, fontsize="medium")
        handles = [legend_handle(0, rates.baseline_name), legend_handle(1, rates.larvae_name)]
        if any(comparison.is_significant for comparison in rates.comparisons):
            handles.append(Line2D([], [], label="significantly better", **STAR))
        figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), columnspacing=1.4)
    return figure


def draw_row(row: Sequence[Axes], rates: LabelRates, dataset: str) -> Sequence[Axes]:
    """Draw one data set on axes that share their y axis: a panel a regulariser, the reference, and stars."""
    panels = [rates.panel(dataset, regulariser) for regulariser in rates.regularisers]
    for ax, comparisons in zip(row, panels, strict=True):
        draw_comparisons(ax, rates, comparisons)
    row[0].set_ylabel(written(dataset), labelpad=8)
    limit_axis(row[0], PANELS[rates.metric])
    if dataset in rates.references:
        sides = [side for comparisons in panels for c in comparisons for side in (c.baseline, c.larvae)]
        height = np.ptp(np.concatenate([side.seed_results for side in sides]))
        draw_reference(row, rates.references[dataset], height, _SMALLEST_SHARE)
    for ax, comparisons in zip(row, panels, strict=True):
        draw_stars(ax, rates, comparisons)
    return row


def draw_comparisons(ax: Axes, rates: LabelRates, comparisons: Sequence[Comparison]) -> Axes:
    """Draw the curves of one data set and regulariser, the baseline's and LaRVAE's; words where there is nothing."""
    for index, curve in enumerate(([c.baseline for c in comparisons], [c.larvae for c in comparisons])):
        positions = np.array([_position(rates, estimate.label_rate, index) for estimate in curve])
        draw_curve(ax, curve, positions, index, 0.4 * _dodge(rates) * (1 if index else -1), most_seeds=rates.num_seeds)
    if not any(c.baseline.num_seeds or c.larvae.num_seeds for c in comparisons):
        absence = "no results yet" if comparisons else "not in the study"
        ax.text(0.5, 0.5, absence, transform=ax.transAxes, ha="center", va="center", color=GREY)
    ax.set_xticks(range(len(rates.label_rates)), [f"{100 * rate:g}" for rate in rates.label_rates])
    if len(rates.label_rates) * len(rates.regularisers) > _MOST_TICKS:
        ax.tick_params("x", labelsize=5)
    ax.set_xlim(-0.5, len(rates.label_rates) - 0.5)
    return ax


def draw_stars(ax: Axes, rates: LabelRates, comparisons: Sequence[Comparison]) -> Axes:
    """A star beyond the better estimate of each significant comparison, away from the other one.

    That is above it, or below where lower is better. The limits grow where a star would leave the axes.
    """
    for comparison in comparisons:
        if not comparison.is_significant:
            continue
        better = comparison.better
        if SCORES[comparison.metric].higher_is_better:
            end, side = max(better.interval.high, *better.seed_results), 1
        else:
            end, side = min(better.interval.low, *better.seed_results), -1
        low, high = ax.get_ylim()
        room = _STAR_ROOM * (high - low)
        ax.set_ylim(min(low, end - room), max(high, end + room))
        x = _position(rates, comparison.label_rate, int(better is comparison.larvae))
        shifted = offset_copy(ax.transData, ax.get_figure(root=True), y=side * _STAR_DISTANCE, units="points")
        # Not `plot`: a shifted point must not count as data.
        ax.add_artist(Line2D([x], [end], transform=shifted, zorder=4, clip_on=False, **STAR))
    return ax


def figure_notes(rates: LabelRates) -> list[str]:
    """Notes under the panels: what points and stars are, what was not tested, which members are missing."""
    sides = [side for comparison in rates.comparisons for side in (comparison.baseline, comparison.larvae)]
    return [
        points_note(rates.heading, sides, [rates.metric]),
        *caution(rates.iterations),
        *_test_notes(rates.comparisons),
        *missing_note(rates.missing, rates.num_members),
    ]


def _test_notes(comparisons: Sequence[Comparison]) -> list[str]:
    total = len(comparisons)
    few = sum(comparison.num_pairs < 2 for comparison in comparisons)
    equal = sum(not comparison.is_tested for comparison in comparisons) - few
    if few == total:
        return ["not tested: no point has two seeds of both models"]
    without = [
        f"{number} not tested ({reason})"
        for number, reason in ((few, "fewer than two seeds of both models"), (equal, "equal differences"))
        if number
    ]
    found = "★ significant" if any(comparison.is_significant for comparison in comparisons) else "none significant"
    test = f"{found}: paired t-test over seeds, two-sided, Holm-corrected over {total} comparisons, p ≤ {ALPHA:g}"
    return ["; ".join([test, *without])]


def _position(rates: LabelRates, label_rate: float, index: int) -> float:
    """The position of the baseline (index 0) or LaRVAE (1) on the x axis."""
    return rates.label_rates.index(label_rate) + _dodge(rates) * (index - 0.5)


def _dodge(rates: LabelRates) -> float:
    """The shift between curves, in label rates: intervals stand side by side, about as close in panels of any width."""
    return min(0.3, 0.025 * len(rates.label_rates) * len(rates.regularisers)) if rates.num_seeds > 1 else 0.0
