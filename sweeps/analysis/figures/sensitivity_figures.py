"""Sensitivity to a parameter (Fig. 3 of the paper): numbers to figures, axes in, axes out."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sweeps.analysis.estimates import DRAWN_METRICS, Sensitivity, all_missing, caution
from sweeps.analysis.names import in_order
from sweeps.analysis.parameters import value_text
from sweeps.analysis.style import (
    PANELS,
    STYLE,
    Panel,
    draw_curve,
    draw_reference,
    figure_with_notes,
    legend_handle,
    limit_axis,
    missing_note,
    points_note,
)

_PANEL_HEIGHT = 2.15  # inches
_TITLE_LENGTH, _TICKS_LENGTH = 76, 36
"""Characters that stand beside each other above both panels, and below one."""
_SLANTED: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
_MOST_COLUMNS = 5
"""Entries of the legend that stand beside each other."""


def sensitivity_figure(sensitivities: Sequence[Sensitivity]) -> Figure:
    """MIG left, ℓ2 right, as far as they were measured; the parameter's values equally spaced, a line a label rate.

    A row of panels a setting, all on one scale.
    """
    metrics = [metric for metric in DRAWN_METRICS if any(metric in one.metrics for one in sensitivities)]
    label_rates = sorted({rate for one in sensitivities for rate in one.label_rates})
    with mpl.rc_context(STYLE):
        figure = figure_with_notes(_PANEL_HEIGHT * len(sensitivities), figure_notes(sensitivities))
        axes = figure.subplots(len(sensitivities), len(metrics), sharey="col", squeeze=False)
        drawn = []
        for row, sensitivity in zip(axes, sensitivities, strict=True):
            for ax, metric in zip(row, metrics, strict=True):
                if metric in sensitivity.metrics:
                    draw_curves(ax, sensitivity, PANELS[metric], label_rates)
                    drawn.append((ax, sensitivity, PANELS[metric]))
                else:
                    ax.set_axis_off()
            title = textwrap.fill(sensitivity.setting, _TITLE_LENGTH)
            row[0].set_title(title, loc="left", pad=12, parse_math=False)  # above what a reference says
        for ax, sensitivity, panel in drawn:  # when all rows have set the common scale
            draw_limits(ax, sensitivity, panel)
        handles = [legend_handle(index, f"η = {100 * rate:g} %") for index, rate in enumerate(label_rates)]
        if handles:
            figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), _MOST_COLUMNS))
    return figure


def draw_curves(ax: Axes, sensitivity: Sensitivity, panel: Panel, label_rates: Sequence[float]) -> None:
    """Draw intervals and the seeds' dots, joined by lines where the parameter's values are numbers.

    label_rates: of all panels, by which each has its colour and place; none where they are the parameter.
    """
    positions = {value: float(position) for position, value in enumerate(sensitivity.values)}
    rates: Sequence[float | None] = label_rates or [None]
    dodge = min(0.2, 0.6 / len(rates)) if sensitivity.num_seeds > 1 else 0.0
    for index, rate in enumerate(rates):
        if rate is not None and rate not in sensitivity.label_rates:
            continue
        shift = dodge * (index - (len(rates) - 1) / 2)
        curve = [e for e in sensitivity.estimates if e.metric == panel.metric and rate in (None, e.label_rate)]
        curve.sort(key=lambda e: positions[e.value])
        places = np.array([positions[e.value] + shift for e in curve])
        joined = not any(isinstance(e.value, str) for e in curve)
        aside = math.copysign(0.4 * dodge, shift)  # seeds lie on the side that no other curve is on
        draw_curve(ax, curve, places, index, aside, joined, sensitivity.num_seeds)
    texts = list(map(value_text, positions))
    is_crowded = len(texts) * max(map(len, texts)) > _TICKS_LENGTH
    ax.set_xticks(list(positions.values()), texts, **_SLANTED if is_crowded else {})
    ax.set_xlim(-0.4, len(positions) - 0.6)
    ax.set_xlabel(sensitivity.parameter.symbol)
    ax.set_ylabel(panel.label)


def draw_limits(ax: Axes, sensitivity: Sensitivity, panel: Panel) -> None:
    """Limit the axis of drawn curves, and draw the metric's reference."""
    limit_axis(ax, panel)
    if panel.metric in sensitivity.references:
        results = [e.seed_results for e in sensitivity.estimates if e.metric == panel.metric]
        draw_reference([ax], sensitivity.references[panel.metric], np.ptp(np.concatenate(results)))


def figure_notes(sensitivities: Sequence[Sensitivity]) -> list[str]:
    """Notes under the panels: what the points are, what to think of them, and which members are missing."""
    iterations = tuple(sorted({number for sensitivity in sensitivities for number in sensitivity.iterations}))
    datasets = tuple(in_order(name for sensitivity in sensitivities for name in sensitivity.datasets))
    first = sensitivities[0]._replace(setting="", datasets=datasets, iterations=iterations)
    members = frozenset[tuple[str, str]]().union(*(sensitivity.identities for sensitivity in sensitivities))
    points = [estimate for sensitivity in sensitivities for estimate in sensitivity.estimates]
    return [
        points_note(first.heading, points),
        *caution(first.iterations),
        *missing_note(all_missing(sensitivities), len(members)),
    ]
