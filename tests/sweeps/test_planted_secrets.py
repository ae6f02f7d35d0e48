"""Passwords and tokens are planted in an address and in variables, and searched for wherever a sweep writes."""

from __future__ import annotations

import base64
import contextlib
import http.server
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import pytest
import requests

from larvae.config import Schedule
from larvae.datasets import Dataset
from sweeps.driver.ray_folders import ray_folders
from tests.commands import ROOT
from tests.sweeps.commands import STUDY, script
from tests.sweeps.processes import free_port, running, trials_below, wait_until

pytestmark = pytest.mark.slow
USER, PASSWORD, TOKEN = "planted-user", "planted/pass@word", "planted-token-of-ray"
SECRETS = {
    "password": PASSWORD,
    "password, as addresses spell it": quote(PASSWORD, safe=""),
    "password, as requests spell it": base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode(),
    "token": TOKEN,
}
SHORT = Schedule(iterations=400, log_every=10, evaluate_every=400, evaluation_size=200, final_metrics=("mig", "l2"))


class Server(NamedTuple):
    """An MLflow server behind a proxy that asks for a password."""

    address: str
    folder: Path
    """Of its database and artifacts."""

    @property
    def with_login(self) -> str:
        return self.address.replace("//", f"//{USER}:{quote(PASSWORD, safe='')}@")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    command = [sys.executable, "-m", "mlflow", "server", f"--port={port}", "--workers=1"]
    command += [f"--backend-store-uri=sqlite:///{folder}/mlflow.db", f"--artifacts-destination={folder}/artifacts"]
    upstream = f"http://127.0.0.1:{port}"
    with running(command, folder, folder / "log.txt"), asking_for_password(upstream) as address:
        wait_until(lambda: _is_up(upstream), "MLflow")
        yield Server(address, folder)


def _is_up(address: str) -> bool:
    with contextlib.suppress(requests.ConnectionError):
        return requests.get(f"{address}/health", timeout=60).ok
    return False


@contextlib.contextmanager
def asking_for_password(upstream: str) -> Iterator[str]:
    """The address of a proxy that passes on what comes with the password, and answers 401 to everything else."""

    class Proxy(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Authorization") != f"Basic {SECRETS['password, as requests spell it']}":
                self.answer(401, b"who are you?")
                return
            kept = {name: value for name, value in self.headers.items() if name in ("Content-Type", "Accept")}
            answer = requests.request(self.command, upstream + self.path, data=body, headers=kept, timeout=60)
            self.answer(answer.status_code, answer.content)

        do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{proxy.server_port}"
        proxy.shutdown()


def command_lines() -> bytes:
    """Of all processes of the machine, which every user can read."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(file.read_bytes())
    return b"\n".join(found)


def found_in(text: bytes) -> list[str]:
    return [name for name, secret in SECRETS.items() if secret.encode() in text]


def files_with_secrets(*folders: Path) -> dict[str, list[str]]:
    """The secrets found in each file below some folders, which must hold some files."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(files) > 20
    found = {str(path): found_in(path.read_bytes()) for path in files}
    return {path: secrets for path, secrets in found.items() if secrets}


def test_the_search_finds_what_is_there(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number}").write_text("nothing")
    (tmp_path / "7").write_text(f"a {TOKEN} b")
    assert files_with_secrets(tmp_path) == {str(tmp_path / "7"): ["token"]}


@pytest.mark.parametrize("place", ["address", "variables"])
def test_none_is_written_anywhere(place: str, server: Server, folder: Path, dataset: Dataset) -> None:
    variables = {"MLFLOW_TRACKING_USERNAME": USER, "MLFLOW_TRACKING_PASSWORD": PASSWORD} if place == "variables" else {}
    address = server.with_login if place == "address" else server.address
    log = folder / "log.txt"
    command = script(folder, "--taus", "0", "--tracking-uri", address, schedule=SHORT)
    with running(command, folder, log, RAY_AUTH_TOKEN=TOKEN, **variables) as process:
        wait_until(lambda: trials_below(process.pid) or process.poll() is not None, "a trial")
        assert process.poll() is None, log.read_text()
        (line,) = re.findall(r"http://(\S+), with the token that `(.*)` prints", log.read_text())
        assert line[1] == "echo $RAY_AUTH_TOKEN"
        identity = {"Authorization": f"Bearer {TOKEN}"}
        jobs = requests.get(f"http://{line[0]}/api/jobs/", headers=identity, timeout=20)
        assert "tau_sweep.py" in jobs.text
        assert found_in(jobs.content + command_lines()) == []
        assert process.wait(timeout=240) == 0, log.read_text()
        (session,) = ray_folders()[0].glob(f"session_2*_{process.pid}")
        assert files_with_secrets(folder, server.folder, session) == {}
    printed = log.read_text()
    assert f"MLflow: {server.address}/#/experiments/" in printed
    assert f"--tracking-uri {server.address} --study {STUDY}" in printed
    warnings = [text for text in printed.splitlines() if text.startswith("warning: ")]
    advice = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead"
    expected = f"warning: others can read the password that came with {server.address}: {advice}"
    assert warnings == ([expected] if place == "address" else [])


@pytest.mark.parametrize("program", ["sweeps/tau_sweep.py", "analysis/sensitivity.py"])
def test_none_is_in_what_a_refusal_says(program: str, server: Server, folder: Path) -> None:
    wrong = server.with_login.replace(f"{USER}:", f"{USER}:wrong")
    words = ["--preset", "quick"] if program.startswith("sweeps") else []
    asked = subprocess.run(
        [sys.executable, ROOT / program, *words, "--tracking-uri", wrong],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert asked.returncode == 2, asked.stderr
    warning, error = asked.stderr.splitlines()
    assert warning.startswith("warning: others can read the password")
    assert error.startswith("error: `tracking_uri` must ")
    assert found_in((asked.stdout + asked.stderr).encode()) == []
    assert "wrong" not in asked.stderr
