"""Controls for label replacement: a row an arm, a panel a metric; numbers to figures."""

from __future__ import annotations

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sweeps.analysis.controls import Arm, Controls
from sweeps.analysis.estimates import DRAWN_METRICS, caution
from sweeps.analysis.style import GREY, PALETTE, PANELS, SEED_DOTS, STYLE, figure_with_notes, means_note

_ROW_HEIGHT, _FRAME_HEIGHT = 0.27, 0.65  # inches
_ASIDE = 0.24  # rows: of the seeds, below their mean


def control_figure(found: Controls) -> Figure:
    """Means, intervals and seeds of each arm; the baseline's mean goes on as a line."""
    metrics = [metric for metric in DRAWN_METRICS if metric in found.metrics]
    points = means_note(len(result.results) for result in found.results)
    note = f"{found.heading}; {points}; broken line: the baseline's mean"
    with mpl.rc_context(STYLE):
        height = _FRAME_HEIGHT + _ROW_HEIGHT * len(found.arms)
        figure = figure_with_notes(height, [note, *caution(found.iterations)])
        row = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
        for ax, metric in zip(row, metrics, strict=True):
            draw_arms(ax, found, metric)
    return figure


def draw_arms(ax: Axes, found: Controls, metric: str) -> Axes:
    """One metric of all arms, the first at the top."""
    for place, result in enumerate(found.of_metric(metric)):
        colour, interval = _colour(result.arm), result.interval
        ax.scatter(result.results, [place + _ASIDE] * len(result.results), color=colour, **SEED_DOTS)
        if len(result.results) > 1:
            ax.plot([interval.low, interval.high], [place, place], color=colour, linewidth=0.9)
        ax.plot(interval.mean, place, "o", color=colour, markersize=4)
        if result.arm.is_baseline and result.arm.z_dim:
            ax.axvline(interval.mean, color=GREY, linewidth=0.8, linestyle="--", zorder=1)
    ax.set_yticks(range(len(found.arms)), [arm.name for arm in found.arms])
    ax.set_ylim(len(found.arms) - 0.5, -0.5)
    ax.set_xlabel(PANELS[metric].label)
    return ax


def _colour(arm: Arm) -> str:
    return GREY if arm.is_baseline else PALETTE[0] if arm.replacement == "given" else PALETTE[1]
