"""The page's plots, under their titles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from sweeps.analysis.parameters import SYMBOLS
from sweeps.analysis.report import other_charts, sweep_charts
from sweeps.analysis.report.candidates import candidates, main_metrics, main_parameter, ranked
from sweeps.analysis.report.colours import Colouring
from sweeps.analysis.report.member_source import Members, is_thinned, points_a_curve
from sweeps.analysis.report.study_record import StudyRecord


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


def charts(record: StudyRecord, members: Members) -> list[Chart]:
    """Plots of the results, in the page's order."""
    found = candidates(record)
    metrics = [name for name in main_metrics(record) if ranked(found, name)]
    drawn_charts = []
    if record.search:
        plots = other_charts.search_figures(record.search, members)
        note = (
            "Large points are configurations, means over finished seeds; small ones members, grey where not finished."
        )
        drawn_charts += [Chart("Objectives against searched parameters", plots, note=note)] if plots else []
    drawn = [] if record.search else sweep_charts.sweeps(record)
    for sweep in drawn:
        title = f"Against {SYMBOLS.get(sweep.field, sweep.field)}"
        note = "Means with 95 % t-intervals over seeds; small points are members. Intervals that are very long are cut."
        drawn_charts.append(Chart(title, sweep_charts.figures(sweep, members), sweep_charts.legend(sweep), note, "two"))
    if len(found) > 1 and metrics:
        shown = max(len(ranked(found, name)) for name in metrics)
        note = "Best mean first, with 95 % t-intervals over seeds; small points are members."
        if shown > other_charts.MOST_SETTINGS:
            note += f" {other_charts.MOST_SETTINGS - 1} best of {shown}, and last the worst."
        if left := [] if record.search else sweep_charts.left_out(record, drawn):
            note += (
                f" {', '.join(left)}: no plots of their own, as other fields vary with them or plots would be too many."
            )
        plots = [other_charts.ranking_figure(found, name) for name in metrics]
        drawn_charts.append(Chart("Settings in order", plots, note=note, layout="one"))
    return drawn_charts


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
