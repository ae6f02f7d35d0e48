"""Histories read in bulk are those that MLflow's client gives one by one, of a database and of a server."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric

from sweeps.analysis import metric_histories
from sweeps.analysis.metric_histories import Point
from tests.analysis.invented import make_experiment

METRICS = ("mig", "loss")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> MlflowClient:
    """A database with two runs, of which one has a step twice, infinity and no number."""
    path = tmp_path_factory.mktemp("histories") / "mlflow.db"
    path.write_bytes(empty_database.read_bytes())
    client = MlflowClient(f"sqlite:///{path}")
    experiment = make_experiment(client, "study")
    odd = [Metric("mig", value, time, 5) for value, time in ((0.3, 2), (0.2, 1))] + [Metric("loss", math.nan, 3, 7)]
    for points in (odd, [Metric("mig", 0.1, 1, 1), Metric("other", 1.0, 1, 1), Metric("loss", math.inf, 2, 2)]):
        client.log_batch(client.create_run(experiment).info.run_id, metrics=points)
    return client


def one_by_one(client: Any, runs: Sequence[str]) -> list[Point]:
    return [
        Point(run, metric, point.step, point.timestamp, point.value)
        for run in runs
        for metric in METRICS
        for point in client.get_metric_history(run, metric)
    ]


def comparable(points: Sequence[Point]) -> list[tuple[object, ...]]:
    """Points by run and metric, each in its order; NaN equals NaN."""
    return sorted(((*point[:4], str(point.value)) for point in points), key=lambda point: point[:2])


def test_a_database_is_read_at_once(client: MlflowClient) -> None:
    runs = [run.info.run_id for run in client.search_runs(["1"])]
    read = list(metric_histories.metric_histories(client, runs, METRICS))
    assert comparable(read) == comparable(one_by_one(client, runs))
    assert len(read) == 5
    assert list(metric_histories.metric_histories(client, [], METRICS)) == []


@pytest.mark.parametrize("gives_bulk", [True, False])
def test_a_server_is_asked_for_many_runs_or_else_for_each(
    client: MlflowClient, gives_bulk: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [run.info.run_id for run in client.search_runs(["1"])]

    def bulk(uri: str, some: Sequence[str], metric: str) -> list[dict[str, Any]] | None:
        known = [point for point in one_by_one(client, some) if point.metric == metric]
        points = [{"run_id": p.run, "step": p.step, "timestamp": p.time, "value": p.value} for p in known]
        return points if gives_bulk else None

    monkeypatch.setattr(metric_histories, "bulk_history", bulk)
    server: Any = SimpleNamespace(tracking_uri="http://server")
    if not gives_bulk:
        server.get_metric_history = client.get_metric_history
    assert comparable(list(metric_histories.metric_histories(server, runs, METRICS))) == comparable(
        one_by_one(client, runs)
    )
