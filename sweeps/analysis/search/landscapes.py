"""Effects of the parameters of a search on one objective: slices and sensitivities, as figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sweeps.analysis.estimates import CONFIDENCE
from sweeps.analysis.search.axes import Axis, axes_of
from sweeps.analysis.search.charts import metric_label
from sweeps.analysis.search.ranking import ConfigurationResult, SearchResult, best_in
from sweeps.analysis.search.surrogate import NEAR, Floats, Marginal, Surrogate
from sweeps.analysis.style import (
    GREY,
    PALETTE,
    PANELS,
    SCALE,
    SEED_DOTS,
    STOPPED_DOTS,
    STYLE,
    TEXT_WIDTH,
    dot_handle,
    figure_with_notes,
    limit_axis,
    stopped_handle,
)

MODEL = "Gaussian process (Matérn 5/2, kernels averaged, independent noise a seed) through the finished seeds"
_COLUMNS = 3
_HEIGHT = 2.1  # inches, of a row of slices
_DEVIATIONS = 1.96
_FAILED: dict[str, Any] = {"color": PALETTE[1], "marker": "x", "markersize": 4, "markeredgewidth": 0.9}


def slice_figure(search: SearchResult, objective: int) -> Figure:
    """A panel a parameter: configurations against it, one objective by its place."""
    axes = axes_of(search.space)
    columns = min(len(axes), _COLUMNS)
    rows = -(-len(axes) // columns)
    notes = [
        f"{search.heading}. Dots: means over seeds; small dots: single seeds; the later a configuration was suggested, "
        "the darker. Nothing is averaged over: the other parameters differ from dot to dot."
    ]
    with mpl.rc_context(STYLE):
        figure = figure_with_notes(rows * _HEIGHT + 0.2, notes)
        panels = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
        for place, (ax, axis) in enumerate(zip(panels, axes, strict=False)):
            drawn = draw_slice(ax, search, axis, objective, room=0.7 * TEXT_WIDTH / columns)
            ax.set_ylabel("" if place % columns else metric_label(search.objectives[objective]))
        for ax in panels[len(axes) :]:
            ax.set_axis_off()
        figure.colorbar(drawn, ax=panels, label="configuration (order)", aspect=30, pad=0.02)
        handles = [dot_handle("finished (mean)", SCALE(0.8)), dot_handle("its seeds", SCALE(0.8), small=True)]
        if search.having("stopped"):
            handles.append(stopped_handle("stopped (at its rung)"))
        if with_status(search, "failed"):
            handles.append(Line2D([], [], linestyle="none", label="failed", **_FAILED))
        figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return figure


def draw_slice(ax: Axes, search: SearchResult, axis: Axis, objective: int, room: float) -> ScalarMappable:
    """Configurations against one parameter, on an axis of `room` inches; the colours of their order."""
    colours = ScalarMappable(Normalize(0, max(len(search.configurations) - 1, 1)), SCALE)
    for configuration in search.having("stopped"):
        ax.scatter(axis.position(configuration.fields[axis.name]), configuration.values[objective], **STOPPED_DOTS)
    for configuration in search.finished:
        shade = configuration.number / max(len(search.configurations) - 1, 1)
        _draw_with_seeds(ax, axis, configuration, objective, SCALE(shade))
    _mark_at_bottom(ax, axis.positions(with_status(search, "failed")), _FAILED)
    write_parameter(ax, axis, room)
    limit_axis(ax, PANELS[search.objectives[objective]])
    return colours


def sensitivity_figure(search: SearchResult, name: str, objective: int, model: Surrogate | None) -> Figure:
    """One objective, by its place, against one parameter: configurations, and the model's estimates with intervals."""
    axes = axes_of(search.space)
    [place] = [place for place, axis in enumerate(axes) if axis.name == name]
    best = best_in(search, objective)
    with mpl.rc_context(STYLE):
        figure = figure_with_notes(2.7, sensitivity_notes(search, axes, place, has_model=model is not None))
        ax = figure.subplots()
        draw_observed(ax, search, axes[place], objective)
        handles = [dot_handle("mean over seeds", PALETTE[0]), dot_handle("single seeds", PALETTE[0], small=True)]
        if model is not None:
            draw_estimate(ax, model, place, None)
            label = "others averaged" if len(axes) > 1 else "estimate"
            handles.append(Line2D([], [], color=PALETTE[2], linewidth=1.3, label=label))
        if model is not None and len(axes) > 1:
            draw_estimate(ax, model, place, np.array([axis.position(best.fields[axis.name]) for axis in axes]))
            label = f"others as in #{best.number}"
            handles.append(Line2D([], [], color=PALETTE[1], linestyle="--", linewidth=1.3, label=label))
        limit_axis(ax, PANELS[search.objectives[objective]])
        ax.set_ylabel(metric_label(search.objectives[objective]))
        figure.legend(handles=handles, loc="outside upper center", ncols=4)
    return figure


def sensitivity_notes(search: SearchResult, axes: Sequence[Axis], place: int, has_model: bool) -> list[str]:
    """Notes under a sensitivity to the parameter at a place: what the lines are, and what they are not."""
    observed = (
        f"{search.heading}. Finished configurations only; ticks at the bottom: where configurations were stopped."
    )
    others = ", ".join(axis.symbol for other, axis in enumerate(axes) if other != place)
    if not has_model:
        return [observed, f"Too few finished configurations for an estimate: {len(search.finished)}."]
    averaged = f", averaged over {others} of the finished configurations (solid)" if others else ""
    fixed = f", and with {others} as in the best one (dashed)" if others else ""
    intervals = f"{100 * CONFIDENCE:g} % intervals of these means, without the noise of seeds"
    lines, bands = ("Lines", "Band and dots") if others else ("Line", "Band")
    estimate = f"{lines}: {MODEL}{averaged}{fixed}. {bands}: {intervals}."
    estimate += f" None where no finished configuration is near (within {NEAR:.0%} of the axis)."
    if with_status(search, "stopped"):
        estimate += " Where some were stopped, those that are left are the better ones, and the estimate flatters."
    if all(configuration.num_seeds == 1 for configuration in search.finished):
        estimate += " No configuration has a second seed: how far seeds scatter is a guess."
    return [observed, estimate]


def draw_observed(ax: Axes, search: SearchResult, axis: Axis, objective: int) -> Axes:
    """Finished configurations with their seeds against one parameter; stopped ones as ticks at the bottom."""
    for configuration in search.finished:
        _draw_with_seeds(ax, axis, configuration, objective, PALETTE[0])
    stopped = axis.positions(with_status(search, "stopped"))
    _mark_at_bottom(ax, stopped, {"color": GREY, "marker": "|", "markersize": 5, "alpha": 0.7})
    write_parameter(ax, axis, 0.88 * TEXT_WIDTH)
    return ax


def draw_estimate(ax: Axes, model: Surrogate, place: int, at: Floats | None) -> Marginal:
    """The model along one axis, by its place, with its interval: a band where others are averaged, dots where they
    are as `at`; at 0, beside the range, a bar."""
    axis, is_average = model.axes[place], at is None
    colour, dashes = (PALETTE[2], "-") if is_average else (PALETTE[1], "--")
    along = model.marginal(place, axis.grid(121), at)
    along = along._replace(mean=np.where(model.is_near(place, along.places), along.mean, np.nan))
    low, high = along.mean - _DEVIATIONS * along.std, along.mean + _DEVIATIONS * along.std
    ax.plot(along.places, along.mean, color=colour, linestyle=dashes, linewidth=1.3, zorder=2.7)
    if is_average:
        ax.fill_between(along.places, low, high, color=colour, alpha=0.18, linewidth=0, zorder=1)
    else:  # two areas, one over the other, would look like a third
        for edge in (low, high):
            ax.plot(along.places, edge, color=colour, linestyle=":", linewidth=0.8, zorder=1.5)
    if axis.has_zero and model.is_near(place, np.zeros(1))[0]:
        zero = model.marginal(place, np.zeros(1), at)
        style: dict[str, Any] = {"fmt": "D", "markersize": 3, "capsize": 2, "elinewidth": 0.9, "zorder": 2.7}
        shift = -0.012 if is_average else 0.012
        ax.errorbar(zero.places + shift, zero.mean, _DEVIATIONS * zero.std, color=colour, **style)
    return along


def write_parameter(ax: Axes, axis: Axis, room: float, upright: bool = False) -> None:
    """Ticks, limits and label of a parameter on the x axis, or the y axis, of `room` inches; a break beside 0."""
    side = ax.yaxis if upright else ax.xaxis
    ticks = axis.ticks(room, upright)
    side.set_ticks(list(ticks), list(ticks.values()))
    side.set_ticks(axis.minor_ticks, minor=True)
    (ax.set_ylim if upright else ax.set_xlim)(-0.05, 1.04)
    side.set_label_text(axis.label)
    if axis.has_zero:
        _break(ax, axis.zero_share / 2, 0.06 / room, upright)


def _break(ax: Axes, place: float, width: float, upright: bool) -> None:
    """Two slashes across an axis at a place, `width` of it apart, with a gap in its line between them."""
    transform = ax.get_yaxis_transform() if upright else ax.get_xaxis_transform()
    style: dict[str, Any] = {"transform": transform, "clip_on": False, "zorder": 5}
    ends = [place - width / 2, place + width / 2]
    places = ([0, 0], ends) if upright else (ends, [0, 0])
    ax.plot(*places, color="white", linewidth=1.5, solid_capstyle="butt", **style)
    slash = [(-1.0, -0.4), (1.0, 0.4)] if upright else [(-0.4, -1.0), (0.4, 1.0)]
    ax.plot(*places, linestyle="none", color="black", marker=slash, markersize=6, markeredgewidth=0.7, **style)


def _draw_with_seeds(ax: Axes, axis: Axis, configuration: ConfigurationResult, objective: int, colour: Any) -> None:
    """A configuration's mean against one parameter, over its seeds, which a thin line joins."""
    x = axis.position(configuration.fields[axis.name])
    seeds = [values[objective] for values in configuration.seed_values]
    if len(seeds) > 1:
        ax.plot([x, x], [min(seeds), max(seeds)], color=colour, linewidth=0.5, alpha=0.6, zorder=2.4)
        ax.scatter([x] * len(seeds), seeds, color=colour, **SEED_DOTS)
    ax.scatter(x, configuration.values[objective], s=16, color=colour, linewidths=0, zorder=3)


def _mark_at_bottom(ax: Axes, places: Floats, style: dict[str, Any]) -> None:
    """Marks on the x axis."""
    ax.plot(places, np.full(len(places), 0.02), linestyle="none", transform=ax.get_xaxis_transform(), **style)


def with_status(search: SearchResult, status: str) -> list[dict[str, float | int]]:
    """Searched fields of the configurations of a status."""
    return [c.fields for c in search.configurations if c.status == status]
