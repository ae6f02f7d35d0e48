"""Settings in the order of their means, a search's objective against its parameters, and learning curves."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from bokeh.models import HoverTool, NumeralTickFormatter, Range1d
from bokeh.plotting import figure

from larvae.metrics import held_out
from sweeps.analysis.estimates import Estimate
from sweeps.analysis.report import plots
from sweeps.analysis.report.candidates import Candidate, ranked
from sweeps.analysis.report.colours import Colouring
from sweeps.analysis.report.member_source import Members
from sweeps.analysis.report.sweep_charts import draw_estimates, draw_members
from sweeps.analysis.search.axes import axes_of
from sweeps.analysis.search.ranking import SearchResult
from sweeps.analysis.style import PALETTE

MOST_SETTINGS = 24
FEW_MEMBERS = 30
"""Members whose learning curves can be told apart."""
_ROOM = 4.0
"""Inches of a plot's axis, for its ticks."""


def chosen(found: Sequence[Candidate], metric: str) -> list[Candidate]:
    """The settings that are drawn in order: all, or of many the best ones and, last, the worst one."""
    order = ranked(found, metric)
    return order if len(order) <= MOST_SETTINGS else [*order[: MOST_SETTINGS - 1], order[-1]]


def ranking_figure(found: Sequence[Candidate], metric: str) -> figure:
    """Settings from the best down: a line each, with mean, interval and seeds."""
    shown = chosen(found, metric)
    results = [list(candidate.results[metric].values()) for candidate in shown]
    intervals = [candidate.interval(metric) for candidate in shown]
    values = plots.value_range(metric, [value for some in results for value in some], intervals)
    rows = Range1d(len(shown) - 0.4, -0.6)
    plot = plots.empty("", plots.metric_axis(metric), "", x_range=values, y_range=rows)
    plot.height = 26 * len(shown) + 80
    plot.xgrid.grid_line_color, plot.ygrid.grid_line_color = "#88888844", None
    places = {float(place): _short(candidate.short_name) for place, candidate in enumerate(shown)}
    plot.yaxis.ticker = list(places)
    plot.yaxis.major_label_overrides = {place: plots.plain(name) for place, name in places.items()}
    seeds = [(value, place) for place, some in enumerate(results) for value in some]
    plot.scatter([x for x, _ in seeds], [y for _, y in seeds], size=6, color=PALETTE[0], alpha=0.4)
    bars = [(one, place) for place, one in enumerate(intervals) if one.low == one.low]
    plot.segment(
        [one.low for one, _ in bars],
        [place for _, place in bars],
        [one.high for one, _ in bars],
        [place for _, place in bars],
        color=PALETTE[0],
        line_width=1.5,
    )
    data = {
        "mean": [one.mean for one in intervals],
        "place": list(places),
        "name": [c.name for c in shown],
        "seeds": [f"{len(some)} of {c.num_planned}" for some, c in zip(results, shown, strict=True)],
    }
    dots = plot.scatter("mean", "place", source=data, size=9, color=PALETTE[0])
    tooltips = [("setting", "@name"), ("mean", "@mean{0.000}"), ("seeds", "@seeds")]
    plot.add_tools(HoverTool(renderers=[dots], tooltips=tooltips, visible=False))
    return plot


def _short(name: str, most: int = 72) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def search_figures(search: SearchResult, members: Members) -> list[figure]:
    """Each objective against each searched parameter, on the axes on which the sampler searched."""
    return [
        _search_figure(search, members, name, place)
        for place in range(len(search.objectives))
        for name in search.space.parameters
        if search.finished
    ]


def _search_figure(search: SearchResult, members: Members, name: str, objective: int) -> figure:
    axis = next(axis for axis in axes_of(search.space) if axis.name == name)
    metric = held_out(search.objectives[objective])
    source, column = members.source, f"place_{name}"
    if column not in source.data:
        source.data[column] = [axis.position(value) for value in source.data[f"field_{name}"]]
    plot = plots.empty("", axis.symbol, plots.metric_axis(metric), x_range=Range1d(-0.04, 1.04))
    plots.write_ticks(plot.xaxis, axis.ticks(_ROOM))
    estimates = [
        Estimate(
            0.0, "", metric, len(c.seeds), tuple(values[objective] for values in c.seed_values), c.interval(objective)
        )
        for c in search.finished
    ]
    places = [axis.position(c.fields[name]) for c in search.finished]
    draw_estimates(plot, estimates, places, PALETTE[0])
    draw_members(plot, members, None, column, metric, "status_colour", 0.5)
    return plot


def learning_figures(members: Members, colouring: Colouring) -> list[figure]:
    """A plot a metric: its course in each member, and on average over the members of a colour."""
    return [_learning_figure(members, colouring, metric, steps) for metric, steps in members.steps.items()]


def _learning_figure(members: Members, colouring: Colouring, metric: str, steps: str) -> figure:
    plot = plots.empty("", "iterations", plots.metric_axis(metric))
    number = len(colouring.colours)
    faint = 0.75 if number <= FEW_MEMBERS else max(0.03, 22 / number)
    lines = plot.multi_line(
        steps,
        f"{metric}_curve",
        source=members.source,
        view=members.view(),
        line_color="colour",
        line_alpha=faint,
        line_width=1,
        selection_line_alpha=1.0,
        selection_line_width=3.5,
        nonselection_line_alpha=faint / 2,
        hover_line_alpha=1.0,
        hover_line_width=3.5,
        hover_line_color="colour",
    )
    if number > FEW_MEMBERS:
        for colour, places in colouring.groups().items():
            course = mean_course(members.source.data[steps], members.source.data[f"{metric}_curve"], places)
            plot.line(list(course), list(course.values()), line_color=colour, line_width=2.5, line_dash=[6, 3])
    tooltips = [("member", "@label"), ("status", "@status")]
    plot.add_tools(HoverTool(renderers=[lines], tooltips=tooltips, visible=False))
    most = max((own[-1] for own in members.source.data[steps] if own), default=0)
    plot.xaxis.formatter = NumeralTickFormatter(format="0,0" if most < 100_000 else "0.[0] a")
    return plot


def mean_course(
    steps: Sequence[Sequence[int]], curves: Sequence[Sequence[float]], places: Sequence[int]
) -> dict[int, float]:
    """Mean values by iteration over some members, at iterations at which most of those that have a curve have one."""
    values: dict[int, list[float]] = {}
    for place in places:
        for step, value in zip(steps[place], curves[place], strict=True):
            values.setdefault(step, []).append(value)
    needed = sum(bool(steps[place]) for place in places) / 2
    return {step: statistics.fmean(some) for step, some in sorted(values.items()) if len(some) > needed}
