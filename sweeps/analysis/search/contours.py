"""Effects of pairs of parameters of a search on one objective, as the model sees them: numbers to figures."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from sweeps.analysis.search.axes import Axis
from sweeps.analysis.search.charts import short_label
from sweeps.analysis.search.landscapes import MODEL, with_status, write_parameter
from sweeps.analysis.search.ranking import SearchResult, best_in
from sweeps.analysis.search.surrogate import Floats, Surrogate
from sweeps.analysis.style import PALETTE, SCALE, SMALLEST_RANGE, STYLE, TEXT_WIDTH, figure_with_notes

_FEW = 3  # rows of panels, above which texts are smaller
_ZERO = 0.035  # half of the width that 0 has where it lies beside a range
_FAR = 0.2  # from a finished configuration in two axes, beyond which contours are faded
_OVER_CONTOURS: dict[str, dict[str, Any]] = {
    "finished": {"marker": "o", "markersize": 3.6, "color": "black", "markeredgewidth": 0.5},
    "best": {"marker": "*", "markersize": 8, "color": PALETTE[1], "markeredgewidth": 0.6},
    "stopped": {"marker": "X", "markersize": 4, "color": PALETTE[5], "markeredgewidth": 0.5},
}
_OUTLINED: dict[str, Any] = {"linestyle": "none", "markeredgecolor": "white"}
_VEIL: dict[str, Any] = {"levels": [_FAR, 9.0], "colors": "white", "alpha": 0.65}


class Patch(NamedTuple):
    """The model over stretches of two axes; arrays (len(other_places), len(places))."""

    places: Floats
    """Places at which to draw it."""
    other_places: Floats
    mean: Floats
    distance: Floats
    """Distance to the nearest finished configuration."""


def contour_figure(search: SearchResult, objective: int, model: Surrogate) -> Figure:
    """A panel a pair of parameters: the model's mean of one objective, by its place, averaged over the others."""
    axes = model.axes
    size = len(axes) - 1
    averaged = ", averaged over the others of the finished configurations" if size > 1 else ""
    notes = [
        f"{search.heading}. Colours: {MODEL}{averaged}. Faded where no finished configuration is near: the "
        "model does not know what was stopped, which is worse, as a rule, than its colours say."
    ]
    surfaces = {pair: _surface(model, *pair) for pair in combinations(range(len(axes)), 2)}
    style = _contour_style(search, objective, [patch for patches in surfaces.values() for patch in patches])
    height = max(1.0, min(2.4, 4.4 / size))
    with mpl.rc_context(STYLE | ({"font.size": 6.5} if size > _FEW else {})):
        figure = figure_with_notes(size * height + 0.25, notes)
        panels = figure.subplots(size, size, squeeze=False, sharex="col", sharey="row")
        for row, column in product(range(size), range(size)):
            ax = panels[row, column]
            if column > row:
                ax.set_axis_off()
                continue
            for patch in surfaces[column, row + 1]:
                drawn = ax.contourf(patch.places, patch.other_places, patch.mean, **style)
                ax.contourf(patch.places, patch.other_places, patch.distance, **_VEIL)
            _draw_over_contours(ax, search, objective, axes[column], axes[row + 1])
            write_parameter(ax, axes[column], (TEXT_WIDTH - 0.6) / size - 0.35)
            write_parameter(ax, axes[row + 1], 0.75 * height, upright=True)
            ax.label_outer()
        label = short_label(search.objectives[objective])
        if size > 1:  # in the free corner
            figure.colorbar(drawn, cax=panels[0, -1].inset_axes((0.1, 0, 0.12, 1)), label=label)
        else:
            figure.colorbar(drawn, ax=panels, label=label, aspect=30, pad=0.02)
        shown = [name for name in _OVER_CONTOURS if name != "stopped" or with_status(search, name)]
        handles = [Line2D([], [], label=name, **_OUTLINED, **_OVER_CONTOURS[name]) for name in shown]
        figure.legend(handles=handles, loc="outside upper center", ncols=len(shown))
    return figure


def _contour_style(search: SearchResult, objective: int, patches: Sequence[Patch]) -> dict[str, Any]:
    """Levels and colours that all panels share."""
    low, high = min(patch.mean.min() for patch in patches), max(patch.mean.max() for patch in patches)
    growth = max(0.0, SMALLEST_RANGE - (high - low)) / 2
    levels = MaxNLocator(12).tick_values(low - growth, high + growth)
    return {"levels": levels, "cmap": SCALE if search.signs[objective] > 0 else SCALE.reversed()}


def _surface(model: Surrogate, first: int, second: int) -> list[Patch]:
    """The model over two axes."""
    return [
        Patch(
            drawn,
            other_drawn,
            model.surface(first, second, places, other_places),
            model.distance(first, second, places, other_places),
        )
        for places, drawn in _stretches(model.axes[first])
        for other_places, other_drawn in _stretches(model.axes[second])
    ]


def _stretches(axis: Axis) -> list[tuple[Floats, Floats]]:
    """Parts of an axis, as positions to ask the model for and to draw at: the range, and 0 as a strip of some width."""
    along = axis.grid(25)
    zero = [(np.zeros(2), np.array([-_ZERO, _ZERO]))] if axis.has_zero else []
    return [*zero, (along, along)]


def _draw_over_contours(ax: Axes, search: SearchResult, objective: int, axis: Axis, other: Axis) -> None:
    """Draw the configurations, outlined so that they show on any colour."""
    best = best_in(search, objective)
    groups = {
        "stopped": with_status(search, "stopped"),
        "finished": [c.fields for c in search.finished if c is not best],
        "best": [best.fields],
    }
    for order, (label, fields) in enumerate(groups.items()):
        style = _OUTLINED | _OVER_CONTOURS[label]
        size = style["markersize"] * min(1, (2.5 / len(search.space.parameters)) ** 0.5)
        if fields:  # nothing, unclipped, would lie at the figure's corner, and the layout would make room for it
            places = axis.positions(fields), other.positions(fields)
            ax.plot(*places, zorder=3 + order, clip_on=False, **(style | {"markersize": size}))
