"""Connects to Ray: a cluster that runs already, or one of this machine's own."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import threading
from collections.abc import Iterator
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

    The project's code travels to a cluster's workers. Raises InvalidInputError within 15 s when
    nothing answers there.
    """
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
    with _deadline(_refusal(address, f"no answer within {CONNECT_SECONDS} s")):
        try:
            ray.init(address, **quiet, runtime_env=runtime_env)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise InvalidInputError(_refusal(address, error)) from None


def dashboard_url() -> str | None:
    """Where the Ray dashboard of the current connection is, if it has one."""
    url = ray.get_runtime_context().gcs_address and ray._private.worker.get_dashboard_url()
    return f"http://{url}" if url else None


def _refusal(address: str, reason: object) -> str:
    first_line = str(reason).partition("\n")[0]
    advice = "start one with `ray start --head`, or leave --address out"
    return f"`address` must be a running Ray cluster, got {address}: {first_line}; {advice}"


def _require_answer(address: str) -> None:
    """Knock at HOST:PORT before Ray does, which would wait much longer."""
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if address == "auto" or not separator:
        return
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError, OverflowError) as error:
        raise InvalidInputError(_refusal(address, error)) from None


@contextlib.contextmanager
def _deadline(message: str) -> Iterator[None]:
    """End the process with one line when the body takes too long: Ray's own connecting can't be interrupted."""

    def give_up() -> None:
        print(f"error: {message}", file=sys.stderr, flush=True)
        os._exit(2)

    timer = threading.Timer(CONNECT_SECONDS, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
