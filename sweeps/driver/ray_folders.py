"""Folders in which Ray keeps sockets, code and logs of its sessions on this machine.

Ray makes `/tmp/ray` and most folders below it writable to every user, who could exchange a socket, or code that workers
are about to load. The Ray that a sweep starts keeps them in a folder that nobody else can enter.
"""

from __future__ import annotations

import os
from pathlib import Path

from larvae.private_folder import TEMPORARY, make_private_folder, private_folder


def make_own_ray_folder() -> Path:
    """The folder of the Ray that this user's sweeps start. Raises InvalidInputError where another user has its name."""
    make_private_folder(_parent())
    return ray_folders()[0]


def ray_folders() -> tuple[Path, Path]:
    """The folder of the Ray that this user's sweeps start, and that of Ray's own commands."""
    return private_folder(_parent()) / "ray", _parent() / "ray"


def _parent() -> Path:
    return Path(os.environ.get("RAY_TMPDIR") or TEMPORARY)
