"""Replaces a part of Ray for a while; a Ray that does not have it is left as it is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def replaced(owner: Any, name: str, ours: Any) -> Iterator[None]:
    """Within this, a module or class of Ray's has ours under a name that it has."""
    if not hasattr(owner, name):
        yield
        return
    theirs = getattr(owner, name)
    setattr(owner, name, ours)
    try:
        yield
    finally:
        setattr(owner, name, theirs)
