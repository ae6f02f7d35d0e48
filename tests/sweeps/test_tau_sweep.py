"""The sweep from its command line to results, MLflow and the terminal, on real (tiny) training."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient

from larvae.checkpoint import load_checkpoint
from larvae.config import MemberConfig, Schedule
from larvae.datasets import Dataset
from larvae.member import MemberDirectory, train_member
from sweeps import options, tau_sweep

SCRIPT = Path(tau_sweep.__file__)
TINY = ("--preset", "quick", "--study", "tiny", "--batch-size", "4", "--evaluation-size", "200", "--no-compile")
SCHEDULE = ("--iterations", "20", "--log-every", "5", "--evaluate-every", "10")
LONG = ("--iterations", "300", "--log-every", "5", "--evaluate-every", "100")


def sweep(folder: Path, *arguments: str) -> int:
    return tau_sweep.run([*TINY, "--gpus-per-trial", "0", "--tracking-uri", database(folder), *arguments])


def database(folder: Path) -> str:
    """The folder's MLflow, spelt whole: MLflow keeps one connection for each spelling."""
    return f"sqlite:///{folder / 'mlflow.db'}"


def results(folder: Path) -> dict[float, dict[str, Any]]:
    """Each member's result by its τ."""
    files = (folder / "results" / "tiny" / "members").glob("*/result.json")
    return {result["config"]["tau"]: result for result in map(json.loads, (f.read_text() for f in files))}


def statuses(folder: Path) -> dict[str, str]:
    """Status in MLflow by the run's name."""
    client = MlflowClient(database(folder))
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    return {run.info.run_name: run.info.status for run in client.search_runs([experiment.experiment_id])}


def steps_of_loss(folder: Path) -> list[list[int]]:
    client = MlflowClient(database(folder))
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.`larvae.role` = 'member'")
    return [[point.step for point in client.get_metric_history(run.info.run_id, "loss")] for run in runs]


def without_times(history: list[dict[str, float]]) -> list[dict[str, float]]:
    times = ("seconds", "seconds_per_iteration", "timestamp")
    return [{name: value for name, value in row.items() if name not in times} for row in history]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Members trained in one go, kept from test to test."""
    return tmp_path_factory.mktemp("alone")


def assert_equals_uninterrupted(
    folder: Path, dataset: Dataset, alone: Path, iterations: int, evaluate_every: int
) -> None:
    """Each member's parameters and history are, bit for bit, those of training in one go in this process."""
    schedule = Schedule(iterations=iterations, log_every=5, evaluate_every=evaluate_every, evaluation_size=200)
    found = results(folder)
    assert found
    for result in found.values():
        config = MemberConfig(**result["config"])
        uninterrupted = MemberDirectory(alone / f"{config.content_hash}-{iterations}")
        history = list(train_member(config, schedule, dataset, uninterrupted))
        assert without_times(result["history"]) == without_times(history)
        swept = MemberDirectory(folder / "results" / "tiny" / "members" / config.content_hash)
        ours, theirs = (load_checkpoint(d.checkpoint)["trainer"]["model"] for d in (swept, uninterrupted))
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.usefixtures("ray_session")
def test_same_command_again_trains_nothing_and_a_raised_end_trains_on(
    folder_with_database: Path, dataset: Dataset, alone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_with_database
    command = (*SCHEDULE, "--taus", "0", "1")
    assert sweep(folder, *command) == 0
    assert "tau=1 label_rate=0.01 seed=0  finished" in capsys.readouterr().out
    assert set(statuses(folder).values()) == {"FINISHED"}
    checkpoints = list((folder / "results").rglob("checkpoint.pt"))
    assert len(checkpoints) == 2
    times = [file.stat().st_mtime_ns for file in checkpoints]

    assert sweep(folder, *command) == 0
    assert [file.stat().st_mtime_ns for file in checkpoints] == times
    assert "2 of them finished before" in capsys.readouterr().out

    assert sweep(folder, *command, "--iterations", "30") == 0
    assert_equals_uninterrupted(folder, dataset, alone, iterations=30, evaluate_every=10)
    assert [sorted(steps) for steps in steps_of_loss(folder)] == 2 * [[5, 10, 15, 20, 25, 30]]


@pytest.mark.usefixtures("ray_session")
def test_member_that_diverges_fails_alone(folder_with_database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = folder_with_database
    assert sweep(folder, *SCHEDULE, "--taus", "0", "1e38") == 1
    found = results(folder)
    assert found[0.0]["status"] == "finished"
    assert found[1e38]["status"] == "failed"
    assert "NonFiniteLossError: " in found[1e38]["reason"]
    assert "Traceback" in found[1e38]["traceback"]
    assert "error: member tau=1e+38 label_rate=0.01 seed=0 failed: NonFiniteLossError" in capsys.readouterr().err
    assert statuses(folder) == {
        "tiny": "FAILED",
        "tau=0 label_rate=0.01 seed=0": "FINISHED",
        "tau=1e+38 label_rate=0.01 seed=0": "FAILED",
    }


def trial_processes() -> list[int]:
    """Processes of trials, by the title that Ray gives them."""
    found = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if command.read_bytes().startswith(b"ray::MemberTrainable"):
                found.append(int(command.parent.name))
    return found


@pytest.mark.usefixtures("ray_session")
def test_killed_trial_is_trained_to_the_same_end(folder_with_database: Path, dataset: Dataset, alone: Path) -> None:
    folder = folder_with_database
    killed: list[int] = []
    earlier = set(trial_processes())

    def kill_one() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not killed:
            time.sleep(0.5)
            for process in set(trial_processes()) - earlier:
                time.sleep(2)
                os.kill(process, signal.SIGKILL)
                killed.append(process)
                break

    killer = threading.Thread(target=kill_one)
    killer.start()
    assert sweep(folder, *LONG, "--taus", "0", "1") == 0
    killer.join()
    assert killed
    assert_equals_uninterrupted(folder, dataset, alone, iterations=300, evaluate_every=100)
    assert sorted(len(set(steps)) for steps in steps_of_loss(folder)) == [60, 60]
    assert [len(steps) for steps in steps_of_loss(folder)] == [60, 60]


@pytest.mark.usefixtures("ray_session")
def test_trials_share_gpus_that_are_there(folder_with_database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = folder_with_database
    assert tau_sweep.run([*TINY, *SCHEDULE, "--taus", "0", "--tracking-uri", database(folder)]) == 0
    assert "2 at once, 1 CPU and 0.167 GPU each" in capsys.readouterr().out


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def fails_in_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["tau_sweep.py", *TINY, *arguments])
        started = time.monotonic()
        assert options.main(tau_sweep.run) == 2
        assert time.monotonic() - started < 15
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert message in printed.err


def test_unreachable_tracking_server_writes_nothing(
    folder: Path, silent_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    for port in (closed_port(), silent_port):
        address = f"http://127.0.0.1:{port}"
        fails_in_one_line(["--tracking-uri", address], f"must be a running MLflow server, got {address}", capsys)
    assert list(folder.iterdir()) == []


def test_unusable_files_write_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truncated = folder / "dsprites.npz"
    truncated.write_bytes(b"PK\x03\x04")
    fails_in_one_line(["--data-file", str(truncated)], "truncated or not the published file", capsys)
    fails_in_one_line(["--data-file", "missing.hdf5"], "must be readable, got `missing.hdf5`", capsys)
    fails_in_one_line(["--storage-path", str(truncated / "x")], "`storage_path` must be a writable folder", capsys)
    assert list(folder.iterdir()) == [truncated]


@pytest.mark.parametrize("listens", [False, True])
def test_unreachable_cluster_writes_nothing(folder: Path, silent_port: int, listens: bool) -> None:
    port = silent_port if listens else closed_port()
    code = """
import sys
from sweeps import connection, options, tau_sweep
connection.CONNECT_SECONDS = 3
sys.exit(options.main(tau_sweep.run))
"""
    command = [sys.executable, "-c", code, *TINY, "--address", f"127.0.0.1:{port}"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    errors = ended.stderr.strip().splitlines()
    assert errors[-1].startswith(f"error: `address` must be a running Ray cluster, got 127.0.0.1:{port}")
    assert list(folder.iterdir()) == []


def interrupted(folder: Path, how: signal.Signals) -> tuple[int, str]:
    """Run the sweep in a process of its own, and stop it once a member has logged rows."""
    command = [sys.executable, str(SCRIPT), *TINY, *LONG, "--taus", "0", "1", "--gpus-per-trial", "0"]
    with (folder / "output").open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    wait_for(lambda: any(steps_of_loss(folder)))
    process.send_signal(how)
    return process.wait(timeout=60), (folder / "output").read_text()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        with contextlib.suppress(Exception):  # the database or the server is still being made
            if condition():
                return
        time.sleep(0.5)
    pytest.fail("it did not happen within 90 s")


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_stopped_command_goes_on_to_the_same_end(
    folder_with_database: Path, dataset: Dataset, alone: Path, how: signal.Signals
) -> None:
    folder = folder_with_database
    code, output = interrupted(folder, how)
    if how == signal.SIGINT:
        assert code == 130
        assert "The same command again goes on from the last checkpoints." in output
        assert "RUNNING" not in statuses(folder).values()
    else:
        assert code == -signal.SIGKILL
    assert sweep(folder, *LONG, "--taus", "0", "1") == 0
    assert set(statuses(folder).values()) == {"FINISHED"}
    assert_equals_uninterrupted(folder, dataset, alone, iterations=300, evaluate_every=100)
    assert [len(steps) for steps in steps_of_loss(folder)] == [60, 60]
    assert [len(set(steps)) for steps in steps_of_loss(folder)] == [60, 60]


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A Ray cluster of one node that runs already: its address, and its cache of data sets, empty."""
    cache = tmp_path_factory.mktemp("node-cache")
    port = closed_port()
    ray_command = Path(sys.executable).parent / "ray"
    command = [str(ray_command), "start", "--head", f"--port={port}", "--num-cpus=2", "--num-gpus=0"]
    process = subprocess.Popen(
        [*command, "--include-dashboard=false", "--block"],
        env=os.environ | {"LARVAE_CACHE_DIR": str(cache)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    yield f"127.0.0.1:{port}", cache
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_code_and_data_reach_a_running_cluster(folder: Path, cluster: tuple[str, Path]) -> None:
    address, cache = cluster
    code = f"""
from sweeps import connection
import ray
connection.connect({address!r})
@ray.remote
def where():
    import larvae
    return larvae.__file__
print(ray.get(where.remote()))
"""
    host, port = address.split(":")
    wait_for(lambda: socket.create_connection((host, int(port)), timeout=1).close() is None)
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=90, check=False)
    assert "runtime_resources" in asked.stdout, asked.stderr
    command = [sys.executable, str(SCRIPT), *TINY, *SCHEDULE, "--taus", "0", "--address", address]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    assert [result["status"] for result in results(folder).values()] == ["finished"]
    assert (cache / "dsprites-rendered.npy").exists()
