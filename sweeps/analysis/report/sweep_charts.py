"""Metrics against each swept field: means and intervals over seeds, and the seeds, which are members of the table."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from bokeh.models import ColumnDataSource, HoverTool, IndexFilter, Range1d, TeeHead, Whisker
from bokeh.plotting import figure

from larvae.errors import InvalidInputError
from sweeps.analysis.estimates import Estimate, Sensitivity, estimate_sensitivity, plain_value
from sweeps.analysis.parameters import in_value_order, parameter, value_text
from sweeps.analysis.report import plots
from sweeps.analysis.report.member_source import Members
from sweeps.analysis.report.study_record import StudyRecord
from sweeps.analysis.settings import Setting, by_setting
from sweeps.analysis.style import PALETTE

MOST_FIGURES = 24
"""Plots of curves that a page has at most: each takes a browser's time."""
_WIDTH = 0.5
"""Share of the distance between two values that the points of all label rates take."""


class Sweep(NamedTuple):
    """A field and how metrics depend on it, a sensitivity a setting of the other fields."""

    field: str
    settings: tuple[Setting, ...]
    sensitivities: tuple[Sensitivity, ...]

    @property
    def label_rates(self) -> list[float]:
        return sorted({rate for one in self.sensitivities for rate in one.label_rates})

    @property
    def num_figures(self) -> int:
        return sum(len(one.metrics) for one in self.sensitivities)


def sweeps(record: StudyRecord) -> list[Sweep]:
    """The fields that are swept while all else is equal; fields that are not, or at too many settings, are left out."""
    found: list[Sweep] = []
    for name in [name for name in record.fields if name != "label_rate" or len(record.fields) == 1]:  # else its lines
        with contextlib.suppress(InvalidInputError):
            known = parameter(name)
            settings = by_setting(record.members, known)
            estimated = tuple(estimate_sensitivity(record.study, s.members, known, s.name) for s in settings)
            found.append(Sweep(name, tuple(settings), estimated))
    kept, number = [], 0
    for sweep in found:
        number += sweep.num_figures
        if number <= MOST_FIGURES:
            kept.append(sweep)
    return kept


def figures(sweep: Sweep, members: Members) -> list[figure]:
    """A plot a setting and metric; all of one metric on one scale."""
    _add_places(sweep, members.source)
    ranges = {metric: _range(sweep, metric) for one in sweep.sensitivities for metric in one.metrics}
    return [
        _figure(sweep, setting, sensitivity, metric, members, ranges[metric])
        for setting, sensitivity in zip(sweep.settings, sweep.sensitivities, strict=True)
        for metric in sensitivity.metrics
    ]


def legend(sweep: Sweep) -> list[tuple[str, str]]:
    """Label rates as text, with their colours; none where there is one."""
    rates = sweep.label_rates
    return [(f"η = {100 * rate:g} %", _colour(index)) for index, rate in enumerate(rates)] if len(rates) > 1 else []


def _range(sweep: Sweep, metric: str) -> Range1d:
    estimates = [e for one in sweep.sensitivities for e in one.estimates if e.metric == metric]
    results = [result for e in estimates for result in e.seed_results]
    return plots.value_range(metric, results, [e.interval for e in estimates])


def _values(sweep: Sweep) -> list[float | str]:
    """Values of the field in all settings, in order."""
    merged = sweep.sensitivities[0]._replace(estimates=tuple(e for s in sweep.sensitivities for e in s.estimates))
    return merged.values


def _shift(sweep: Sweep, rate: float) -> float:
    """Distance from the value's place at which a label rate's points lie."""
    rates = sweep.label_rates
    if len(rates) < 2 or rate not in rates:
        return 0.0
    return _WIDTH * (rates.index(rate) / (len(rates) - 1) - 0.5)


def _add_places(sweep: Sweep, source: ColumnDataSource) -> None:
    """Give each member its place on the field's axis, and the colour of its label rate."""
    size = len(source.data["hash"])
    places, colours, rates = np.full(size, np.nan), [PALETTE[0]] * size, sweep.label_rates
    positions = {value: place for place, value in enumerate(_values(sweep))}
    together = pd.concat([setting.members for setting in sweep.settings])
    values, own_rates = together[sweep.field], together["label_rate"].astype(float)
    for index, value, rate in zip(together.index, values, own_rates, strict=True):  # the members' own, from 0
        known = plain_value(value)
        if known in positions:
            places[index] = positions[known] + _shift(sweep, rate) + 0.08
            colours[index] = _colour(rates.index(rate)) if rate in rates else PALETTE[0]
    source.data[f"place_{sweep.field}"] = places
    source.data[f"rate_{sweep.field}"] = colours


def _figure(
    sweep: Sweep, setting: Setting, sensitivity: Sensitivity, metric: str, members: Members, values: Range1d
) -> figure:
    known = parameter(sweep.field)
    places = {value: float(place) for place, value in enumerate(_values(sweep))}
    x_range = Range1d(-0.6, len(places) - 0.4)
    plot = plots.empty(setting.name, known.symbol, plots.metric_axis(metric), x_range=x_range, y_range=values)
    plots.write_ticks(plot.xaxis, {place: value_text(value) for value, place in places.items()})
    if metric in sensitivity.references:
        plots.draw_reference(plot, sensitivity.references[metric])
    rates: Sequence[float | None] = sensitivity.label_rates or [None]
    for rate in rates:
        curve = [
            e for e in sensitivity.estimates if e.metric == metric and rate in (None, e.label_rate) and e.num_seeds
        ]
        index = sweep.label_rates.index(rate) if rate is not None else 0
        shift = _shift(sweep, rate) if rate is not None else 0.0
        draw_estimates(plot, curve, [places[e.value] + shift for e in curve], _colour(index))
    own = IndexFilter(indices=[int(index) for index in setting.members.index])
    draw_members(plot, members, own, f"place_{sweep.field}", metric, f"rate_{sweep.field}")
    return plot


def draw_estimates(plot: figure, curve: Sequence[Estimate], places: Sequence[float], colour: str) -> None:
    """Draw means, with lines where values are numbers, and intervals where there are seeds for them."""
    drawn = sorted(zip(places, curve, strict=True), key=lambda pair: pair[0])
    has_interval = [pair for pair in drawn if pair[1].num_seeds > 1]
    means = ColumnDataSource(
        {
            "x": [x for x, _ in drawn],
            "mean": [e.interval.mean for _, e in drawn],
            "text": [f"{e.interval.mean:.3f}" for _, e in drawn],
            "spread": [_spread(e) for _, e in drawn],
            "seeds": [f"{e.num_seeds} of {e.num_planned}" for _, e in drawn],
        }
    )
    if not any(isinstance(e.value, str) for e in curve):
        plot.line("x", "mean", source=means, line_color=colour, line_width=1.5)
    dots = plot.scatter("x", "mean", source=means, size=8, color=colour)
    plot.add_tools(
        HoverTool(
            renderers=[dots],
            tooltips=[("mean", "@text"), ("95 % interval", "@spread"), ("seeds", "@seeds")],
            visible=False,
        )
    )
    bars = ColumnDataSource(
        {
            "x": [x for x, _ in has_interval],
            "low": [e.interval.low for _, e in has_interval],
            "high": [e.interval.high for _, e in has_interval],
        }
    )
    head = {"line_color": colour, "size": 6}
    plot.add_layout(
        Whisker(
            base="x",
            lower="low",
            upper="high",
            source=bars,
            line_color=colour,
            lower_head=TeeHead(**head),
            upper_head=TeeHead(**head),
            level="glyph",
        )
    )


def draw_members(
    plot: figure, members: Members, own: IndexFilter | None, x: str, metric: str, colour: str, faint: float = 0.45
) -> None:
    """Draw members as small points that can be selected."""
    points = plot.scatter(
        x,
        metric,
        source=members.source,
        view=members.view(own),
        size=6,
        line_color=None,
        fill_color=colour,
        fill_alpha=faint,
    )
    points.selection_glyph = points.glyph.clone(size=11, fill_alpha=1.0)
    points.nonselection_glyph = points.glyph.clone(fill_alpha=0.15)
    plot.add_tools(
        HoverTool(
            renderers=[points], tooltips=[("member", "@label"), ("value", f"@{{{metric}}}{{0.000}}")], visible=False
        )
    )


def _spread(one: Estimate) -> str:
    return "needs two seeds" if one.num_seeds < 2 else f"{one.interval.low:.3f} to {one.interval.high:.3f}"


def _colour(index: int) -> str:
    return PALETTE[index % len(PALETTE)]


def left_out(record: StudyRecord, drawn: Iterable[Sweep]) -> list[str]:
    """Varied fields without a sweep of their own; label rates are lines of others."""
    known = {sweep.field for sweep in drawn} | {"label_rate"}
    return [name for name in record.fields if name not in known]


def member_figures(record: StudyRecord, name: str, metrics: Sequence[str], members: Members) -> list[figure]:
    """All members against a field with which others vary, a plot a metric: there is no mean of one setting to draw."""
    column = members.source.data[f"field_{name}"]
    values = in_value_order(column)
    positions = {value: float(place) for place, value in enumerate(values)}
    members.source.data[f"place_{name}"] = [positions[value] for value in column]
    plotted = []
    for metric in metrics:
        plot = plots.empty(
            "", parameter(name).symbol, plots.metric_axis(metric), x_range=Range1d(-0.6, len(values) - 0.4)
        )
        plots.write_ticks(plot.xaxis, {place: value_text(value) for value, place in positions.items()})
        draw_members(plot, members, None, f"place_{name}", metric, "colour")
        plotted.append(plot)
    return plotted
