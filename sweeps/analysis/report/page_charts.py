"""The page's plots, under their titles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from sweeps.analysis.parameters import symbol
from sweeps.analysis.report import other_charts, sweep_charts
from sweeps.analysis.report.candidates import Candidate, candidates, main_metrics, main_parameter, ranked
from sweeps.analysis.report.colours import Colouring
from sweeps.analysis.report.member_source import Members, is_thinned, points_a_curve
from sweeps.analysis.report.study_record import StudyRecord
from sweeps.analysis.search.ranking import SearchResult


class Chart(NamedTuple):
    """Plots under one title."""

    title: str
    plots: Sequence[Any]
    legend: Sequence[tuple[str, str]] = ()
    note: str = ""
    layout: str = ""
    """`one` or `two` in a row; as many as have room where it is empty."""
    divs: Sequence[Markup] = ()
    """The places of the plots in the page, once it is known."""

    def placed(self, places: Iterator[Markup]) -> Chart:
        """The same with the next places."""
        return self._replace(divs=[next(places) for _ in self.plots])


def charts(record: StudyRecord, members: Members, colouring: Colouring) -> list[Chart]:
    """Plots of the results, in the page's order."""
    found = candidates(record)
    metrics = [name for name in main_metrics(record) if ranked(found, name)]
    drawn = _search(record.search, members) if record.search else _fields(record, metrics, members, colouring)
    return [*drawn, *_order(found, metrics)]


def _search(search: SearchResult, members: Members) -> list[Chart]:
    plots = other_charts.search_figures(search, members)
    note = "Large points are configurations, means over finished seeds; small ones members, grey where not finished."
    return [Chart("Objectives against searched parameters", plots, note=note)] if plots else []


def _fields(record: StudyRecord, metrics: Sequence[str], members: Members, colouring: Colouring) -> list[Chart]:
    drawn = []
    sweeps = sweep_charts.sweeps(record)
    for sweep in sweeps:
        title = f"Against {symbol(sweep.field)}"
        note = "Means with 95 % t-intervals over seeds; small points are members. Intervals that are very long are cut."
        drawn.append(Chart(title, sweep_charts.figures(sweep, members), sweep_charts.legend(sweep), note, "two"))
    room = sweep_charts.MOST_FIGURES - sum(sweep.num_figures for sweep in sweeps)
    left = sweep_charts.left_out(record, sweeps)
    for name in left[: room // len(metrics)] if metrics else ():
        title = f"Members against {symbol(name)}"
        note = "Other fields vary too: two members may differ in more than this one."
        plots = sweep_charts.member_figures(record, name, metrics, members)
        key = [(f"{colouring.title} = {text}", colour) for text, colour in colouring.legend]
        drawn.append(Chart(title, plots, key, note, "two"))
    return drawn


def _order(found: Sequence[Candidate], metrics: Sequence[str]) -> list[Chart]:
    if len(found) < 2 or not metrics:
        return []
    shown = max(len(ranked(found, name)) for name in metrics)
    note = "Best mean first, with 95 % t-intervals over seeds; small points are members."
    if shown > other_charts.MOST_SETTINGS:
        note += f" {other_charts.MOST_SETTINGS - 1} best of {shown:,}, and last the worst."
    plots = [other_charts.ranking_figure(found, name) for name in metrics]
    return [Chart("Settings in order", plots, note=note, layout="one")]


def learning(record: StudyRecord, members: Members, colouring: Colouring) -> Chart:
    """Plots of learning curves."""
    plots = other_charts.learning_figures(members, colouring)
    return Chart(colouring.title, plots, colouring.legend, learning_note(record))


def coloured_by(record: StudyRecord) -> str:
    """The field that colours learning curves: the main parameter, else the first varied one."""
    main = main_parameter(candidates(record), record.fields)
    return main or next(iter(record.fields), "")


def learning_note(record: StudyRecord) -> str:
    """The explanation of the learning curves."""
    note = "A line a member; the pointer names it, a click marks it, in the table too."
    if len(record.members) > other_charts.FEW_MEMBERS:
        note += " Dashed lines are means over the members of a colour, shown or not."
    if is_thinned(record):
        note += f" Curves are thinned to {points_a_curve(len(record.members))} points each, first and last among them."
    return note
