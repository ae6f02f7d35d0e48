"""Processes that tests start, watch, interrupt and kill: never any but their own."""

from __future__ import annotations

import contextlib
import http.server
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import psutil

Found = TypeVar("Found")


class Process(NamedTuple):
    """A process as /proc tells of it."""

    pid: int
    parent: int
    session: int
    cpu_seconds: float
    title: str


def processes() -> dict[int, Process]:
    """All living processes of this machine by id."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            title = (folder / "cmdline").read_text(errors="replace").partition("\0")[0]
            state, *fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
            if state not in "ZX":
                pid = int(folder.name)
                cpu_seconds = (int(fields[10]) + int(fields[11])) / os.sysconf("SC_CLK_TCK")
                found[pid] = Process(pid, int(fields[0]), int(fields[2]), cpu_seconds, title)
    return found


def trials_below(pid: int) -> list[Process]:
    """Ray's processes that train a member now, of the Ray that a process has started."""
    everyone = processes()

    def is_below(process: Process) -> bool:
        return process.parent == pid or (process.parent in everyone and is_below(everyone[process.parent]))

    return [p for p in everyone.values() if p.title.startswith("ray::MemberTrainable.train") and is_below(p)]


class TrainingWatch:
    """Tells which trials below a process are in the midst of training."""

    def __init__(self, pid: int, cpu_seconds: float = 0.5) -> None:
        """cpu_seconds: what a trial must have spent since it was first seen training."""
        self.pid = pid
        self.cpu_seconds = cpu_seconds
        self._first: dict[int, float] = {}

    def trials(self, number: int) -> list[int]:
        """Ids of trials in the midst of training, once they are so many; else none."""
        found = []
        for process in trials_below(self.pid):
            first = self._first.setdefault(process.pid, process.cpu_seconds)
            if process.cpu_seconds - first >= self.cpu_seconds:
                found.append(process.pid)
        return found if len(found) >= number else []


def wait_until(found: Callable[[], Found], what: str, seconds: float = 300) -> Found:
    """The first true value of a function that is called again and again; TimeoutError after some seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := found():
            return value
        time.sleep(0.05)
    raise TimeoutError(f"waited {seconds} s for {what}")


@contextlib.contextmanager
def running(
    command: Sequence[str | Path], folder: Path, log: Path, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A command in a session of its own, of which nothing is left at the end; its output goes to a log."""
    inherited = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    with log.open("a") as output:
        process = subprocess.Popen(
            list(map(str, command)),
            cwd=folder,
            env=inherited | environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        while left := [other.pid for other in processes().values() if other.session == process.pid]:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        process.wait()


def free_port() -> int:
    """A port at which nothing listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def listening(process: psutil.Process) -> set[tuple[str, int]]:
    """Addresses and ports at which a process and those that it has started listen."""
    found = set()
    for each in (process, *process.children(recursive=True)):
        for place in each.net_connections("tcp"):
            if place.status == psutil.CONN_LISTEN and place.laddr:
                found.add((place.laddr.ip.removeprefix("::ffff:"), place.laddr.port))
    return found


@contextlib.contextmanager
def ray_head(folder: Path, num_cpus: int, *flags: str, **environment: str) -> Iterator[str]:
    """Ray on this machine, of which nothing is left at the end; its address. The log lies in a folder."""
    port, log = free_port(), folder / "log.txt"
    command = [Path(sys.executable).with_name("ray"), "start", "--head", "--block", f"--num-cpus={num_cpus}"]
    command += ["--num-gpus=0", f"--port={port}", f"--dashboard-agent-listen-port={free_port()}", *flags]
    with tempfile.TemporaryDirectory(prefix="r", ignore_cleanup_errors=True) as short:  # a socket's path must be
        settings = {"RAY_TMPDIR": short, "RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}
        with running(command, folder, log, **(settings | environment)) as process:
            wait_until(lambda: "Ray runtime started" in log.read_text() or process.poll() is not None, "the cluster")
            assert process.poll() is None, log.read_text()
            yield f"127.0.0.1:{port}"


@contextlib.contextmanager
def ray_node(folder: Path, address: str, *flags: str, **environment: str) -> Iterator[int]:
    """Another node of a Ray on this machine, of which nothing is left at the end; its process. The log lies there."""
    log = folder / "node.txt"
    command = [Path(sys.executable).with_name("ray"), "start", f"--address={address}", "--block"]
    command += [f"--dashboard-agent-listen-port={free_port()}", *flags]
    settings = {"RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}
    with running(command, folder, log, **(settings | environment)) as process:
        wait_until(lambda: "Ray runtime started" in log.read_text() or process.poll() is not None, "the node")
        assert process.poll() is None, log.read_text()
        yield process.pid


@contextlib.contextmanager
def answering_server(answer: Callable[[str], tuple[int, bytes]], port: int = 0) -> Iterator[str]:
    """The address of a server on this host that answers each path with a status and a body."""

    class Answering(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answer(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", port), Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextlib.contextmanager
def silent_server() -> Iterator[int]:
    """The port of a server that accepts connections and never says a word."""
    accepted = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    accepted.append(listener.accept()[0])

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for connection in accepted:
                connection.close()
