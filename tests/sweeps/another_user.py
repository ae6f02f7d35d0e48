"""Tries, as whoever runs it, what another user of the machine could do to a running Ray. Prints what it found as JSON.

python tests/sweeps/another_user.py HOST:PORT-of-its-control HOST:PORT-of-its-dashboard HOST:PORT...
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import ray
import requests

SERVICES = {
    "control": "/ray.rpc.NodeInfoGcsService/CheckAlive",
    "control, jobs": "/ray.rpc.JobInfoGcsService/AddJob",
    "control, store": "/ray.rpc.InternalKVGcsService/InternalKVKeys",
    "raylet": "/ray.rpc.NodeManagerService/GetSystemConfig",
    "objects": "/ray.rpc.ObjectManagerService/Push",
    "worker": "/ray.rpc.CoreWorkerService/NumPendingTasks",
    "agent": "/ray.rpc.ReporterService/HealthCheck",
    "pubsub": "/ray.rpc.InternalPubSubGcsService/GcsPublish",
}
"""A call that each of Ray's gRPC servers knows; others answer that they do not implement it."""
JOIN = """
import logging, pathlib, ray, sys
ray.init(sys.argv[1], log_to_driver=False, logging_level=logging.CRITICAL)
ray.get(ray.remote(lambda: pathlib.Path(sys.argv[2]).touch()).remote())
"""
SECONDS = 5


def answer_of(place: str) -> str:
    """The answer of a port to HTTP, and to each of Ray's gRPC services."""
    found = []
    with contextlib.suppress(requests.RequestException):
        for path in ("/", "/metrics"):
            found.append(f"HTTP {path} {requests.get(f'http://{place}{path}', timeout=SECONDS).status_code}")
        return ", ".join(found)
    with grpc.insecure_channel(place, options=[("grpc.enable_http_proxy", 0)]) as channel:
        for name, method in SERVICES.items():
            status = _status(channel, method)
            if status not in ("UNIMPLEMENTED", "UNAVAILABLE", "DEADLINE_EXCEEDED"):
                found.append(f"{name} {status}")
    return "gRPC " + ", ".join(found) if found else "nothing"


def _status(channel: Any, method: str) -> str:
    try:
        channel.unary_unary(method)(b"", timeout=SECONDS)
    except grpc.RpcError as error:
        return error.code().name
    return "OK"


def routes() -> Iterator[tuple[str, str]]:
    """Methods and paths of all of the dashboard's pages, as Ray's own source has them."""
    source = Path(ray.__file__).parent / "dashboard"
    for file in sorted(source.rglob("*.py")):
        for method, path in re.findall(r"@[\w.]*outes\.(get|post|put|delete)\(\s*\"(/[^\"]*)\"", file.read_text()):
            yield method, re.sub(r"\{[^}]*\}", "x", path)


def open_routes(dashboard: str) -> dict[str, int]:
    """Those that answer anything but 401 to one without a token, and what."""
    asked = {(method, path) for method, path in routes() if "agent" not in path}
    assert len(asked) > 50, "the dashboard's source is not what it was"
    answers = {
        f"{method.upper()} {path}": requests.request(method, f"http://{dashboard}{path}", timeout=SECONDS).status_code
        for method, path in sorted(asked)
    }
    return {route: status for route, status in answers.items() if status != 401}


def jobs(places: list[str], file: Path) -> dict[str, str]:
    """The answers of ports to a job that would make a file."""
    answers = {}
    for place in places:
        for path in ("/api/jobs/", "/api/job_agent/jobs/"):
            with contextlib.suppress(requests.RequestException):
                body = {"entrypoint": f"touch {file}"}
                answers[place + path] = str(requests.post(f"http://{place}{path}", json=body, timeout=20).status_code)
    return answers


def join(control: str, file: Path, **environment: str) -> str:
    """The end of an attempt to join by Ray's own protocol and run a task that would make a file."""
    command = [sys.executable, "-c", JOIN, control, str(file)]
    try:
        ended = subprocess.run(command, env=os.environ | environment, capture_output=True, timeout=25, check=False)
    except subprocess.TimeoutExpired:
        return "no answer"
    return "joined" if ended.returncode == 0 else "refused"


def main(control: str, dashboard: str, *places: str) -> dict[str, Any]:
    """Try everything."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        files = {attempt: folder / attempt for attempt in ("job", "without token", "with another's token")}
        found = {
            "user": os.getuid(),
            "ports": {place: answer_of(place) for place in places},
            "open routes": open_routes(dashboard),
            "jobs": jobs(list(places), files["job"]),
            "joining": {
                "without token": join(control, files["without token"], RAY_AUTH_MODE="disabled"),
                "with another's token": join(control, files["with another's token"], RAY_AUTH_TOKEN="other"),
            },
        }
        time.sleep(5)  # for a job to run
        owners = {attempt: file.stat().st_uid for attempt, file in files.items() if file.exists()}
        return found | {"made files as users": owners}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:]), indent=1))
