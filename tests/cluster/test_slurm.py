"""The batch script in a real Slurm: it runs a sweep, stops it in time, and goes on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from larvae.config import Schedule
from larvae.datasets import Dataset
from tests.cluster.slurm_host import SlurmHost, slurm_host
from tests.sweeps.commands import (
    SCHEDULE,
    TINY,
    assert_as_if_uninterrupted,
    assert_nothing_lost,
    count_points,
    places,
    read_results,
    schedule_flags,
    statuses,
)
from tests.sweeps.processes import wait_until

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).parents[2]
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
LONG = replace(SCHEDULE, iterations=120, evaluate_every=60)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmHost]:
    with slurm_host(tmp_path_factory.mktemp("slurm")) as started:
        yield started


@pytest.fixture
def submission(tmp_path: Path, empty_database: Path) -> Path:
    """A folder to submit from: the project, and MLflow's tables."""
    for name in ("sweeps", "cluster"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return tmp_path


def submit(host: SlurmHost, folder: Path, cache: Path, *words: str) -> str:
    """Submit a job as a user would; its number."""
    command = ("sbatch", "--parsable", *words)
    return host.command(*command, cwd=folder, LARVAE_CACHE_DIR=str(cache)).strip()


def submit_and_wait(host: SlurmHost, folder: Path, cache: Path, *flags: str) -> str:
    """Submit a sweep and wait until it has its first rows, or has ended; the job's number."""
    job = submit(host, folder, cache, "cluster/slurm/sweep.sbatch", *flags)
    wait_until(lambda: count_points(folder) or host.state(job) in ENDED, "the first rows", 300)
    return job


def sweep_flags(folder: Path, *taus: str, schedule: Schedule = SCHEDULE) -> list[str]:
    return ["tau_sweep", *TINY, *schedule_flags(schedule), *places(folder), "--taus", *taus]


def end_of(host: SlurmHost, job: str, folder: Path, seconds: float = 300) -> tuple[str, str]:
    """State and exit code of a job, once it has ended."""
    wait_until(lambda: host.state(job) in ENDED, f"the end of job {job}", seconds)
    return host.job(job)["JobState"], host.job(job)["ExitCode"]


def log_of(folder: Path, job: str) -> str:
    file = folder / f"slurm-{job}.log"
    return file.read_text() if file.exists() else ""


def test_out_of_time_it_is_requeued_and_goes_on(
    host: SlurmHost, submission: Path, dataset: Dataset, cache_directory: Path, tmp_path: Path
) -> None:
    """The signal is the one that Slurm sends some time before the job's limit."""
    flags = sweep_flags(submission, "0", "1", schedule=LONG)
    job = submit_and_wait(host, submission, cache_directory, *flags)
    host.command("scancel", "--batch", "--signal=USR1", job)
    wait_until(lambda: host.state(job) not in ("RUNNING", "COMPLETING"), "the end of its first start", 300)
    if host.state(job) == "PENDING":  # for two minutes, unless it is told otherwise
        host.command("scontrol", "update", f"JobId={job}", "StartTime=now")
    state = end_of(host, job, submission)
    log = log_of(submission, job)
    assert state == ("COMPLETED", "0:0"), log
    assert host.job(job)["Restarts"] == "1", log
    assert "Stopped. The same command again goes on" in log
    assert "Traceback" not in log
    assert_nothing_lost(submission, LONG, dataset, tmp_path / "alone")


def test_what_is_no_sweep_is_refused(host: SlurmHost, submission: Path, cache_directory: Path) -> None:
    job = submit(host, submission, cache_directory, "cluster/slurm/sweep.sbatch", "no_such_sweep")
    assert end_of(host, job, submission) == ("FAILED", "2:0")
    assert "must name a script in sweeps/" in log_of(submission, job)


@pytest.mark.slow
def test_cancelled_it_stays_so_until_it_is_submitted_again(
    host: SlurmHost, submission: Path, dataset: Dataset, cache_directory: Path, tmp_path: Path
) -> None:
    flags = sweep_flags(submission, "0", "1", schedule=LONG)
    job = submit_and_wait(host, submission, cache_directory, *flags)
    host.command("scancel", job)
    assert end_of(host, job, submission)[0] == "CANCELLED"
    assert len(read_results(submission)) < 2

    job = submit(host, submission, cache_directory, "cluster/slurm/sweep.sbatch", *flags)
    state = end_of(host, job, submission)
    assert state == ("COMPLETED", "0:0"), log_of(submission, job)
    assert set(statuses(submission).values()) == {"FINISHED"}
    assert_as_if_uninterrupted(submission, LONG, dataset, tmp_path / "alone")


@pytest.mark.slow
def test_the_sweeps_exit_code_is_the_jobs(host: SlurmHost, submission: Path, cache_directory: Path) -> None:
    flags = [*sweep_flags(submission, "0"), "--label-rates", "2"]
    job = submit(host, submission, cache_directory, "cluster/slurm/sweep.sbatch", *flags)
    assert end_of(host, job, submission) == ("FAILED", "2:0")
    assert "error: `label_rate` must" in log_of(submission, job)


@pytest.mark.slow
def test_nodes_make_one_cluster(
    tmp_path_factory: pytest.TempPathFactory, submission: Path, dataset: Dataset, cache_directory: Path
) -> None:
    flags = sweep_flags(submission, "0", "1")
    with slurm_host(tmp_path_factory.mktemp("slurm"), nodes=2) as host:
        job = submit(host, submission, cache_directory, "--nodes=2", "cluster/slurm/sweep.sbatch", *flags)
        state = end_of(host, job, submission)
    log = log_of(submission, job)
    assert state == ("COMPLETED", "0:0"), log
    assert "2 nodes ready" in log
    assert "2 at once" in log  # a CPU each
    assert [result["status"] for result in read_results(submission).values()] == ["finished", "finished"]
    logs = submission / ".slurm" / job / "logs"
    assert [(logs / node / "raylet.out").exists() for node in ("node1", "node2")] == [True, True]
