"""Ray listens at all addresses of a Linux host, whatever address it is given; on Windows and macOS it does not.

Discussed in https://github.com/ray-project/ray/issues/7418 (no setting tells a raylet where to listen).
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from ray._private import ray_constants

from sweeps.driver.workarounds.replacing import replaced


def on_loopback() -> AbstractContextManager[None]:
    """Have a Ray that starts listen at 127.0.0.1 alone, as it does on Windows and macOS."""
    return replaced(ray_constants, "ENABLE_RAY_CLUSTER", False)
