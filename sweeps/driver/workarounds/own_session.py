"""Ray's processes stay in the process group of the command that starts them: a SIGTERM to all of it kills them first.

Schedulers send theirs so. Then nothing is left that could save members, and the command itself ends with Ray's.
No discussion of it is known.
"""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager

from ray._private import services

from sweeps.driver.workarounds.replacing import replaced


def in_own_session() -> AbstractContextManager[None]:
    """Have a Ray that starts be in a session of its own; it ends with its parent all the same, by the kernel."""
    theirs = getattr(services, "ConsolePopen", None)
    return replaced(services, "ConsolePopen", functools.partial(theirs, start_new_session=True) if theirs else None)
