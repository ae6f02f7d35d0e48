"""Connects to Ray: a cluster that runs already, or one of this machine's own."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ray

import larvae
import sweeps
from larvae.errors import InvalidInputError

CONNECT_SECONDS = 15

WORKER_ENVIRONMENT = {
    # Keep freed memory in the process and on huge pages: alone worth a third of a CPU step's time.
    "MALLOC_MMAP_THRESHOLD_": "4000000000",
    "MALLOC_TRIM_THRESHOLD_": "40000000000",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "TORCHINDUCTOR_COMPILE_THREADS": "1",  # a trial has its own CPUs and no others
}


def connect(address: str | None) -> None:
    """Join the cluster at `address`, or start Ray on this machine; nothing if that is done already.

    The project's code travels to a cluster's workers. Raises InvalidInputError for addresses of Ray's client,
    and within 15 s when nothing answers there.
    """
    _require_no_client(address)
    if ray.is_initialized():
        return
    runtime_env: dict[str, Any] = {"env_vars": WORKER_ENVIRONMENT}
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        # "local": else Ray would join, or wait minutes for, whatever cluster this machine last ran.
        ray.init("local", include_dashboard=True, **quiet, runtime_env=runtime_env)
        return
    _require_answer(address)
    runtime_env["py_modules"] = [str(Path(package.__path__[0])) for package in (larvae, sweeps)]
    with _deadline(address):
        try:
            ray.init(address, **quiet, runtime_env=runtime_env)
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise InvalidInputError(_refusal(address, error)) from None


def dashboard_url() -> str | None:
    """Where the Ray dashboard of the current connection is, if it has one."""
    url = ray.get_runtime_context().gcs_address and ray._private.worker.get_dashboard_url()
    return f"http://{url}" if url else None


def _refusal(address: str, reason: object) -> str:
    first_line = str(reason).partition("\n")[0]
    advice = "start one with `ray start --head`, or leave --address out"
    if "token" in first_line.lower():
        advice = "set RAY_AUTH_MODE=token here too, and RAY_AUTH_TOKEN or ~/.ray/auth_token as on the cluster's head"
    return f"`address` must be a running Ray cluster, got {address}: {first_line}; {advice}"


def _require_no_client(address: str | None) -> None:
    """Raise InvalidInputError for ray:// and other addresses that Ray hands to its client.

    Behind a client Tune runs on the cluster's head, apart from our callbacks, which need a Ray of their own process.
    """
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS", address)  # as Ray reads it
    if address and "://" in address:
        rule = "`address` must be auto or HOST:6379, on a node of the cluster"
        raise InvalidInputError(f"{rule}, got {address}: from elsewhere, use `ray job submit`")


def _require_answer(address: str) -> None:
    """Knock at HOST:PORT before Ray does, which would wait much longer."""
    host, separator, port = address.rpartition(":")
    if address == "auto" or not separator:
        return
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError, OverflowError) as error:
        raise InvalidInputError(_refusal(address, error)) from None


@contextlib.contextmanager
def _deadline(address: str) -> Iterator[None]:
    """End the process with one line when the body takes too long: Ray's own connecting can't be interrupted."""
    with _own_words() as (heard, stderr):

        def give_up() -> None:
            refused = "InvalidAuthToken" in heard()
            reason = "its token is another's" if refused else f"no answer within {CONNECT_SECONDS} s"
            os.write(stderr, f"error: {_refusal(address, reason)}\n".encode())
            os._exit(2)

        timer = threading.Timer(CONNECT_SECONDS, give_up)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


@contextlib.contextmanager
def _own_words() -> Iterator[tuple[Callable[[], str], int]]:
    """Keep from the terminal what Ray's C++ writes each second while it connects; gives that, and the real stderr."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield lambda: os.pread(file.fileno(), 10**6, 0).decode(errors="replace"), stderr
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
