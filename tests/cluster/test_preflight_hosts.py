"""The preflight of several hosts, of which one is not like the others."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import pytest

from larvae.datasets import Dataset
from tests.cluster.hosts import PROJECT, Host, network, why_not
from tests.sweeps.processes import answering_server, ray_head, running, wait_until

pytestmark = pytest.mark.cluster
OTHER_TORCH = "1.0.7"


class Hosts(NamedTuple):
    """A head, a worker like it, and one with another version of PyTorch."""

    head: Host
    like: Host
    unlike: Host

    def preflight(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """`python -m cluster.preflight` on the head."""
        words = [sys.executable, "-m", "cluster.preflight", "--address", self.head.ray_address, *arguments]
        command = self.head.command(*words, PYTHONPATH=str(PROJECT))
        return subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    if reason := why_not():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("preflight")
    with network(folder) as net:
        made = Hosts(net.host("head"), net.host("like"), net.host("unlike"))
        _pretend_another_torch(made.unlike)
        made.head.start_ray(1)
        made.head.wait_for_ray()
        for host in made[1:]:
            host.start_ray(1, made.head)
        for host in made[1:]:
            host.wait_for_ray()
        yield made


def _pretend_another_torch(host: Host) -> None:
    """Lay a description of another version over that of the installed one, on this host alone."""
    described = next(file for file in metadata.files("torch") or [] if file.name == "METADATA").locate()
    text = re.sub(r"^Version: .*$", f"Version: {OTHER_TORCH}", Path(described).read_text(), count=1, flags=re.MULTILINE)
    other = host.folder / "METADATA"
    other.write_text(text)
    mounted = host.run("mount", "--bind", other, str(described))
    assert mounted.returncode == 0, mounted.stderr


def test_what_is_wrong_is_told_of_the_node_that_it_is_wrong_on(hosts: Hosts, dataset: Dataset) -> None:
    ended = hosts.preflight("--storage-path", hosts.head.shared / "results")
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert ended.stderr == ""
    rows = {host.address: _row(ended.stdout, host) for host in hosts}
    assert [address for address, row in rows.items() if "✗" in row] == [hosts.unlike.address]
    assert all(host.name in rows[host.address] for host in hosts)
    assert "storage shared" in ended.stdout
    (advice,) = [line for line in ended.stdout.splitlines() if line.startswith(("✗", "!"))]
    public = metadata.version("torch").partition("+")[0]
    assert advice.startswith(f"✗ on {hosts.unlike.address}: torch must be the driver's {public}, got {OTHER_TORCH}")
    assert f"pip install 'torch=={public}'" in advice
    assert re.search(r"Preflight: 3 nodes not ready \(\d+ s\)", ended.stdout)
    assert list((hosts.head.shared).glob("**/.preflight*")) == []


def test_storage_that_is_not_shared_and_a_server_out_of_reach(hosts: Hosts, dataset: Dataset) -> None:
    """/tmp is each host's own; the server listens where only the head can reach it."""
    server = hosts.head.command(sys.executable, __file__, "5000", PYTHONPATH=str(PROJECT))
    log = hosts.head.folder / "server.txt"
    with running(server, hosts.head.folder, log):
        wait_until(lambda: "listens" in log.read_text(), "the server")
        arguments = ("--storage-path", "/tmp/results", "--tracking-uri", "http://127.0.0.1:5000")
        ended = hosts.preflight(*arguments)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    workers = f"{hosts.like.address}, {hosts.unlike.address}"
    assert f"✗ on {workers}: `storage_path` must be a folder that all nodes share, but `/tmp/results`" in ended.stdout
    assert f"! on {workers}: a node should reach MLflow at http://127.0.0.1:5000" in ended.stdout
    assert "reached" in _row(ended.stdout, hosts.head)
    assert re.search(r"Preflight: 3 nodes not ready \(\d+ s\)", ended.stdout)


def test_a_sweep_does_not_start_there(hosts: Hosts, dataset: Dataset) -> None:
    storage = hosts.head.shared / "refused"
    sweep = [sys.executable, PROJECT / "sweeps" / "tau_sweep.py", "--preset", "quick", "--storage-path", storage]
    ended = hosts.head.run(*sweep, "--address", hosts.head.ray_address, seconds=180)
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert re.fullmatch(r"error: the cluster must pass its preflight: on \S+: torch must be .*\n", ended.stderr)
    assert not (storage / "tau-sweep-quick").exists()


def test_a_wrong_token_is_told(tmp_path: Path) -> None:
    environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a" * 40, "RAY_USAGE_STATS_ENABLED": "0"}
    with ray_head(tmp_path, 1, "--include-dashboard=false", **environment) as address:
        preflight = [sys.executable, "-m", "cluster.preflight", "--address", address]
        told = tmp_path / "told.txt"
        for wrong in ({"RAY_AUTH_TOKEN": "b" * 40}, {"RAY_AUTH_MODE": "disabled"}):
            with running(preflight, PROJECT, told, **(environment | wrong)) as asked:
                assert asked.wait(timeout=90) == 2, told.read_text()
    errors = [line for line in told.read_text().splitlines() if line.startswith("error: ")]
    assert len(errors) == 2
    assert all("token" in error for error in errors)


def _row(text: str, host: Host) -> str:
    (row,) = [line for line in text.splitlines() if line.split()[:1] == [host.address]]
    return row


if __name__ == "__main__":  # what looks like an MLflow server without experiments, on the host where this runs
    with answering_server(lambda path: (200, b"{}"), int(sys.argv[1])):
        print("listens", flush=True)
        threading.Event().wait()
