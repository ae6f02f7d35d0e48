"""Ray reads RAY_AUTH_MODE when it is imported; which mode is right is known only once a cluster has answered."""

from __future__ import annotations

import os

import ray


def set_mode(mode: str) -> None:
    """Have Ray, which has read RAY_AUTH_MODE when it was imported, use a mode in this process and its children."""
    os.environ["RAY_AUTH_MODE"] = mode
    ray._raylet.Config.initialize("")
