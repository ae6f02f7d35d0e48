"""MLflow to pandas for an adaptive search: its description, its members, and how they did on held-out labels."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from larvae.errors import InvalidInputError
from larvae.metrics import HELD_OUT_METRICS, held_out
from sweeps.analysis import load
from sweeps.analysis.connect import connection
from sweeps.analysis.metric_histories import Point, metric_histories
from sweeps.tracking import mlflow_names

HELD_OUT = tuple(held_out(name) for name in HELD_OUT_METRICS)
"""Metrics that a search may look at, logged at every evaluation."""
_RATE = "seconds_per_iteration"


class SearchRecord(NamedTuple):
    """The record of an adaptive search in MLflow."""

    study: str
    description: dict[str, Any]
    """Content of the tag `larvae.search`: space, sampler, objectives, iterations, rungs, first_seeds, seeds, …"""
    members: pd.DataFrame
    """Rows of `load_members` with configuration (its number), point (of Optuna's axes, a dictionary), stopped_at
    (iteration of the rung, NaN where it was not stopped), started_at (ms, NaN before it trains) and ended_at (ms, NaN
    while it trains)."""
    evaluations: pd.DataFrame
    """One row an evaluation: hash, iteration, time (ms) and HELD_OUT, NaN where one was not logged."""


def find_search(tracking_uri: str) -> str:
    """Name of the most recently created study that is an adaptive search. InvalidInputError when there is none."""
    return load.newest_study(
        tracking_uri,
        lambda client, experiment: mlflow_names.SEARCH in load.study_tags(client, experiment),
        "an adaptive search (python sweeps/search.py makes one)",
    )


def load_search(tracking_uri: str, study: str) -> SearchRecord:
    """Read a search. Raises InvalidInputError when the server or the study cannot be found, or it is no search."""
    with connection(tracking_uri) as client:
        experiment = load.experiment_of(client, study)
        description = _description(study, load.study_tags(client, experiment))
        runs = [run for run in load.member_runs(client, experiment) if mlflow_names.CONFIGURATION in run.data.tags]
        histories = _histories(client, runs)
        rows = [_row(study, client, run, histories[run.info.run_id]) for run in runs]
        evaluations = {
            str(row["hash"]): _evaluations(histories[run.info.run_id]) for row, run in zip(rows, runs, strict=True)
        }
    if not rows:
        raise InvalidInputError(f"`study` must have members, got {study} without any")
    known = [frame.assign(hash=name) for name, frame in evaluations.items() if len(frame)]
    columns = ["hash", "iteration", "time", *HELD_OUT]
    together = pd.concat(known, ignore_index=True) if known else pd.DataFrame()
    return SearchRecord(study, description, load.distinct_members(rows), together.reindex(columns=columns))


def _description(study: str, tags: dict[str, str]) -> dict[str, Any]:
    if mlflow_names.SEARCH not in tags:
        advice = "a sweep of one parameter is drawn by analysis/sensitivity.py"
        raise InvalidInputError(f"`study` must be an adaptive search, got {study}: {advice}")
    return _parsed(study, mlflow_names.SEARCH, tags[mlflow_names.SEARCH])


def _histories(client: Any, runs: Sequence[Any]) -> dict[str, list[Point]]:
    """Histories of the metrics that are read, by the runs' ids."""
    ids = [run.info.run_id for run in runs]
    histories: dict[str, list[Point]] = {run: [] for run in ids}
    for point in metric_histories(client, ids, (*HELD_OUT, _RATE)):
        histories[point.run].append(point)
    return histories


def _row(study: str, client: Any, run: Any, history: Sequence[Point]) -> dict[str, object]:
    tags = run.data.tags
    started_at, ended_at = _times(run, history)
    return {
        **load.member_row(client, run),
        "configuration": int(tags[mlflow_names.CONFIGURATION]),
        "point": _parsed(study, mlflow_names.POINT, tags.get(mlflow_names.POINT, "")),
        "stopped_at": float(tags.get(mlflow_names.STOPPED_AT) or "nan"),
        "started_at": started_at,
        "ended_at": ended_at,
    }


def _times(run: Any, history: Sequence[Point]) -> tuple[float, float]:
    """Start and end of a member's training, ms, by its rows: MLflow may have been told of both later.

    The first row tells the start, less an evaluation if it has one. Without rows it is when the run was made and ended.
    """
    status, info = run.info.status, run.info
    rows = [point for point in history if point.metric == _RATE]
    if rows:
        first = min(rows, key=lambda row: row.step)
        started_at, ended_at = first.time - 1000 * first.value * first.step, max(row.time for row in rows)
    else:
        started_at, ended_at = info.start_time, info.end_time or info.start_time
    return (
        math.nan if status == mlflow_names.SCHEDULED else float(started_at),
        math.nan if status in (mlflow_names.SCHEDULED, mlflow_names.RUNNING) else float(ended_at),
    )


def _parsed(study: str, tag: str, text: str) -> dict[str, Any]:
    try:
        return dict(json.loads(text))
    except (ValueError, TypeError):
        raise InvalidInputError(f"tags `{tag}` of `study` must be JSON objects, got {study} with {text!r}") from None


def _evaluations(history: Sequence[Point]) -> pd.DataFrame:
    """Evaluations of one member, ascending; of a step that was logged twice the later one counts."""
    points = [(point.step, point.time, point.metric, point.value) for point in history if point.metric in HELD_OUT]
    long = pd.DataFrame(points, columns=["iteration", "time", "metric", "value"])
    wide = long.pivot_table(index="iteration", columns="metric", values="value", aggfunc="last")
    wide = wide.rename_axis(columns=None)
    return wide.assign(time=long.groupby("iteration")["time"].max()).reset_index()
