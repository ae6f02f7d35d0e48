"""The pictures of a search, and one page with all of them that needs nothing else."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from html import escape
from typing import NamedTuple

from matplotlib.figure import Figure

from larvae.metrics import held_out
from sweeps.analysis.names import written
from sweeps.analysis.parameters import TAU, Z_DIM
from sweeps.analysis.search import charts, contours, importances, landscapes, surrogate
from sweeps.analysis.search.history import history
from sweeps.analysis.search.load_search import SearchRecord
from sweeps.analysis.search.ranking import SearchResult
from sweeps.analysis.search.tables import Table

JOURNAL = "search_journal.log"
"""The file that optuna-dashboard opens."""


class Picture(NamedTuple):
    """A figure with what a reader needs to know."""

    name: str
    """Name of its files, without their endings."""
    title: str
    help: str
    """Advice on reading it, in a sentence or two."""
    figure: Figure | None
    """None where the search has too little for it."""
    missing: str = ""
    """Reason why there is no figure."""


def pictures(record: SearchRecord, search: SearchResult) -> Iterator[Picture]:
    """All pictures that this search can have, and those that it lacks, in the order of the page."""
    yield _history(record, search)
    yield _importance(search)
    if len(search.objectives) > 1:
        yield _pareto(search)
    for objective in range(len(search.objectives)):
        yield from _of_objective(search, objective)


def page(search: SearchResult, table: Table, shown: list[tuple[Picture, bytes | None]]) -> str:
    """The report as HTML with everything in it; shown: pictures with their PNGs, None where missing."""
    sections = "\n".join(_section(picture, png) for picture, png in shown)
    front = " An asterisk marks the Pareto front." if "front" in table.header else ""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Search {escape(search.study)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>Search {escape(search.study)}</h1>
<p>{escape(_summary(search))}</p>
<p>Every value that the search went by is of held-out labels, which training did not see. The metrics
of the whole data are shown beside them and chose nothing. A configuration is judged by the mean over its finished
seeds; stopped ones trained for less and are in no mean, no estimate and no importance.</p>
<h2>Best configurations</h2>
<p>Mean ± standard deviation over seeds; # is the configuration's number, in the order of the suggestions.{front}
A mean of few seeds is uncertain, and the best of many means is, as a rule, a little lucky.</p>
<div class="wide">{_html_table(table)}</div>
{sections}
<h2>Looking further</h2>
<p><code>optuna-dashboard {JOURNAL}</code> shows the search in a browser; <code>search_seeds.csv</code> and
<code>search_seeds.parquet</code> have a row a seed, <code>search_configurations.csv</code> a row a configuration.</p>
</body>
</html>
"""


def _history(record: SearchRecord, search: SearchResult) -> Picture:
    explained = (
        "Whether more budget still helps: the line is the best mean so far, dots are single seeds at their end. A line "
        "that has been flat for long says that the search has found what it can. Grey circles are configurations that "
        "were stopped at a rung, with the value they had there; they saved the rest of their budget."
    )
    histories = [history(record, search, place) for place in range(len(search.objectives))]
    has_ends = any(one.ends for one in histories)
    figure = charts.history_figure(search, histories) if has_ends else None
    return Picture("search_history", "History", explained, figure, "no seed has finished and none was stopped")


def _importance(search: SearchResult) -> Picture:
    explained = (
        "Which parameters matter. fANOVA asks what moves the objective anywhere in the searched space, PED-ANOVA what "
        "sets the best configurations apart. Where the two disagree, a parameter matters only among poor or only among "
        "good configurations. Long intervals, the black lines, mean that too few configurations have finished to tell."
    )
    needed = f"needs {importances.FEWEST} finished configurations of different values, {len(search.finished)} finished"
    estimated = importances.importances(search)
    figure = charts.importance_figure(search, estimated) if estimated else None
    return Picture("search_importance", "Parameter importance", explained, figure, needed)


def _pareto(search: SearchResult) -> Picture:
    explained = (
        "What one objective costs in the other. Behind the line lies what the search has reached. Where seeds scatter "
        "further than configurations lie apart, their order is not settled."
    )
    figure = charts.pareto_figure(search) if search.finished else None
    return Picture("search_pareto", "Pareto front", explained, figure, "no configuration has finished")


def _of_objective(search: SearchResult, place: int) -> Iterator[Picture]:
    """The pictures of one objective, by its place."""
    objective = search.objectives[place]
    name = written(held_out(objective))
    model = surrogate.surrogate(search, place)
    has_finished = bool(search.finished)
    for parameter in (p for p in (TAU, Z_DIM) if p.name in search.space.parameters):
        figure = landscapes.sensitivity_figure(search, parameter.name, place, model) if has_finished else None
        title = f"Sensitivity to {parameter.symbol}: {name}"
        file = f"search_{parameter.name}_sensitivity_{objective}"
        yield Picture(file, title, _SENSITIVITY, figure, "no configuration has finished")
    figure = landscapes.slice_figure(search, place) if has_finished else None
    yield Picture(f"search_slice_{objective}", f"Slices: {name}", _SLICES, figure, "no configuration has finished")
    if len(search.space.parameters) > 1:
        figure = contours.contour_figure(search, place, model) if model else None
        needed = f"needs {surrogate.FEWEST} finished configurations, {len(search.finished)} finished"
        yield Picture(f"search_contour_{objective}", f"Contours: {name}", _CONTOURS, figure, needed)
    figure = charts.parallel_figure(search, place) if has_finished else None
    title = f"Parallel coordinates: {name}"
    yield Picture(f"search_parallel_{objective}", title, _PARALLEL, figure, "no configuration has finished")


def _section(picture: Picture, png: bytes | None) -> str:
    """A picture with its advice; the reason in their place where it is missing."""
    if png is None:
        return f"<h2>{escape(picture.title)}</h2>\n<p>Left out: {escape(picture.missing)}.</p>"
    content = base64.b64encode(png).decode()
    return (
        f"<h2>{escape(picture.title)}</h2>\n<p>{escape(picture.help)}</p>\n"
        f'<img alt="{escape(picture.title)}" src="data:image/png;base64,{content}">'
    )


def _html_table(table: Table) -> str:
    if not table.rows:
        return "<p>No configuration has finished yet.</p>"
    header = "".join(f"<th>{escape(cell)}</th>" for cell in table.header)
    rows = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    return f"<table>\n<tr>{header}</tr>\n{rows}\n</table>"


def _summary(search: SearchResult) -> str:
    rungs = ", ".join(f"{rung:,}" for rung in search.rungs)
    stopping = f"stopping at {rungs} iterations" if rungs else "no early stopping"
    objectives = " and ".join(written(held_out(name)) for name in search.objectives)
    how = f"{search.sampler} over {search.space}, for {objectives}; {stopping}, up to {search.planned_seeds} seeds."
    return f"{search.heading}. {how}"


_SENSITIVITY = (
    "How much the choice of this parameter matters. Dots are what was measured; the search put them where it hoped for "
    "good results, with all other parameters varying. The solid line takes that out: it varies this parameter "
    "alone, in all finished configurations, and averages. The dashed line does so in the best one. A flat line "
    "within its band means that the parameter is forgiving. 0 has its place left of a logarithmic range."
)
_SLICES = (
    "Where the search looked and what it found there, a panel a parameter. Dark dots came late: where they gather, the "
    "sampler expected the best."
)
_CONTOURS = (
    "Whether two parameters depend on each other: contours parallel to an axis say that they do not. The better, the "
    "darker. Where colours are faded, no configuration has finished nearby."
)
_PARALLEL = (
    "What good configurations have in common: follow the dark lines from axis to axis. Where they pass through a "
    "narrow gap, the parameter must be right; where they fan out, it does not matter."
)
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 52rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; }
img { width: 100%; height: auto; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.85rem; font-variant-numeric: tabular-nums; white-space: nowrap; }
th, td { padding: 0.25rem 0.7rem; text-align: right; border-bottom: 1px solid #ddd; }
th { border-bottom-color: #222; }
"""
