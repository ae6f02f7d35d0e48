"""The table of all members: sorted by a click, filtered by the page's script, and linked with the plots."""

from __future__ import annotations

from typing import Any, NamedTuple

from bokeh.models import DataTable, InlineStyleSheet, NanCompare, NumberFormatter, StringFormatter, TableColumn

from sweeps.analysis.names import written
from sweeps.analysis.parameters import in_value_order, symbol, value_text
from sweeps.analysis.report.candidates import higher_is_better
from sweeps.analysis.report.member_source import Members, field_column, results
from sweeps.analysis.report.study_record import StudyRecord

TABLE = "table"
MOST_CHOICES = 40
"""Values of a field that a list of choices has at most; of more it is searched as text."""
_HEIGHT = 420

_STYLE = """
:host { font: 13px/1.4 system-ui, sans-serif; }
.slick-header, .slick-header-columns, .slick-header-column.ui-state-default {
  background: var(--raised) !important; color: var(--text) !important; border-color: var(--line) !important; }
.slick-viewport, .slick-pane, .grid-canvas { background: var(--page) !important; }
.slick-row, .slick-cell { background: var(--page) !important; color: var(--text) !important;
  border-color: var(--line) !important; }
.slick-row:hover .slick-cell { background: var(--raised) !important; }
.slick-cell.selected, .slick-row:hover .slick-cell.selected { background: var(--chosen) !important; }
.slick-cell.active { outline: 2px solid var(--accent); outline-offset: -2px; }
"""


class Choice(NamedTuple):
    """A filter of the table: a field and the values to choose from."""

    column: str
    title: str
    values: list[tuple[Any, str]]
    """Values as the source has them, and as people write them."""


def member_table(record: StudyRecord, members: Members) -> DataTable:
    """The table; columns without content are left out."""
    return DataTable(
        source=members.source,
        view=members.view(),
        columns=_columns(record, members),
        name=TABLE,
        height=min(_HEIGHT, 60 + 25 * len(record.members)),
        sizing_mode="stretch_width",
        autosize_mode="none",
        index_position=None,
        reorderable=False,
        stylesheets=[InlineStyleSheet(css=_STYLE)],
    )


def choices(record: StudyRecord, members: Members) -> list[Choice]:
    """The filters: status, and varied fields that have few values."""
    data = members.source.data
    columns = {"status": "status"} | {field_column(name): symbol(name) for name in record.fields}
    found = []
    for column, title in columns.items():
        values = in_value_order(data[column])
        if 1 < len(values) <= MOST_CHOICES:
            found.append(Choice(column, title, [(value, value_text(value)) for value in values]))
    return found


def _columns(record: StudyRecord, members: Members) -> list[TableColumn]:
    data = members.source.data
    count, three = NumberFormatter(format="0,0", nan_format="–"), NumberFormatter(format="0.000", nan_format="–")
    text = StringFormatter()
    fields = [
        _column(field_column(name), symbol(name), _format(data[field_column(name)]), 90) for name in record.fields
    ]
    metrics = [_metric(str(name), three) for name in results(record)]
    columns = [
        *fields,
        _column("seed", "seed", count, 50),
        _column("status", "status", text, 90),
        _column("iterations", "iterations", count, 80),
        *metrics,
        _column("seconds", "seconds", count, 75),
        _column("reason", "reason", text, 260),
        _column("hash", "hash", text, 110),
        _column("run", "MLflow run", text, 260),
    ]
    optional = ("reason", "run")
    return [column for column in columns if column.field not in optional or any(data[column.field])]


def _metric(name: str, formatter: StringFormatter) -> TableColumn:
    """A metric's column: the first click sorts from the best on, members without the metric last."""
    column, is_upwards = _column(name, written(name), formatter, 90), higher_is_better(name)
    column.default_sort = "descending" if is_upwards else "ascending"
    column.sorter = NanCompare(ascending_first=is_upwards)
    return column


def _format(values: Any) -> StringFormatter:
    if any(isinstance(value, str) for value in values):
        return StringFormatter()
    return NumberFormatter(format="0.[0000000000]")  # learning rates, too


def _column(field: str, title: str, formatter: StringFormatter, width: int) -> TableColumn:
    return TableColumn(field=field, title=title, formatter=formatter, width=max(width, 8 * len(title) + 22))
