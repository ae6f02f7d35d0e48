"""The cluster that a user sees: jobs that are submitted, trials by name, gauges, logs and the preflight."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests

from larvae.config import Schedule
from larvae.datasets import Dataset
from sweeps.trial.trial_settings import LONG_ITERATIONS
from tests.sweeps.commands import STUDY, TINY, places, read_results, schedule_flags, script
from tests.sweeps.processes import free_port, ray_head, running, wait_until

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
LONG = Schedule(
    iterations=LONG_ITERATIONS, log_every=10, evaluate_every=50, evaluation_size=200, final_metrics=("mig", "l2")
)


class Cluster(NamedTuple):
    """A node with a dashboard."""

    address: str
    dashboard: str
    metrics: str
    environment: dict[str, str]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, dataset: Dataset) -> Iterator[Cluster]:
    dashboard, metrics = free_port(), free_port()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # jobs find the environment's python
    environment = {"RAY_AUTH_MODE": "token", "PATH": path}
    flags = (f"--dashboard-port={dashboard}", f"--metrics-export-port={metrics}")
    with ray_head(tmp_path_factory.mktemp("dashboard"), 2, *flags, **environment) as address:
        urls = [f"http://127.0.0.1:{number}" for number in (dashboard, metrics)]
        yield Cluster(address, urls[0], f"{urls[1]}/metrics", environment)


def submit(cluster: Cluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`ray job submit` of a sweep, as the README has it."""
    ray = str(Path(sys.executable).with_name("ray"))
    entry = ["python", "sweeps/tau_sweep.py", *TINY, *arguments, "--address", "auto", "--taus", "0"]
    command = [ray, "job", "submit", "--address", cluster.dashboard, "--working-dir", str(ROOT), "--", *entry]
    environment = os.environ | cluster.environment
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)


def test_a_submitted_job_runs_a_sweep(cluster: Cluster, folder_with_database: Path) -> None:
    arguments = [*schedule_flags(Schedule(iterations=10, log_every=5, evaluate_every=10, evaluation_size=200))]
    ended = submit(cluster, *arguments, *places(folder_with_database))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Preflight: 1 node ready" in ended.stdout
    assert [result["status"] for result in read_results(folder_with_database).values()] == ["finished"]


def test_a_job_whose_results_would_go_with_it_is_refused(cluster: Cluster) -> None:
    ended = submit(cluster)
    assert ended.returncode != 0
    assert "error: `storage_path` must outlive the job, got `results`" in ended.stdout


def test_a_running_sweep_is_seen(cluster: Cluster, folder_with_database: Path, ray_token: str) -> None:
    """Named trials in the dashboard, gauges for Prometheus, and the logs of a trial from its node."""
    command = script(folder_with_database, "--taus", "0", "1", "5", "--address", cluster.address, schedule=LONG)
    log, identity = folder_with_database / "log.txt", {"Authorization": f"Bearer {ray_token}"}
    with running(command, folder_with_database, log) as process:

        def actors() -> dict[str, Any]:
            answer = requests.get(f"{cluster.dashboard}/logical/actors", headers=identity, timeout=10)
            found = answer.json()["data"]["actors"]
            return {actor["reprName"]: actor for actor in found.values() if actor["state"] == "ALIVE"}

        wait_until(lambda: process.poll() is not None or len(actors()) == 2, "two trials")
        assert process.poll() is None, log.read_text()
        assert {name.partition(" (")[0] for name in actors()} == {f"tau={tau} label_rate=0.01 seed=0" for tau in (0, 1)}

        def gauges() -> dict[str, float]:
            lines = requests.get(cluster.metrics, timeout=10).text.splitlines()
            ours = [line for line in lines if line.startswith("ray_larvae") and f'study="{STUDY}"' in line]
            return {_series(line): float(line.rpartition(" ")[2]) for line in ours}

        def are_told() -> bool:
            known = gauges()
            return known.get("ray_larvae_best_mig", 0) > 0 and known.get("ray_larvae_members running") == 2

        wait_until(are_told, "gauges of the study")
        known = gauges()
        assert known["ray_larvae_members waiting"] == 1
        assert known["ray_larvae_members finished"] == 0
        assert known["ray_larvae_iterations_per_second"] > 0
        assert known["ray_larvae_iterations_done"] >= 50
        (trial,) = [actor for name, actor in actors().items() if name.startswith("tau=1 ")]
        logs = [sys.executable, "-m", "sweeps.logs", "tau=1", "--storage-path", str(folder_with_database / "results")]
        logs += ["--address", cluster.address]
        shown = subprocess.run(logs, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
        assert shown.returncode == 0, shown.stderr
        assert f"out of process {trial['pid']} on" in shown.stdout
        assert "actor_name:tau=1 label_rate=0.01" in shown.stdout


def _series(line: str) -> str:
    """A gauge's name, and its status where it has one."""
    status = re.search(r'status="(\w+)"', line)
    return line.partition("{")[0] + (f" {status[1]}" if status else "")


def preflight(cluster: Cluster, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cluster.preflight", "--address", cluster.address]
    command += ["--storage-path", str(folder / "new" / "storage"), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_the_preflight_of_a_healthy_cluster(cluster: Cluster, folder: Path) -> None:
    ended = preflight(cluster, folder)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert re.search(r"Preflight: 1 node ready \(\d+ s\)", ended.stdout)
    assert "shared" in ended.stdout
    assert not (folder / "new").exists(), "it leaves nothing behind"


def test_the_preflight_tells_faults_with_advice(cluster: Cluster, folder: Path) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    ended = preflight(cluster, folder, "--gpus-per-trial", "0.5", "--tracking-uri", nobody)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    advice = [line for line in ended.stdout.splitlines() if line.startswith(("✗", "!"))]
    assert len(advice) == 3
    assert "a trial must fit on one node, got 1 CPUs and 0.5 GPUs" in ended.stdout
    assert f"must be a running MLflow server, got {nobody}" in ended.stdout
    assert re.search(r"not ready \(\d+ s\)", ended.stdout)
