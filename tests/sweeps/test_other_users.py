"""Another user of the machine can do nothing to a sweep, tried as one, but see that it is there."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from larvae.config import Schedule
from larvae.datasets import Dataset
from larvae.private_folder import private_folder
from tests.cluster.hosts import mounts, why_not
from tests.commands import ROOT
from tests.sweeps import another_user
from tests.sweeps.commands import STUDY, script
from tests.sweeps.processes import listening, running, trials_below, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(why_not()), reason=f"another user cannot be played: {why_not()}"),
]
NOBODY = 65534
LONG = Schedule(iterations=100_000, log_every=10, evaluate_every=50_000, evaluation_size=200)
PUBLIC = {
    "GET /",
    "GET /api/authentication_mode",
    "GET /api/gcs_healthz",
    "GET /api/healthz",
    "GET /api/local_raylet_healthz",
    "GET /favicon.ico",
}
"""Pages of Ray's dashboard for everybody; docs/security.md has the list."""


def as_nobody(*words: str) -> list[str]:
    """A command as a user who owns nothing, and sees Python and this project wherever they are."""
    needed = [Path(sys.base_prefix), Path(sys.prefix), ROOT]
    closed = {folder for place in needed for folder in place.parents if not folder.stat().st_mode & stat.S_IXOTH}
    outermost = [folder for folder in closed if not closed & set(folder.parents)]
    shell = " && ".join([*mounts(outermost, needed), 'exec "$@"'])
    become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "env", "-i", "PATH=/usr/bin:/bin"]
    return ["unshare", "--mount", "sh", "-c", shell, "sh", *become, f"PYTHONPATH={ROOT}", *words]


def reads_as_nobody(*paths: Path) -> list[Path]:
    """Those that another user can list or read."""
    readable = []
    for path in paths:
        tried = subprocess.run(as_nobody("ls" if path.is_dir() else "cat", str(path)), capture_output=True, check=False)
        readable += [path] if tried.returncode == 0 else []
    return readable


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody can enter and list, unlike pytest's."""
    with tempfile.TemporaryDirectory(prefix="larvae-tests-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_no_port_answers_no_job_runs_and_no_file_opens(open_folder: Path, dataset: Dataset, ray_token: str) -> None:
    log = open_folder / "log.txt"
    with running(script(open_folder, "--taus", "0", schedule=LONG), open_folder, log) as process:
        wait_until(lambda: trials_below(process.pid) or process.poll() is not None, "a trial")
        text = log.read_text()
        assert process.poll() is None, text
        dashboard = re.search(r"http://(\S+?), with the token that `.*` prints", text)
        assert dashboard, text
        places = listening(psutil.Process(process.pid))
        found = ask(process.pid, dashboard[1], *(f"{address}:{port}" for address, port in places))
        private = [private_folder(), *(open_folder / "results").iterdir(), *open_folder.glob("ml*")]
        assert {path.name for path in private} >= {STUDY, "mlflow.db", "mlartifacts"}
        assert reads_as_nobody(*private, log) == [log]
    assert {address for address, _ in places} == {"127.0.0.1"}
    assert found["user"] == NOBODY
    assert set(found["open routes"]) == PUBLIC
    assert set(found["jobs"].values()) == {"401", "405"}  # 405: ports of metrics
    assert "joined" not in found["joining"].values()
    assert found["made files as users"] == {}
    grpc = [answer.removeprefix("gRPC ") for answer in found["ports"].values() if answer.startswith("gRPC ")]
    assert len(grpc) >= 5
    assert set(re.findall(r"\b[A-Z_]{2,}\b", " ".join(grpc))) == {"UNAUTHENTICATED"}


def ask(pid: int, dashboard: str, *places: str) -> dict[str, Any]:
    """The findings of `another_user`."""
    (control,) = (
        f"{address}:{port}"
        for child in psutil.Process(pid).children(recursive=True)
        if child.name() == "gcs_server"
        for address, port in listening(child)
    )
    command = as_nobody(sys.executable, another_user.__file__, control, dashboard, *places)
    asked = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert asked.returncode == 0, asked.stderr
    print(asked.stdout)
    return dict(json.loads(asked.stdout))
