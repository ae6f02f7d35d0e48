"""Ray's processes stay in the process group of the command that starts them: a SIGTERM to all of it kills them first.

Schedulers send theirs so. Then nothing is left that could save members, and the command itself ends with Ray's.
No discussion of it is known.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

from ray._private import services


@contextlib.contextmanager
def in_own_session() -> Iterator[None]:
    """Have a Ray that starts be in a session of its own; it ends with its parent all the same, by the kernel."""
    if not hasattr(services, "ConsolePopen"):
        yield
        return
    theirs = services.ConsolePopen
    services.ConsolePopen = functools.partial(theirs, start_new_session=True)
    try:
        yield
    finally:
        services.ConsolePopen = theirs
