"""Common parts of the page's plots: an empty one, its axes, and text that is never read as a formula."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bokeh.models import FixedTicker, Label, Range1d, Span
from bokeh.plotting import figure

from larvae.metrics import SCORES
from sweeps.analysis.estimates import Interval
from sweeps.analysis.names import written
from sweeps.analysis.references import Reference
from sweeps.analysis.report.candidates import higher_is_better
from sweeps.analysis.style import SMALLEST_RANGE

HEIGHT = 280
_MOST_TICKS = 12
_GREY = "#7d8590"
"""Readable on both pages, light and dark."""
_BEYOND = 0.5
"""Room for intervals beyond the results, as a share of these: intervals of few seeds are very long."""


def plain(text: str) -> str:
    """A text that Bokeh writes as it is: it takes some for formulas, and would load what sets them from the network."""
    for mark in ("$$", r"\(", r"\["):
        text = text.replace(mark, f"{mark[0]}\u2060{mark[1]}")
    return text


def empty(title: str, x_label: str, y_label: str, **more: Any) -> figure:
    """A plot without data, as wide as the page lets it be; its colours are those of the page (report_page.css)."""
    plot = figure(
        height=HEIGHT,
        sizing_mode="stretch_width",
        min_width=240,
        tools="tap,box_zoom,wheel_zoom,pan,reset,save",
        active_drag=None,
        active_scroll=None,
        active_tap="tap",
        toolbar_location="above",
        background_fill_color=None,
        border_fill_color=None,
        outline_line_color=None,
        **more,
    )
    plot.toolbar.logo = None
    plot.toolbar.autohide = True
    plot.title.text = plain(title)
    plot.title.text_font_size = "13px"
    plot.xaxis.axis_label, plot.yaxis.axis_label = plain(x_label), plain(y_label)
    for axis in (plot.xaxis, plot.yaxis):
        axis.axis_label_text_font_style = "normal"
        axis.axis_label_text_font_size = axis.major_label_text_font_size = "12px"
        axis.minor_tick_line_color = None
    plot.xgrid.grid_line_color = None
    return plot


def metric_axis(metric: str) -> str:
    """The label of a metric's axis."""
    if metric == "loss":
        return "loss"
    return f"{written(metric)} ({'higher' if higher_is_better(metric) else 'lower'} is better)"


def write_ticks(axis: Any, texts: Mapping[float, str]) -> None:
    """Write texts at positions of an axis; of many, evenly chosen ones."""
    positions = list(texts)
    apart = math.ceil(len(positions) / _MOST_TICKS)
    chosen = positions[::apart]
    axis.ticker = FixedTicker(ticks=chosen)
    axis.major_label_overrides = {position: plain(texts[position]) for position in chosen}


def value_range(metric: str, results: Sequence[float], intervals: Iterable[Interval]) -> Range1d:
    """The range of a metric's axis: all results, and intervals as far as these leave the results readable."""
    low, high = min(results), max(results)
    room = _BEYOND * max(high - low, SMALLEST_RANGE)
    ends = [end for one in intervals for end in (one.low, one.high) if math.isfinite(end)]
    bottom = max(min([low, *ends]), low - room)
    top = min(max([high, *ends]), high + room)
    margin = max(0.06 * (top - bottom), (SMALLEST_RANGE - (top - bottom)) / 2)
    highest = SCORES[metric].highest if metric in SCORES else math.inf
    return Range1d(max(bottom - margin, min(0.0, low) - 0.005), min(top + margin, max(highest, high) + 0.005))


def draw_reference(plot: figure, reference: Reference) -> None:
    """A dashed line at a value of the metric; where the axis ends before it, an arrow at its edge."""
    low, high = plot.y_range.start, plot.y_range.end
    is_on_axis = low <= reference.value <= high
    if is_on_axis:
        plot.add_layout(Span(location=reference.value, dimension="width", line_color=_GREY, line_dash="dashed"))
    arrow = "" if is_on_axis else "↑ " if reference.value > high else "↓ "
    plot.add_layout(
        Label(
            x=plot.x_range.end,
            y=min(max(reference.value, low), high),
            text=plain(arrow + reference.text),
            text_align="right",
            text_baseline="top" if reference.value > high else "bottom",
            text_font_size="11px",
            text_color=_GREY,
        )
    )
