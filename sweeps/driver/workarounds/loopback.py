"""Ray listens at all addresses of a Linux host, whatever address it is given; on Windows and macOS it does not.

Discussed in https://github.com/ray-project/ray/issues/7418 (no setting tells a raylet where to listen).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ray._private import ray_constants


@contextlib.contextmanager
def on_loopback() -> Iterator[None]:
    """Have a Ray that starts listen at 127.0.0.1 alone, as it does on Windows and macOS."""
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
