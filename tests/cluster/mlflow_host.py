"""A real MLflow server, and a real PostgreSQL for it, started as cluster/mlflow/serve.sh starts it, on free ports."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import requests

from tests.sweeps.processes import free_port, processes, running, wait_until

SERVE = Path(__file__).parents[2] / "cluster" / "mlflow" / "serve.sh"


def program(name: str) -> str | None:
    """The place of a program of PostgreSQL: on the path, or where Debian keeps those of each version."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(found[-1]) if found else None)


def why_not() -> str | None:
    """Why there can be no PostgreSQL here, if so."""
    if not (program("initdb") and program("postgres")):
        return "PostgreSQL is not installed"
    if os.geteuid() == 0 and not shutil.which("runuser"):
        return "PostgreSQL refuses to run as root, and runuser is not installed"
    return None if importlib.util.find_spec("psycopg2") else "psycopg2 is not installed: pip install psycopg2-binary"


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """The address of an empty database, for SQLAlchemy."""
    folder = Path(tempfile.mkdtemp(prefix="larvae-postgresql-"))  # not pytest's, which is closed to other users
    as_user: list[str] = []
    if os.geteuid() == 0:
        as_user = ["runuser", "-u", "postgres", "--"]
        shutil.chown(folder, "postgres")
    port = free_port()
    make = [program("initdb"), "--pgdata", folder / "data", "--username", "mlflow", "--auth", "trust", "--no-sync"]
    serve = [program("postgres"), "-D", folder / "data", "-p", port, "-h", "127.0.0.1", "-k", folder, "-c", "fsync=off"]
    try:
        subprocess.run([*as_user, *map(str, make)], check=True, capture_output=True, cwd="/")
        with running([*as_user, *map(str, serve)], Path("/"), folder / "log.txt"):
            with contextlib.suppress(TimeoutError):
                wait_until(lambda: (folder / f".s.PGSQL.{port}").exists(), "PostgreSQL", 30)
            try:
                yield f"postgresql+psycopg2://mlflow@127.0.0.1:{port}/postgres"
            finally:  # its children have sessions of their own: they end with it if it is told to end
                postmaster = int((folder / "data" / "postmaster.pid").read_text().split()[0])
                os.kill(postmaster, signal.SIGQUIT)
                wait_until(lambda: not Path(f"/proc/{postmaster}").exists() or _is_zombie(postmaster), "its end", 20)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class MLflowServer:
    """An MLflow server that can be killed and started again."""

    def __init__(self, database: str, folder: Path) -> None:
        self.database, self.folder, self.port = database, folder, free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._left = contextlib.ExitStack()

    def start(self, workers: int = 1) -> None:
        """Start it and wait until it answers."""
        command = ["bash", SERVE, self.database, self.folder / "artifacts"]
        environment = {
            "MLFLOW_NAMES": "mlflow",
            "MLFLOW_PORT": str(self.port),
            "MLFLOW_WORKERS": str(workers),
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        log = self.folder / "mlflow.txt"
        self._process = self._left.enter_context(running(command, self.folder, log, **environment))
        wait_until(lambda: self.answers() or self._process.poll() is not None, "MLflow's server", 300)
        assert self._process.poll() is None, log.read_text()

    def answers(self) -> bool:
        with contextlib.suppress(requests.RequestException):
            return requests.get(f"{self.uri}/health", timeout=2).ok
        return False

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all its processes."""
        for process in processes().values():
            if process.session == self._process.pid:
                os.kill(process.pid, number)

    def kill(self) -> None:
        """Kill all its processes, whatever they are doing."""
        self._left.close()


def _is_zombie(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True
