"""A Ray cluster of several hosts: where members train, how code and data get there, and hosts that come and go."""

from __future__ import annotations

import contextlib
import filecmp
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

import larvae
import sweeps
from larvae.config import MemberConfig
from larvae.datasets import Dataset, store
from sweeps.trial.member_log import Event, MemberLog
from tests.cluster.hosts import CacheWatch, Host, Network, network, why_not
from tests.sweeps.commands import (
    SCHEDULE,
    STUDY,
    assert_all_in_mlflow,
    assert_as_if_uninterrupted,
    read_results,
    script,
    statuses,
)
from tests.sweeps.processes import Process, running, trials_below, wait_until
from tests.sweeps.test_interruptions import leave_checkpoint

pytestmark = pytest.mark.cluster
WORKER_CPUS = 2
RENDERED = "dsprites-rendered-2.h5"
LONGER = replace(SCHEDULE, iterations=60, evaluate_every=30)
SIX_TAUS = ("--taus", "0", "0.1", "0.3", "1", "3", "10")
"""One member more than a head and two workers have CPUs."""
NUM_MEMBERS = 6


PATIENCE = 300.0
"""Seconds: what several hosts do at once on a machine of two cores takes long."""
PATIENTLY = f"""
import sys
from sweeps.driver import connection
from sweeps import options, tau_sweep
from sweeps.preflight import gathering

connection.CONNECT_SECONDS = gathering.ANSWER_SECONDS = gathering.LOOK_SECONDS = {PATIENCE}
sys.exit(options.main(tau_sweep.run))
"""
"""The sweep's command, but with more time for nodes to answer."""


class Cluster(NamedTuple):
    """A head with one CPU, on which commands run, and workers with two, on which the project is not installed."""

    network: Network
    head: Host
    workers: dict[str, Host]
    prepared: Path
    """A prepared file of dSprites."""

    def require(self, *names: str) -> list[Host]:
        """Have these workers and no others."""
        for name in self.workers.keys() - set(names):
            self.workers.pop(name).kill_after_ray()
        started = [self.start(name) for name in names if name not in self.workers]
        for host in started:
            host.wait_for_ray()
        return [self.workers[name] for name in names]

    def start(self, name: str) -> Host:
        """Have a host started that joins the cluster as a worker; its cache is empty."""
        packages = [Path(package.__path__[0]) for package in (larvae, sweeps)]
        self.workers[name] = host = self.network.host(name, hidden=packages)
        host.start_ray(WORKER_CPUS, self.head)
        return host

    def folder(self, name: str, empty_database: Path) -> Path:
        """A folder on the shared storage, with an empty MLflow database."""
        folder = self.network.shared / name
        folder.mkdir()
        shutil.copy(empty_database, folder / "mlflow.db")
        return folder


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, dataset: Dataset, cache_directory: Path) -> Iterator[Cluster]:
    if reason := why_not():
        pytest.skip(reason)
    with network(tmp_path_factory.mktemp("hosts")) as hosts:
        head = hosts.host("head")
        head.start_ray(1)
        shutil.copy(cache_directory / RENDERED, head.cache)  # rendering it takes 15 s of a core
        head.wait_for_ray()
        yield Cluster(hosts, head, {}, head.cache / RENDERED)


class Swept(NamedTuple):
    """A sweep that has ended."""

    folder: Path
    caches: CacheWatch
    workers: list[Host]


@pytest.fixture(scope="module")
def swept(cluster: Cluster, empty_database: Path) -> Swept:
    """A sweep on two workers whose caches were empty."""
    workers = cluster.require("one", "two")
    folder = cluster.folder("first", empty_database)
    with CacheWatch(*workers) as caches:
        sweep_on(workers, cluster.head, folder, "--address", cluster.head.ray_address)
    return Swept(folder, caches, workers)


def sweep_on(workers: Sequence[Host], head: Host, folder: Path, *flags: str) -> None:
    """Sweep with two members or more on each worker: the head is stopped in its first until they have begun."""
    log = head.folder / f"{folder.name}.txt"
    with running(head.command(*patient(script(folder, *SIX_TAUS, *flags))), folder, log) as process:
        frozen = freeze_trials(folder, {head: 1}, process)[head]

        def have_begun() -> bool:
            counted = starts_by_host(folder)
            return all(counted[host.name] >= WORKER_CPUS for host in workers) or process.poll() is not None

        wait_until(have_begun, "members on all workers", seconds=PATIENCE)
        thaw(frozen)
        assert process.wait(timeout=PATIENCE) == 0, log.read_text()


def patient(command: Sequence[str]) -> list[str]:
    python, _, *flags = command
    return [python, "-c", PATIENTLY, *flags]


def freeze_trials(folder: Path, numbers: Mapping[Host, int], driver: subprocess.Popen[bytes]) -> dict[Host, list[int]]:
    """Stop so many trials on each host in the midst of training, each as soon as it is there; their ids.

    A host that starts late would else find its members trained by one that was early. Raises AssertionError where
    the driver ends instead.
    """
    first: dict[int, float] = {}
    frozen: dict[Host, set[int]] = {host: set() for host in numbers}

    def are_enough() -> bool:
        assert driver.poll() is None, f"exit code {driver.returncode}"
        for host, number in numbers.items():
            for trial in training(folder, host) if len(frozen[host]) < number else ():
                if trial.cpu_seconds - first.setdefault(trial.pid, trial.cpu_seconds) >= 0.2:
                    os.kill(trial.pid, signal.SIGSTOP)
                    frozen[host].add(trial.pid)
        return all(len(frozen[host]) >= number for host, number in numbers.items())

    wait_until(are_enough, "trials in training", seconds=PATIENCE)
    return {host: sorted(pids) for host, pids in frozen.items()}


def training(folder: Path, host: Host) -> list[Process]:
    """Trials of a host whose member has started and not ended."""
    last = [log[-1] for log in logs(folder).values() if log]
    started = {event["pid"] for event in last if (event["event"], event["host"]) == ("started", host.name)}
    return [trial for trial in trials_below(host.ray.pid) if pid_within(trial.pid) in started]


def pid_within(pid: int) -> int:
    """The id of a process on its host; 0 where it has ended."""
    with contextlib.suppress(OSError):
        status = Path(f"/proc/{pid}/status").read_text()
        return int(status.partition("NSpid:")[2].partition("\n")[0].split()[-1])
    return 0


def thaw(pids: Sequence[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


def logs(folder: Path) -> dict[str, list[Event]]:
    """Events of each member."""
    members = folder / "results" / STUDY / "members"
    return {path.name: MemberLog(path).read() for path in members.iterdir()} if members.exists() else {}


def starts(folder: Path) -> dict[str, list[str]]:
    """Names of the hosts on which each member was started, in that order."""
    return {name: [e["host"] for e in log if e["event"] == "started"] for name, log in logs(folder).items()}


def ended_members(folder: Path) -> set[str]:
    return {MemberConfig(**result["config"]).content_hash for result in read_results(folder).values()}


def starts_by_host(folder: Path) -> Counter[str]:
    return Counter(host for hosts in starts(folder).values() for host in hosts)


def assert_all_finished(folder: Path, number: int) -> None:
    assert [result["status"] for result in read_results(folder).values()] == ["finished"] * number
    assert set(statuses(folder).values()) == {"FINISHED"}
    assert_all_in_mlflow(folder)


def test_members_train_on_all_hosts(swept: Swept) -> None:
    assert_all_finished(swept.folder, NUM_MEMBERS)
    counted = starts_by_host(swept.folder)
    assert sum(counted.values()) == NUM_MEMBERS
    assert min(counted[host.name] for host in swept.workers) >= WORKER_CPUS


def test_code_travels(swept: Swept) -> None:
    """Members have trained where the project cannot be imported but by Ray's workers."""
    for host in swept.workers:
        assert starts_by_host(swept.folder)[host.name] > 0
        for module in ("larvae.member", "sweeps.trial.trainable"):
            asked = host.run(sys.executable, "-c", f"import {module}")
            assert asked.returncode == 1
            assert "ModuleNotFoundError" in asked.stderr


def test_data_is_rendered_once_a_host(swept: Swept, cache_directory: Path) -> None:
    expected = store.read_header(cache_directory / RENDERED)
    for host in swept.workers:
        assert starts_by_host(swept.folder)[host.name] > 1
        assert [path.name for path in host.cache.glob("*.h5*") if path.suffix != ".lock"] == [RENDERED]
        assert store.read_header(host.cache / RENDERED) == expected
    swept.caches.assert_made_once(RENDERED)


def test_a_given_file_is_sent_once_to_each_host(cluster: Cluster, empty_database: Path) -> None:
    workers = cluster.require("one", "two")
    folder = cluster.folder("given", empty_database)
    given = cluster.head.folder / "given.h5"
    given.hardlink_to(cluster.prepared)
    assert all(host.run("test", "-e", given).returncode == 1 for host in workers)

    with CacheWatch(*workers) as caches:
        sweep_on(workers, cluster.head, folder, "--address", "auto", "--data-file", str(given))
    assert_all_finished(folder, NUM_MEMBERS)
    name = f"dsprites-{store.read_header(given).sha256[:12]}.h5"
    caches.assert_made_once(name)
    assert all(filecmp.cmp(given, host.cache / name, shallow=False) for host in workers)
    assert not (cluster.head.cache / name).exists()


@pytest.mark.fault(
    "a host cut off from the network, another one killed", "members go on elsewhere; as if uninterrupted, bit for bit"
)
def test_lost_hosts_lose_nothing(
    cluster: Cluster, empty_database: Path, tmp_path: Path, dataset: Dataset, alone: Path
) -> None:
    """One worker is cut off, the other killed, all their trials in the midst of training; the head finishes.

    What runs on the one that is cut off goes on, on members that train on the head again. It comes back meanwhile.
    """
    cut_off, killed = cluster.require("one", "two")
    folder = cluster.folder("lost", empty_database)
    leave_checkpoint(folder, MemberConfig(batch_size=4, tau=0.3), LONGER, dataset)
    log = tmp_path / "log.txt"
    command = cluster.head.command(*patient(script(folder, *SIX_TAUS, "--address", "auto", schedule=LONGER)))
    with running(command, folder, log) as process:
        frozen = freeze_trials(folder, {cluster.head: 1, cut_off: WORKER_CPUS, killed: WORKER_CPUS}, process)
        cut_off.cut_off()
        killed.kill()
        lost = {
            host: {name for name, hosts in starts(folder).items() if host.name in hosts} for host in (cut_off, killed)
        }
        assert all(len(members) == WORKER_CPUS for members in lost.values())
        assert ended_members(folder).isdisjoint(lost[cut_off] | lost[killed])
        thaw(frozen[cut_off] + frozen[cluster.head])

        def is_given_up() -> bool:
            return any(len(starts(folder)[name]) > 1 for name in lost[cut_off]) or process.poll() is not None

        wait_until(is_given_up, "a member of the host that is cut off to start again", seconds=PATIENCE)
        assert process.poll() is None, log.read_text()
        cut_off.reconnect()
        assert process.wait(timeout=PATIENCE) == 0, log.read_text()
    wait_until(lambda: cut_off.ray.poll() is not None, "the host that came back to leave Ray", seconds=PATIENCE)
    assert all(hosts[-1] == cluster.head.name for hosts in starts(folder).values())
    assert_all_finished(folder, NUM_MEMBERS)
    assert_as_if_uninterrupted(folder, LONGER, dataset, alone)


def test_a_host_that_joins_later_is_used(cluster: Cluster, empty_database: Path, tmp_path: Path) -> None:
    cluster.require()
    folder = cluster.folder("joined", empty_database)
    log = tmp_path / "log.txt"
    command = cluster.head.command(*patient(script(folder, *SIX_TAUS, "--address", "auto", schedule=LONGER)))
    with running(command, folder, log) as process:
        frozen = freeze_trials(folder, {cluster.head: 1}, process)[cluster.head]
        late = cluster.start("three")
        shutil.copy(cluster.prepared, late.cache)
        wait_until(
            lambda: starts_by_host(folder)[late.name] or process.poll() is not None, "its first trial", seconds=PATIENCE
        )
        thaw(frozen)
        assert process.wait(timeout=PATIENCE) == 0, log.read_text()
    assert_all_finished(folder, NUM_MEMBERS)
    counted = starts_by_host(folder)
    assert counted.keys() == {cluster.head.name, late.name}
    assert sum(counted.values()) == NUM_MEMBERS
