"""The members as one source of data, which table and plots share: what is chosen in one is chosen in all."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from bokeh.models import BooleanFilter, CDSView, ColumnDataSource, Filter

from larvae.member_directory import Row
from sweeps.analysis.estimates import has_result
from sweeps.analysis.load import LOGGED_METRICS
from sweeps.analysis.parameters import is_number, value_text
from sweeps.analysis.report.candidates import main_metrics
from sweeps.analysis.report.colours import GREY
from sweeps.analysis.report.costs import seconds_of
from sweeps.analysis.report.study_record import StudyRecord
from sweeps.analysis.style import PALETTE
from sweeps.tracking.mlflow_names import FINISHED

MOST_POINTS = 60_000
"""Points of all learning curves of one metric."""
LEAST_A_CURVE, MOST_A_CURVE = 12, 200
DIGITS = 4
"""Digits that a screen can show of a curve."""
SOURCE, SHOWN = "members", "shown"
"""Names by which the page's script finds the source and the filter."""


def field_column(name: str) -> str:
    return f"field_{name}"


def curve_metrics(record: StudyRecord) -> list[str]:
    """Metrics of which some member has two points or more: those that the study is judged by, then the loss."""
    wanted = dict.fromkeys([*main_metrics(record), *(name for name in ("mig", "l2") if not record.search), "loss"])
    rows = [trained.rows for trained in record.trained.values()]
    return [name for name in wanted if any(sum(name in row for row in some) > 1 for some in rows)]


def results(record: StudyRecord) -> pd.DataFrame:
    """The table's metrics: those logged of finished members; of a search held-out ones of last rows too."""
    members = record.members
    logged = {
        name: members[name].where(members["status"] == FINISHED)
        for name in LOGGED_METRICS
        if has_result(members, name).any()
    }
    last = {
        name: [_last(record.trained_of(member).rows, name) for member in members["hash"]]
        for name in (main_metrics(record) if record.search else ())
    }
    return pd.DataFrame({**last, **logged}, index=members.index)


class Members(NamedTuple):
    """The source, the filter that the page's script sets, and the columns of learning curves."""

    source: ColumnDataSource
    shown: BooleanFilter
    """True for members that are shown."""
    steps: Mapping[str, str]
    """Column of iterations by metric: metrics that were logged at the same iterations have one in common."""

    def view(self, other: Filter | None = None) -> CDSView:
        """The members that are shown and, where another filter is given, fulfil that too."""
        return CDSView(filter=self.shown & other if other else self.shown)


def member_source(record: StudyRecord, colours: Sequence[str]) -> Members:
    """All members, a row each in the order of `record.members`."""
    members = record.members
    data: dict[str, Any] = {
        "label": [_label(record, row) for row in members.to_dict("records")],
        "hash": [str(name)[:12] for name in members["hash"]],
        "status": list(members["status"]),
        "iterations": [int(number) for number in members["iterations"]],
        "reason": list(members["reason"]),
        "run": [record.runs.get(name, "") for name in members["hash"]],
        "seed": [int(seed) for seed in members["seed"]],
        "seconds": [_rounded(seconds_of(record.trained_of(member))) for member in members["hash"]],
        "colour": list(colours),
        "status_colour": [PALETTE[0] if status == FINISHED else GREY for status in members["status"]],
    }
    for name in record.fields:
        data[field_column(name)] = [_plain(value) for value in members[name]]
    for metric, values in results(record).items():
        data[str(metric)] = np.array([_rounded(value) for value in values], np.float64)
    steps = {metric: _add_curves(data, record, metric) for metric in curve_metrics(record)}
    return Members(ColumnDataSource(data, name=SOURCE), BooleanFilter([True] * len(members), name=SHOWN), steps)


def _add_curves(data: dict[str, Any], record: StudyRecord, metric: str) -> str:
    """Add a metric's learning curves; return the column of their iterations."""
    most = points_a_curve(len(record.members))
    curves = [_thinned(record.trained_of(member).rows, metric, most) for member in record.members["hash"]]
    steps = [[step for step, _ in curve] for curve in curves]
    data[f"{metric}_curve"] = [[value for _, value in curve] for curve in curves]
    for name, column in data.items():
        if name.startswith("steps_") and column == steps:
            return name
    data[f"steps_{metric}"] = steps
    return f"steps_{metric}"


def points_a_curve(num_members: int) -> int:
    """Points that a member's learning curve has at most."""
    return min(MOST_A_CURVE, max(LEAST_A_CURVE, MOST_POINTS // num_members))


def is_thinned(record: StudyRecord) -> bool:
    """Tell whether a learning curve has fewer points than were logged."""
    most = points_a_curve(len(record.members))
    return any(len(trained.rows) > most for trained in record.trained.values())


def _label(record: StudyRecord, row: dict[Any, Any]) -> str:
    """The varied fields and the seed of a member; its name where they do not say more."""
    parts = [f"{name}={value_text(row[name])}" for name in record.fields]
    return " ".join([*parts, f"seed={row['seed']}"]) if parts else str(row["name"])


def _thinned(rows: Sequence[Row], metric: str, most: int) -> list[tuple[int, float]]:
    """Evenly spaced points of a curve, its first and last among them; digits as a screen shows."""
    known = [(int(row["iteration"]), float(f"{row[metric]:.{DIGITS}g}")) for row in rows if _is_finite(row.get(metric))]
    if len(known) <= most:
        return known
    return [known[round(place)] for place in np.linspace(0, len(known) - 1, most)]


def _last(rows: Sequence[Row], metric: str) -> float:
    return next((row[metric] for row in reversed(rows) if metric in row), math.nan)


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _rounded(value: float | None) -> float:
    return float(f"{value:.6g}") if value is not None else math.nan


def _plain(value: Any) -> Any:
    """A value as JSON has it: numbers as such, others as people write them."""
    if not is_number(value):
        return value_text(value)
    return value.item() if isinstance(value, np.number) else value
