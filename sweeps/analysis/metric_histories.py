"""Histories of metrics of many runs: of databases in a query, of servers some runs a request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from larvae.progress_bar import progress_bar
from sweeps.analysis.connect import bulk_history
from sweeps.tracking.addresses import is_server

_AT_ONCE = 100
"""Runs that a server is asked for at once: it takes no more."""


class Point(NamedTuple):
    """A value that a run has logged."""

    run: str
    metric: str
    step: int
    time: int
    """Milliseconds since the epoch."""
    value: float


def metric_histories(client: Any, runs: Sequence[str], metrics: Sequence[str]) -> Iterator[Point]:
    """Yield all values that runs, by their ids, have logged of some metrics; those of a run and metric by time.

    MLflow's own client asks run by run and metric by metric: seconds for some, minutes for 2,000 runs.
    """
    if not runs:
        return
    if is_server(client.tracking_uri):
        yield from _of_server(client, runs, metrics)
    else:
        yield from _of_database(client.tracking_uri, runs, metrics)


def _batches(runs: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(runs), size):
        yield runs[start : start + size]


def _of_database(uri: str, runs: Sequence[str], metrics: Sequence[str]) -> Iterator[Point]:
    """Read MLflow's table of metrics: none of its own functions reads it for many runs and metrics."""
    import sqlalchemy as sql  # late: MLflow is loaded by now, and with it this

    names = ("run_uuid", "key", "step", "timestamp", "value", "is_nan")
    table = sql.table("metrics", *map(sql.column, names))
    engine = sql.create_engine(uri)
    try:
        with engine.connect() as database:
            for some in _batches(runs, 500):
                wanted = sql.select(*(table.c[name] for name in names)).where(
                    table.c.run_uuid.in_(some), table.c.key.in_(metrics)
                )
                ordered = wanted.order_by(table.c.run_uuid, table.c.key, table.c.timestamp, table.c.step)
                for run, metric, step, time, value, is_nan in database.execute(ordered):
                    yield Point(run, metric, int(step), int(time), float("nan") if is_nan else float(value))
    finally:
        engine.dispose()


def _of_server(client: Any, runs: Sequence[str], metrics: Sequence[str]) -> Iterator[Point]:
    requests = len(metrics) * -(-len(runs) // _AT_ONCE)
    with progress_bar(len(runs) * len(metrics), "reading metrics", "histories", shown=requests > 1) as advance:
        for some in _batches(runs, _AT_ONCE):
            for metric in metrics:
                points = bulk_history(client.tracking_uri, some, metric)
                if points is None:  # an older server, or more than it gives at once
                    yield from _run_by_run(client, some, metric)
                else:
                    yield from (
                        Point(
                            point["run_id"], metric, int(point["step"]), int(point["timestamp"]), float(point["value"])
                        )
                        for point in points
                    )
                advance(len(some))


def _run_by_run(client: Any, runs: Sequence[str], metric: str) -> Iterator[Point]:
    for run in runs:
        for point in client.get_metric_history(run, metric):
            yield Point(run, metric, int(point.step), int(point.timestamp), float(point.value))
