"""A real MLflow server that goes away in the midst of a sweep, and comes back: training does not wait for it."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from larvae.datasets import Dataset
from tests.cluster.mlflow_host import MLflowServer
from tests.sweeps.commands import (
    SCHEDULE,
    assert_nothing_lost,
    count_points,
    read_results,
    script,
)
from tests.sweeps.processes import running, wait_until

LONG = replace(SCHEDULE, iterations=400, log_every=20, evaluate_every=200)
TOLD = "MLflow does not answer"
LOSES_NOTHING = "told once, training goes on; MLflow has each point once at the end"


@contextlib.contextmanager
def killed(server: MLflowServer) -> Iterator[None]:
    server.kill()
    yield
    server.start()


@contextlib.contextmanager
def hung(server: MLflowServer) -> Iterator[None]:
    server.signal(signal.SIGSTOP)
    yield
    server.signal(signal.SIGCONT)


@contextlib.contextmanager
def answering_500(server: MLflowServer) -> Iterator[None]:
    """Its database is held by another."""
    with contextlib.closing(sqlite3.connect(server.database.removeprefix("sqlite:///"), timeout=60)) as database:
        database.execute("BEGIN EXCLUSIVE")
        yield
        database.rollback()


@pytest.mark.slow
@pytest.mark.parametrize(
    "away",
    [
        pytest.param(killed, marks=pytest.mark.fault("MLflow's server killed, and started again", LOSES_NOTHING)),
        pytest.param(hung, marks=pytest.mark.fault("MLflow's server hangs (SIGSTOP)", LOSES_NOTHING)),
        pytest.param(answering_500, marks=pytest.mark.fault("MLflow's server answers 500", LOSES_NOTHING)),
    ],
)
def test_a_server_that_goes_away_costs_nothing(
    away: contextlib.AbstractContextManager[None],
    folder_with_database: Path,
    tmp_path: Path,
    dataset: Dataset,
    alone: Path,
) -> None:
    folder, log = folder_with_database, tmp_path / "log.txt"
    server = MLflowServer(f"sqlite:///{folder / 'mlflow.db'}", folder)
    try:
        server.start()
        flags = ("--taus", "0", "1", "--gpus-per-trial", "0", "--tracking-uri", server.uri)
        with running(script(folder, *flags, schedule=LONG), folder, log) as process:
            wait_until(lambda: count_points(folder) or process.poll() is not None, "the first rows")
            with away(server):  # type: ignore[operator]
                before = rows(folder)
                wait_until(lambda: TOLD in log.read_text(), "the line that tells it")
                wait_until(lambda: rows(folder) > before or len(read_results(folder)) == 2, "training to go on")
            code = process.wait(timeout=300)
        told = log.read_text()
        assert code == 0, told
        assert told.count(TOLD) == 1, told
        assert "Traceback" not in told
    finally:
        server.kill()
    assert_nothing_lost(folder, LONG, dataset, alone)


def rows(folder: Path) -> int:
    """The rows that members have written to their folders."""
    return sum(len(path.read_bytes().splitlines()) for path in folder.glob("results/*/members/*/rows.jsonl"))
