"""MLflow as clusters run it: a server with PostgreSQL, to which several sweeps write at once."""

from __future__ import annotations

import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from sweeps.analysis import load
from sweeps.study import Study, StudyDirectory, grid
from sweeps.tracking import backlog
from sweeps.tracking.tracker import Tracker, require_reachable
from tests.cluster import mlflow_host
from tests.cluster.mlflow_host import MLflowServer
from tests.sweeps import commands
from tests.sweeps.processes import wait_until

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(mlflow_host.why_not() is not None, reason=mlflow_host.why_not() or ""),
]
WRITERS, MEMBERS, ROWS = 8, 2, 30


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a machine that does much else: a server that is slow is not away."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MLflowServer]:
    with mlflow_host.postgresql() as database:
        server = MLflowServer(database, tmp_path_factory.mktemp("mlflow"))
        try:
            server.start()
            yield server
        finally:
            server.kill()


def test_a_sweep_logs_to_it(server: MLflowServer, folder: Path) -> None:
    require_reachable(server.uri)
    flags = ("--taus", "0", "1", "--label-rates", "0.01", "--seeds", "1", "--tracking-uri", server.uri)
    done = subprocess.run(commands.script(folder, *flags), cwd=folder, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    members = load.load_members(server.uri, commands.STUDY)
    assert list(members.status) == ["FINISHED"] * 2
    results = commands.read_results(folder)
    for member in members.itertuples():
        assert member.mig == results[member.name]["history"][-1]["mig"]
    client = MlflowClient(server.uri)
    runs = runs_of(client, commands.STUDY)
    artifacts = {file.path for file in client.list_artifacts(runs[members.hash[0]].info.run_id)}
    assert artifacts == {"traversal.png"}, "clients need no access to the artifacts' folder"


def test_eight_sweeps_at_once_lose_nothing_though_the_server_is_killed_in_the_midst(
    server: MLflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "FIRST_RETRY_SECONDS", 0.5)
    monkeypatch.setattr(backlog, "RETRY_SECONDS", 1.0)
    half_way, server_is_back = threading.Barrier(WRITERS + 1), threading.Event()
    with ThreadPoolExecutor(WRITERS) as pool:
        writers = [
            pool.submit(write, server.uri, number, tmp_path, half_way, server_is_back) for number in range(WRITERS)
        ]
        half_way.wait(120)
        server.kill()
        assert not server.answers()
        server.start()
        server_is_back.set()
        for writer in writers:
            writer.result(240)
    for number in range(WRITERS):
        assert_all_arrived(MlflowClient(server.uri), number)


def write(uri: str, number: int, folder: Path, half_way: threading.Barrier, server_is_back: threading.Event) -> None:
    """Tell MLflow all that a driver would. The server dies when all are half way, and is back before the end."""
    study = study_of(number)
    members = {member.content_hash: member for member in study.members}
    directory = StudyDirectory(folder / study.name)
    tracker = Tracker(uri, study, directory, {"dsprites": "fingerprint"}, {})
    for iteration in range(1, ROWS + 1):
        for name in members:
            if iteration == 1:
                tracker.start(name)
            directory.member(members[name]).append_rows([row(number, iteration)])
            tracker.update(name)
        if iteration == ROWS // 2:  # what was told a moment ago is on its way when the server dies
            half_way.wait(120)
    server_is_back.wait(120)
    for name, member in members.items():
        files = directory.member(member)
        files.write_result(member, "finished", files.read_rows()[0])
        tracker.end(name)
    wait_until(tracker.flush, "what was kept to be sent", 120)
    assert tracker.close("finished")


def assert_all_arrived(client: MlflowClient, number: int) -> None:
    """All that a writer told is there, and each point once."""
    study = study_of(number)
    runs = runs_of(client, study.name)
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    for member in study.members:
        run = runs[member.content_hash].info.run_id
        for metric in ("loss", "mig"):
            points = sorted((point.step, point.value) for point in client.get_metric_history(run, metric))
            assert points == [(i, row(number, i)[metric]) for i in range(1, ROWS + 1)], (study.name, metric)


def study_of(number: int) -> Study:
    taus = tuple(float(tau) for tau in range(MEMBERS))
    schedule = commands.SCHEDULE
    return grid(f"writer-{number}", {"batch_size": 4}, {"seed": (0,), "label_rate": (0.01,), "tau": taus}, schedule)


def row(number: int, iteration: int) -> dict[str, float]:
    times = {"timestamp": 1e9 + iteration, "seconds": 1.0}
    return {"iteration": iteration, "loss": number + 1 / iteration, "mig": iteration / 100, **times}


def runs_of(client: MlflowClient, study: str) -> dict[str, Run]:
    """A study's runs by member, its own under `study`; each must be there once."""
    experiment = client.get_experiment_by_name(study)
    assert experiment is not None
    runs = list(client.search_runs([experiment.experiment_id]))
    names = [run.data.tags.get("larvae.member", "study") for run in runs]
    assert Counter(names).most_common(1)[0][1] == 1, "a run is there twice"
    return dict(zip(names, runs, strict=True))
