"""Watches Ray's own processes. Where one is gone, Ray says nothing for up to a minute and then ends the command."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator

import psutil
import ray

LOOK_SECONDS = 1.0
LOST_SECONDS = 3.0
"""Seconds after which a process of Ray's on this machine that does not answer is lost."""
RETURN_SECONDS = 45.0
"""Seconds that a cluster's control may take to come back, elsewhere perhaps: after 60 Ray itself ends the command."""
CONTROL, RAYLET = "Ray's control (gcs_server)", "Ray's process on this machine (raylet)"


def silent_part() -> str:
    """The part of the current connection's Ray that does not answer; empty where all do, or none is connected."""
    if not ray.is_initialized():
        return ""
    host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
    with contextlib.suppress(OSError), socket.create_connection((host.strip("[]"), int(port)), timeout=2):
        raylet = _raylet(ray._private.worker._global_node.raylet_socket_name)
        return "" if raylet is None or _is_alive(raylet) else RAYLET
    return CONTROL


@functools.cache
def _raylet(socket_name: str) -> psutil.Process | None:
    """The raylet of a socket; None if it is not found."""
    words = ((process, process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"]))
    is_its = f"--raylet_socket_name={socket_name}"
    return next((process for process, its in words if is_its in its), None)


def _is_alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.is_running()) and process.status() != psutil.STATUS_ZOMBIE
    return False


@contextlib.contextmanager
def watched(
    on_loss: Callable[[str], None], tell: Callable[[str], None], *, is_own: bool, look: Callable[[], str] = silent_part
) -> Iterator[None]:
    """Within this, a thread looks after Ray. on_loss: called once, by that thread, with the part that is lost.

    tell: says a line to the user. is_own: True if this command has started Ray, whose control does not come back then.
    """
    has_ended = threading.Event()

    def watch() -> None:
        silent_since: float | None = None
        while not has_ended.wait(LOOK_SECONDS):
            part, now = look(), time.monotonic()
            if not part:
                silent_since = None
                continue
            patience = RETURN_SECONDS if part == CONTROL and not is_own else LOST_SECONDS
            if silent_since is None:
                silent_since = now
                if patience > LOST_SECONDS:
                    tell(f"{part} does not answer: waiting for it, {patience:.0f} s at most")
            elif now - silent_since >= patience and not has_ended.is_set():
                on_loss(part)
                return

    thread = threading.Thread(target=watch, name="ray-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        has_ended.set()
        thread.join(timeout=LOOK_SECONDS)


def leave(code: int) -> None:
    """End this process at once, without Ray's own end."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def leave_if_lost(code: int) -> None:
    """End this process at once where Ray is lost: its own end would wait for it for a minute."""
    if silent_part():
        leave(code)
